import { describe, expect, it } from 'vitest'
import { type PackedWeight, packWeight } from '../../lib/ops'
import { f16Bits } from '../reference/number-formats'
import {
  activations,
  bf16,
  DEVICES,
  expectSameBytes,
  expectSums,
  f32,
  opsFor,
  Random,
  round,
  taken,
  threadsOf,
  toBf16,
  valuesOf,
} from './helpers'

interface Problem {
  m: number
  n: number
  k: number
  x: Float32Array
  w: Uint16Array
}

function problem(device: string, m: number, n: number, k: number): Problem {
  const random = new Random(m * 1000 + n * 10 + k)
  return { m, n, k, x: taken(device, random.normals(m * k)), w: toBf16(random.normals(n * k, k ** -0.5)) }
}

function truth({ m, n, k, x, w }: Problem, base?: Float32Array): Float64Array {
  const W = valuesOf(w)
  return Float64Array.from({ length: m * n }, (_, at) => {
    const [xRow, wRow] = [Math.floor(at / n) * k, (at % n) * k]
    let sum = base?.[at] ?? 0
    for (let i = 0; i < k; i++) sum += x[xRow + i]! * W[wRow + i]!
    return sum
  })
}

const pack = (device: string, { n, k, w }: Problem, threads = 2) =>
  packWeight(opsFor(device, threads), { experts: 1, n, k, layout: 'rows' }, bf16([1, n, k], w))

function run(
  device: string,
  p: Problem,
  options: { threads?: number; weight?: PackedWeight; base?: Float32Array } = {},
): Float32Array {
  const { threads = 2, base } = options
  const weight = options.weight ?? pack(device, p, threads)
  const out = f32([p.m, p.n], base?.slice())
  opsFor(device, threads).linear({
    x: activations(device, [p.m, p.k], p.x),
    weight,
    out,
    accumulate: base !== undefined,
  })
  return out.data
}

const rowOf = (p: Problem, row: number): Problem => ({ ...p, m: 1, x: p.x.slice(row * p.k, (row + 1) * p.k) })

describe.each(DEVICES)('linear on %s', (device) => {
  it.each([
    [1, 1, 32],
    [1, 15, 32],
    [1, 16, 64],
    [1, 17, 96],
    [1, 257, 1056],
    [2, 31, 128],
    [3, 33, 160],
    [15, 47, 32],
    [16, 48, 96],
    [17, 49, 224],
    [65, 130, 288],
    [512, 70, 544],
    [513, 33, 64],
    // Segments of K (1536 on a GPU): none cut, one just begun, more than a block has warps.
    [1, 20, 1536],
    [20, 20, 1536],
    [9, 20, 1568],
    [33, 20, 1568],
    [2, 20, 3200],
    [20, 40, 6176],
    [3, 17, 13856],
    // Tiles of a GPU: 128 outputs, 32 to 128 rows, whose choice depends on how many of them there are.
    [31, 127, 96],
    [32, 128, 96],
    [33, 129, 96],
    [128, 132, 64],
    [129, 256, 64],
    [256, 4224, 32],
    [512, 4224, 32],
  ])('agrees with float64: %i rows, N %i, K %i', (m, n, k) => {
    const p = problem(device, m, n, k)
    expectSums(device, run(device, p), truth(p), p.k)
  })

  it('agrees with float64 at every number of rows from 1 to 70', () => {
    const all = problem(device, 70, 37, 96)
    const want = truth(all)
    const weight = pack(device, all)
    for (let m = 1; m <= 70; m++)
      expectSums(
        device,
        run(device, { ...all, m, x: all.x.slice(0, m * 96) }, { weight }),
        want.subarray(0, m * 37),
        96,
      )
  })

  const outputs = [1, 9, 20, 40, 70, 130, 300].flatMap((m) => [45, 132, 300].map((n) => [m, n] as const))

  it.each(outputs)('gives results in activations as those in f32, rounded: %i rows, N %i', (m, n) => {
    const p = problem(device, m, n, 64)
    const out = activations(device, [m, n])
    opsFor(device).linear({ x: activations(device, [m, 64], p.x), weight: pack(device, p), out })
    const exact = run(device, p)
    expectSameBytes(out.data, out.data instanceof Uint16Array ? toBf16(exact) : exact)
  })

  it.each(outputs)('adds to what is there when it accumulates: %i rows, N %i', (m, n) => {
    const p = problem(device, m, n, 64)
    const base = new Random(7).normals(m * n)
    const sums = run(device, p)
    expectSameBytes(
      run(device, p, { base }),
      sums.map((sum, i) => base[i]! + sum),
    )
  })

  it('packs rows in any ranges, from f32, bf16 and f16, to the same weight', () => {
    const [n, k] = [53, 64]
    const random = new Random(3)
    // Few enough bits that all three dtypes hold the numbers exactly.
    const values = Float32Array.from({ length: n * k }, () => (random.integer(255) - 127) / 64)
    const half = Uint16Array.from(values, f16Bits)
    const p: Problem = { m: 4, n, k, x: taken(device, random.normals(4 * k)), w: toBf16(values) }
    const ops = opsFor(device)
    const want = run(device, p)
    expectSums(device, want, truth(p), p.k)
    for (const cut of [1, 7, 16, 17, 32, 52]) {
      const weight = ops.allocateWeight({ experts: 1, n, k, layout: 'rows' })
      ops.pack(weight, 0, cut, { values: { data: half.subarray(cut * k), shape: [n - cut, k], dtype: 'f16' } })
      ops.pack(weight, 0, 0, { values: { data: values.subarray(0, cut * k), shape: [cut, k] } })
      expectSameBytes(run(device, p, { weight }), want)
    }
  })

  it('rounds f32 weights to bf16, to nearest even', () => {
    const [n, k] = [18, 32]
    const values = new Random(5).normals(n * k)
    values[0] = 1 + 2 ** -8 // a tie: to even, down
    values[1] = 1 + 3 * 2 ** -8 // a tie: to even, up
    const ops = opsFor(device)
    const weight = packWeight(ops, { experts: 1, n, k, layout: 'rows' }, f32([1, n, k], values))
    const x = Float32Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? 1 : 0))
    const out = f32([k, n])
    ops.linear({ x: activations(device, [k, k], x), weight, out })
    for (let row = 0; row < n; row++)
      for (let i = 0; i < k; i++) expect(out.data[i * n + row]).toBe(round(values[row * k + i]!))
  })

  it.each([
    [6, 20, 64],
    [6, 20, 96],
    [20, 20, 1568],
    [40, 300, 96],
    [140, 300, 96],
  ])('lets infinities and NaN of one row stay in that row: %i rows, N %i, K %i', (m, n, k) => {
    const p = problem(device, m, n, k)
    const clean = run(device, p)
    p.x.fill(Number.NaN, 2 * k, 3 * k)
    p.x[3 * k] = Number.POSITIVE_INFINITY
    const got = run(device, p)
    expect(got.subarray(2 * n, 3 * n).every(Number.isNaN)).toBe(true)
    expect(got.subarray(3 * n, 4 * n).some(Number.isFinite)).toBe(false)
    expectSameBytes(got.slice(0, 2 * n), clean.slice(0, 2 * n))
    expectSameBytes(got.slice(4 * n), clean.slice(4 * n))
  })

  it('lets infinities and NaN of one weight row stay in its column', () => {
    const [m, n, k] = [20, 33, 96]
    const p = problem(device, m, n, k)
    const clean = run(device, p)
    p.w.fill(0x7fc0, 7 * k, 8 * k)
    p.w[32 * k] = 0x7f80
    const got = run(device, p)
    for (let i = 0; i < m * n; i++) {
      if (i % n === 7 || i % n === 32) expect(got[i]).not.toSatisfy(Number.isFinite)
      else expect(got[i]).toBe(clean[i])
    }
  })

  it.each([
    [70, 130, 1056],
    [70, 37, 96],
    [40, 20, 3200],
  ])('gives a row the same bytes alone and in any batch: %i rows, N %i, K %i', (m, n, k) => {
    const p = problem(device, m, n, k)
    const weight = pack(device, p)
    const together = run(device, p, { weight })
    for (let row = 0; row < m; row++)
      expectSameBytes(run(device, rowOf(p, row), { weight }), together.slice(row * n, (row + 1) * n))
    for (const [first, count] of [
      [0, 2],
      [1, 7],
      [3, 16],
      [5, 33],
      [0, 69],
    ] as const) {
      if (first + count > m) continue
      const part = run(device, { ...p, m: count, x: p.x.slice(first * k, (first + count) * k) }, { weight })
      expectSameBytes(part, together.slice(first * n, (first + count) * n))
    }
  })

  it.each([
    [520, 130, 96],
    [300, 300, 1632],
  ])('gives a row the same bytes whatever tiles a GPU takes: %i rows, N %i, K %i', (m, n, k) => {
    const p = problem(device, m, n, k)
    const weight = pack(device, p)
    const together = run(device, p, { weight })
    for (const count of [1, 8, 9, 16, 17, 32, 33, 64, 65, 96, 128, 129, 256, 257]) {
      const first = m - count
      const part = run(device, { ...p, m: count, x: p.x.slice(first * k) }, { weight })
      expectSameBytes(part, together.slice(first * n))
    }
  })

  it.each([1, 6, 70])('gives the same bytes with any number of threads, %i rows', (m) => {
    const p = problem(device, m, 333, 544)
    const base = new Random(1).normals(m * 333)
    const [plain, added] = [run(device, p), run(device, p, { base })]
    for (const threads of threadsOf(device)) {
      expectSameBytes(run(device, p, { threads }), plain)
      expectSameBytes(run(device, p, { threads, base }), added)
    }
  })
})
