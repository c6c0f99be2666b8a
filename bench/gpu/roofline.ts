/**
 * The roofline of a run: how many operations a second each cell reached, over how many it does for each byte. The roofs are what the memory (the slope) and
 * the matrix units (flat) gave in the same run. Cells without operations, or not measured, have no place in it.
 */
import { digits } from '../tables'
import { isMeasured, type Limits, type Measured, type Results, total } from './cells'

const PLOT = { left: 72, top: 24, width: 860, height: 460 }
const LEGEND = { columns: 3, line: 14, top: PLOT.top + PLOT.height + 64 }
const WIDTH = 960
/** Readable on light and on dark. */
const COLOURS = { text: '#7a828e', grid: '#7a828e', roof: '#3b82f6', point: '#d9730d' }

/** Of an axis: the powers of ten where it begins and ends, and where a value stands on it. */
export interface Axis {
  low: number
  high: number
  at: (value: number) => number
}

interface Point {
  cell: Measured
  x: number
  y: number
}

export interface Layout {
  /** Operations per byte. */
  x: Axis
  /** Operations a second. */
  y: Axis
  roofs: { name: string; corners: [x: number, y: number][] }[]
  /** By intensity. */
  points: Point[]
}

const intensity = (cell: Measured): number => total(cell.operations) / cell.bytes
const reached = (cell: Measured): number => (1e6 * total(cell.operations)) / cell.us

/** Where everything stands, in pixels. */
export function layout({ limits, cells }: Results): Layout {
  const shown = cells
    .filter(isMeasured)
    .filter(({ operations }) => total(operations) > 0)
    .sort((a, b) => intensity(a) - intensity(b))
  const rates = Object.entries(limits.rates)
  const ridges = rates.map(([, rate]) => rate / limits.bandwidth)
  const x = axis([1, ...shown.map(intensity), ...ridges], PLOT.left, PLOT.left + PLOT.width)
  const slope = (value: number) => limits.bandwidth * value
  const top = rates.length > 0 ? rates.map(([, rate]) => rate) : [slope(10 ** x.high)]
  const y = axis([slope(10 ** x.low), ...top, ...shown.map(reached)], PLOT.top + PLOT.height, PLOT.top)
  const place = (px: number, py: number): [number, number] => [x.at(px), y.at(py)]
  const [first, last] = [10 ** x.low, 10 ** x.high]
  return {
    ...{ x, y },
    roofs:
      rates.length > 0
        ? rates.map(([name, rate]) => ({
            name,
            corners: [place(first, slope(first)), place(rate / limits.bandwidth, rate), place(last, rate)],
          }))
        : [{ name: 'memory', corners: [place(first, slope(first)), place(last, slope(last))] }],
    points: shown.map((cell) => ({ cell, x: x.at(intensity(cell)), y: y.at(reached(cell)) })),
  }
}

/** Whole powers of ten around the values, at least one. */
function axis(values: number[], from: number, to: number): Axis {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))))
  return { low, high, at: (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from) }
}

/** The picture as SVG. */
export function roofline(results: Results): string {
  const { x, y, roofs, points } = layout(results)
  const { device, commit, date, limits } = results
  const rows = Math.ceil(points.length / LEGEND.columns)
  const height = LEGEND.top + LEGEND.line * rows + 16
  const roof = ({ name, corners }: Layout['roofs'][number]) => {
    const [px, py] = corners.at(-1)!
    const rate = limits.rates[name as keyof Limits['rates']]
    const label = rate ? `${name}: ${digits(rate / 1e12)} TFLOP/s` : `${digits(limits.bandwidth / 1e9)} GB/s`
    const line = `<polyline points="${corners.map((corner) => corner.map(round).join(',')).join(' ')}" fill="none" stroke="${COLOURS.roof}" stroke-width="2"/>`
    return line + text(px, py - 6, label, 'end')
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
    ...decades(x).map((power) => gridLine(x.at(10 ** power), 'x', power)),
    ...decades(y).map((power) => gridLine(y.at(10 ** power), 'y', power)),
    ...roofs.map(roof),
    ...numbers(points).map(({ x: nx, y: ny }, i) => dot(points[i]!, i) + text(nx, ny, `${i + 1}`, 'middle')),
    text(PLOT.left, 14, `FLOP/s. ${device}, commit ${commit}, ${date}, ${digits(limits.bandwidth / 1e9)} GB/s`),
    text(PLOT.left + PLOT.width / 2, PLOT.top + PLOT.height + 34, 'FLOP per byte', 'middle'),
    ...points.map(({ cell }, i) => {
      const column = Math.floor(i / rows)
      const at = LEGEND.top + LEGEND.line * (i % rows)
      return text(24 + (column * (WIDTH - 24)) / LEGEND.columns, at, `${i + 1}  ${name(cell)}`)
    }),
    '</svg>',
    '',
  ].join('\n')
}

const name = ({ work, shape }: Measured): string => `${work}, ${shape}`
const round = (value: number): number => Math.round(10 * value) / 10
const decades = ({ low, high }: Axis): number[] => Array.from({ length: high - low + 1 }, (_, i) => low + i)

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escaped = (value: string): string => value.replace(/[&<>"]/g, (character) => ENTITIES[character]!)

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end' = 'start'): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" fill="${COLOURS.text}">${escaped(content)}</text>`
}

function dot({ cell, x, y }: Point, i: number): string {
  const title = `${i + 1} ${name(cell)}: ${digits(reached(cell) / 1e9)} GFLOP/s`
  return `<circle cx="${round(x)}" cy="${round(y)}" r="3" fill="${COLOURS.point}"><title>${escaped(title)}</title></circle>`
}

function gridLine(at: number, along: 'x' | 'y', power: number): string {
  const { left, top, width, height } = PLOT
  const path = along === 'x' ? `M${round(at)} ${top}v${height}` : `M${left} ${round(at)}h${width}`
  const label =
    along === 'x' ? text(at, top + height + 16, ten(power), 'middle') : text(left - 8, at + 4, ten(power), 'end')
  return `<path d="${path}" stroke="${COLOURS.grid}" stroke-opacity="0.25"/>${label}`
}

const ten = (power: number): string => `1e${power}`

/** Where the points' numbers stand: beside them, at the first place of a widening circle that is free. */
function numbers(points: Point[]): { x: number; y: number }[] {
  const taken: { x: number; y: number }[] = []
  for (const point of points) {
    const places = Array.from({ length: 64 }, (_, i) => {
      const [angle, radius] = [(i * Math.PI) / 4, 10 + 4 * Math.floor(i / 8)]
      return { x: point.x + radius * Math.cos(angle), y: point.y + 4 - radius * Math.sin(angle) }
    })
    const isFree = (place: { x: number; y: number }) =>
      taken.every(({ x, y }) => Math.abs(x - place.x) > 14 || Math.abs(y - place.y) > 10) &&
      points.every(({ x, y }) => Math.abs(x - place.x) > 9 || Math.abs(y + 4 - place.y) > 8)
    taken.push(places.find(isFree) ?? places[0]!)
  }
  return taken
}
