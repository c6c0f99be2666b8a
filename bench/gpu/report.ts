/** The page of a run in Markdown, from its results alone. */
import { digits, markdown, percent, type Table } from '../tables'
import { type Cell, floorOf, isMeasured, type Limits, type Results, total } from './cells'

type Column = [title: string, of: (cell: Cell) => string | undefined]

const measured = (of: (cell: Extract<Cell, { us: number }>) => string | undefined) => (cell: Cell) =>
  isMeasured(cell) ? of(cell) : undefined
const number = (value: number | undefined) => (value === undefined ? undefined : digits(value))

const columnsFor = (limits: Limits): Column[] => [
  ['work', (cell) => cell.work],
  ['shape', (cell) => cell.shape],
  ['us', (cell) => (isMeasured(cell) ? digits(cell.us) : 'not measured')],
  ['tokens/s', measured((cell) => number(cell.tokensPerSecond))],
  ['MB', (cell) => digits(cell.bytes / 1e6)],
  ['GFLOP', (cell) => (total(cell.operations) > 0 ? digits(total(cell.operations) / 1e9) : undefined)],
  ['floor us', (cell) => digits(floorOf(cell, limits))],
  ['% of floor', measured((cell) => percent(cell.share))],
  ['predicted us', (cell) => number(cell.predictedUs)],
  ['peer', measured((cell) => cell.peer)],
  ['peer us', measured((cell) => number(cell.peerUs))],
  ['ratio', measured((cell) => number(cell.ratio))],
  ['why not', (cell) => (isMeasured(cell) ? undefined : cell.reason)],
]

/** `picture`: the file of the roofline, beside the page. */
export function page({ limits, cells, ...facts }: Results, picture: string): string {
  const groups = [...new Set(cells.map(({ group }) => group))]
  return [
    '# gpu',
    '',
    ...Object.entries(facts).map(([key, value]) => `- ${key}: ${value}`),
    '',
    `![Roofline](${picture})`,
    '',
    markdown(limitsTable(limits)),
    ...groups.map((group) => markdown(table(group, cells, limits))),
  ].join('\n')
}

function limitsTable({ bandwidth, rates }: Limits): Table {
  const rows = Object.entries(rates).map(([unit, rate]) => [`products of ${unit}`, `${digits(rate / 1e9)} GFLOP/s`])
  return {
    title: 'Limits',
    note: 'Measured in this run. A floor is the bytes that must move at the bandwidth, or the operations at the rates of what they multiply, whichever takes longer; what lies in a cache can be quicker. On a GPU a product of f32 is six of bf16; a device without units for e4m3 multiplies bf16 instead. Weights are bf16 where nothing else is said, and a peer has them, and K and V, as bf16 always.',
    columns: ['what', 'rate'],
    rows: [
      ['bandwidth', `${digits(bandwidth / 1e9)} GB/s`],
      ...(rows.length > 0 ? rows : [['products', 'not measured']]),
    ],
  }
}

/** Columns in which no cell has anything are left out. */
function table(group: string, all: Cell[], limits: Limits): Table {
  const cells = all.filter((cell) => cell.group === group)
  const columns = columnsFor(limits).filter(([, of]) => cells.some((cell) => of(cell) !== undefined))
  return {
    title: group,
    columns: columns.map(([title]) => title),
    rows: cells.map((cell) => columns.map(([, of]) => (of(cell) ?? '-').replaceAll('|', '\\|'))),
  }
}
