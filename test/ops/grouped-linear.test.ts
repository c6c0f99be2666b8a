import { describe, it } from 'vitest'
import { packWeight } from '../../lib/ops'
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
  ])('agrees with float64: rows per expert %j, N %i, K %i', (counts, n, k) => {
    const p = problem(counts, n, k)
    expectAccurate(device, run(device, p), truth(p), () => truth(p, round))
  })

  it('gives a row the same bytes alone, in any group and with any number of threads', () => {
    const p = problem([1, 40, 0, 7, 2], 111, 288)
    const together = run(device, p).data
    for (const threads of threadsOf(device)) expectSameBytes(run(device, p, threads).data, together)
    for (const row of [0, 1, 17, 40, 41, 47, 48, 49]) {
      const expert = expertOf(p.offsets, row)
      const alone = run(device, {
        ...p,
        rows: 1,
        offsets: p.offsets.map((_, e) => (e > expert ? 1 : 0)),
        x: p.x.slice(row * p.k, (row + 1) * p.k),
      })
      expectSameBytes(alone.data, together.slice(row * p.n, (row + 1) * p.n))
    }
  })
})
