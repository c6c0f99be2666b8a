import { describe, expect, it } from 'vitest'
import { type Act, packWeight } from '../../lib/ops'
import {
  activations,
  bf16,
  DEVICES,
  expectAccurate,
  expectSameBytes,
  i32,
  opsFor,
  Random,
  round,
  threadsOf,
  toBf16,
  valuesOf,
} from './helpers'
import { expertOf } from './moe.helpers'

/** `counts`: how many rows each expert has. */
function problem(counts: number[], n: number, k: number) {
  const offsets = Int32Array.of(0, ...counts)
  for (let e = 1; e < offsets.length; e++) offsets[e]! += offsets[e - 1]!
  const rows = offsets.at(-1)!
  const random = new Random(rows + n + k)
  const experts = counts.length
  return {
    experts,
    offsets,
    rows,
    n,
    k,
    x: toBf16(random.normals(rows * k)),
    w: toBf16(random.normals(experts * n * k, k ** -0.5)),
  }
}
type Problem = ReturnType<typeof problem>

function truth({ offsets, rows, n, k, x, w }: Problem, r: (v: number) => number = (v) => v): Float64Array {
  const [X, W] = [valuesOf(x), valuesOf(w)]
  return Float64Array.from({ length: rows * n }, (_, at) => {
    const row = Math.floor(at / n)
    const [xRow, wRow] = [row * k, (expertOf(offsets, row) * n + (at % n)) * k]
    let sum = 0
    for (let i = 0; i < k; i++) sum += X[xRow + i]! * W[wRow + i]!
    return r(sum)
  })
}

const pack = (device: string, p: Problem, threads: number) =>
  packWeight(
    opsFor(device, threads),
    { experts: p.experts, n: p.n, k: p.k, layout: 'rows' },
    bf16([p.experts, p.n, p.k], p.w),
  )

function run(device: string, p: Problem, threads = 2) {
  const out = activations(device, [p.rows, p.n])
  opsFor(device, threads).groupedLinear({
    x: bf16([p.rows, p.k], p.x),
    offsets: i32([p.experts + 1], p.offsets),
    weight: pack(device, p, threads),
    out,
  })
  return out
}

describe.each(DEVICES)('grouped_linear on %s', (device) => {
  it.each<[number[], number, number]>([
    [[1], 32, 32],
    [[0, 1, 0], 33, 64],
    [[2, 0, 3, 1], 47, 96],
    [[0, 0, 65, 0], 64, 32],
    [[15, 16, 17, 0, 1, 70], 31, 160],
    [[4, 5, 6, 7, 8, 9], 96, 1056],
    [[3, 0, 130, 1], 40, 1600],
    // Few rows, but more of one expert than pass its weights at once.
    [[0, 33, 1, 0, 0, 0, 0, 9], 48, 1600],
    // Tiles of a GPU: 128 outputs, 32 to 128 rows of one expert.
    [[31, 32, 33], 129, 64],
    [[63, 64, 65, 0], 128, 64],
    [[127, 0, 128, 129, 1], 300, 64],
  ])('agrees with float64: rows per expert %j, N %i, K %i', (counts, n, k) => {
    const p = problem(counts, n, k)
    expectAccurate(device, run(device, p), truth(p), () => truth(p, round))
  })

  it.each<[string, number[]]>([
    ['none of the first 70', [...new Array(70).fill(0), 130, 0, 5]],
    ['0 to 4 of 150 each', Array.from({ length: 150 }, (_, e) => (e * 7) % 5)],
    ['1 of every 97th of 2000', Array.from({ length: 2000 }, (_, e) => Number(e % 97 === 3))],
  ])('agrees with float64 with many experts: %s', (_, counts) => {
    const p = problem(counts, 20, 32)
    expectAccurate(device, run(device, p), truth(p), () => truth(p, round))
  })

  it.each<[number[], number, number]>([
    [[1, 40, 0, 7, 2], 111, 288],
    [[9, 200, 0, 70, 35], 132, 1632],
    [[600, 8, 7], 132, 96],
  ])(
    'gives a row the same bytes alone, in any group and with any number of threads: %j, N %i, K %i',
    (counts, n, k) => {
      const p = problem(counts, n, k)
      const together = run(device, p).data
      for (const threads of threadsOf(device)) expectSameBytes(run(device, p, threads).data, together)
      for (const row of [0, 1, 17, 40, 41, 47, 48, 49, 199].filter((r) => r < p.rows)) {
        const expert = expertOf(p.offsets, row)
        const alone = run(device, {
          ...p,
          rows: 1,
          offsets: p.offsets.map((_, e) => (e > expert ? 1 : 0)),
          x: p.x.slice(row * p.k, (row + 1) * p.k),
        })
        expectSameBytes(alone.data, together.slice(row * p.n, (row + 1) * p.n))
      }
    },
  )

  it.each([
    [[2, 0, 3, 1], 6],
    [[0, 0, 0, 0], 40],
    [[20, 0, 30, 70], 25],
  ])('does not write the rows behind those of the last expert: rows per expert %j, %i more', (counts, more) => {
    const p = problem(counts, 40, 96)
    const out = run(device, {
      ...p,
      rows: p.rows + more,
      x: Uint16Array.from([...p.x, ...new Array(more * 96).fill(0x7fc0)]),
    })
    expectAccurate(device, { ...out, data: out.data.slice(0, p.rows * 40) } as Act, truth(p), () => truth(p, round))
    expect(valuesOf(out.data.slice(p.rows * 40)).every(Number.isNaN)).toBe(true)
  })

  it.each([
    [[1, 2, 1], 32, 96],
    [[40, 3, 60], 132, 96],
  ])('lets infinities and NaN of one row stay in that row: rows per expert %j, N %i, K %i', (counts, n, k) => {
    const p = problem(counts, n, k)
    const clean = run(device, p).data
    p.x.fill(0x7fc0, k, 2 * k)
    p.x[2 * k] = 0x7f80
    const got = run(device, p).data
    expect(valuesOf(got.slice(n, 3 * n)).some(Number.isFinite)).toBe(false)
    expectSameBytes(got.slice(0, n), clean.slice(0, n))
    expectSameBytes(got.slice(3 * n), clean.slice(3 * n))
  })
})
