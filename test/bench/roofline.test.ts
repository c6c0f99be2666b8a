import { describe, expect, it } from 'vitest'
import { type Cell, judge, type Limits, type Question, type Results } from '../../bench/gpu/cells'
import { page } from '../../bench/gpu/report'
import { layout, roofline } from '../../bench/gpu/roofline'

const LIMITS: Limits = { bandwidth: 1e12, rates: { bf16: 1e14 } } // the ridge: 100 operations per byte
const ask = (over: Partial<Question> = {}): Question => ({
  ...{ group: 'Ops', work: 'o', shape: '1 x 2', bytes: 1e6, operations: { bf16: 1e6 }, ...over },
})
const results = (cells: Cell[], limits = LIMITS): Results => ({
  ...{
    machine: 'm',
    device: 'GPU',
    node: 'v20',
    commit: 'abc',
    date: '2026-01-02',
    load: 0,
    driver: '1',
    peer: 'none',
  },
  ...{ limits, cells },
})

describe('judge', () => {
  it('takes the longer of bytes and operations as the floor', () => {
    expect(judge(ask(), 4, LIMITS)).toMatchObject({ floorUs: 1, share: 0.25 })
    expect(judge(ask({ operations: { bf16: 1e9 } }), 40, LIMITS)).toMatchObject({ floorUs: 10, share: 0.25 })
    expect(judge(ask({ operations: { f32: 1e9 } }), 4, LIMITS).floorUs).toBe(1) // whose rate nobody knows
  })
  it('adds up what each unit takes', () => {
    const limits = { bandwidth: 1e12, rates: { bf16: 1e14, e4m3: 2e14 } }
    expect(judge(ask({ operations: { bf16: 1e9, e4m3: 1e9 } }), 60, limits).floorUs).toBeCloseTo(15)
  })
  it('compares with the quickest peer, and counts tokens', () => {
    const cell = judge(ask({ tokens: 8 }), 4, LIMITS, { slow: 9, quick: 6 })
    expect(cell).toMatchObject({ peer: 'quick', peerUs: 6, ratio: 1.5, tokensPerSecond: 2e6 })
  })
})

describe('roofline', () => {
  it('puts a cell at its floor on its roof: on the slope below the ridge, on the flat behind it', () => {
    const cells = [judge(ask(), 1, LIMITS), judge(ask({ operations: { bf16: 1e9 } }), 10, LIMITS)]
    const { x, y, roofs, points } = layout(results(cells))
    const [start, ridge, end] = roofs[0]!.corners
    expect(points.map((point) => [point.x, point.y])).toEqual([start, [x.at(1000), end![1]]])
    expect(ridge).toEqual([x.at(100), y.at(1e14)])
    expect([x.low, x.high, y.low, y.high]).toEqual([0, 3, 12, 14])
    expect(x.at(10) - x.at(1)).toBeCloseTo(x.at(100) - x.at(10)) // decades are equally wide
    expect(y.at(1e12)).toBeGreaterThan(y.at(1e13)) // up is more
  })
  it('puts a cell that took ten times its floor a decade below', () => {
    const { y, points } = layout(results([judge(ask(), 10, LIMITS)]))
    expect(points[0]!.y).toBeCloseTo(y.at(1e11))
  })
  it('has a roof for each rate, and the memory alone where there is none', () => {
    const corners = (rates: Limits['rates']) => layout(results([], { bandwidth: 1e12, rates })).roofs
    expect(corners({ f32: 1e13, bf16: 1e14 }).map(({ name }) => name)).toEqual(['f32', 'bf16'])
    expect(corners({})).toMatchObject([{ name: 'memory', corners: [[], []].map(() => expect.any(Array)) }])
    expect(roofline(results([], { bandwidth: 1e12, rates: {} }))).toContain('1000 GB/s')
  })
  it('draws no cell without operations or without a time', () => {
    const cells: Cell[] = [judge(ask({ operations: {} }), 1, LIMITS), { ...ask(), reason: 'too large' }]
    expect(roofline(results(cells))).not.toContain('<circle')
    expect(roofline(results([...cells, judge(ask(), 1, LIMITS)])).match(/<circle/g)).toHaveLength(1)
  })
  it('escapes what it is told', () => {
    const svg = roofline(results([judge(ask({ work: '<a & "b">' }), 1, LIMITS)]))
    expect(svg).toContain('&lt;a &amp; &quot;b&quot;&gt;')
    expect(svg).not.toContain('<a &')
  })
})

describe('page', () => {
  it('says what was not measured, and why', () => {
    const cells: Cell[] = [judge(ask(), 4, LIMITS), { ...ask({ work: 'decode' }), reason: 'does not fit' }]
    const lines = page(results(cells), 'x.svg').split('\n')
    const cellsOf = (work: string) => lines.find((line) => line.startsWith(`| ${work} `))?.split(/ *\| */)
    expect(cellsOf('o')).toEqual(['', 'o', '1 x 2', '4', '1', '0.001', '1', '25 %', '-', ''])
    expect(cellsOf('decode')).toEqual([
      '',
      'decode',
      '1 x 2',
      'not measured',
      '1',
      '0.001',
      '1',
      '-',
      'does not fit',
      '',
    ])
    expect(lines).toContain('![Roofline](x.svg)')
  })
  it('has limits without cells', () => {
    const text = page(results([], { bandwidth: 1e12, rates: {} }), 'x.svg')
    expect(text).toMatch(/bandwidth +\| 1000 GB\/s/)
    expect(text).toMatch(/products +\| not measured/)
  })
})
