import { describe, expect, it } from 'vitest'
import {
  bf16,
  DEVICES,
  expectF32Accurate,
  expectSameBytes,
  expectWithinTwiceNaive,
  f32,
  frobenius,
  i32,
  opsFor,
  Random,
  round,
  threadsOf,
  toBf16,
  valuesOf,
} from './helpers'

const EPS = 1e-6

function problem(tokens: number, width: number, seed = 1) {
  const random = new Random(seed)
  return { tokens, width, x: random.normals(tokens * width, 3), weight: random.normals(width, 0.2, 1) }
}
type Problem = ReturnType<typeof problem>

function truth(
  { width, x, weight }: Problem,
  rows: readonly number[],
  r: (v: number) => number = (v) => v,
): Float64Array {
  const out = new Float64Array(rows.length * width)
  rows.forEach((row, i) => {
    let squares = 0
    for (let c = 0; c < width; c++) squares += r(r(x[row * width + c]!) ** 2)
    const scale = r(1 / Math.sqrt(r(squares / width) + EPS))
    for (let c = 0; c < width; c++) out[i * width + c] = r(r(r(x[row * width + c]!) * scale) * r(weight[c]!))
  })
  return out
}

function run(device: string, p: Problem, rows?: readonly number[], threads = 2) {
  const out = f32([rows?.length ?? p.tokens, p.width])
  const outBf16 = bf16(out.shape as number[])
  opsFor(device, threads).rmsNorm({
    x: f32([p.tokens, p.width], p.x),
    rows: rows && i32([rows.length], [...rows]),
    weight: f32([p.width], p.weight),
    eps: EPS,
    out,
    outBf16,
  })
  return { out: out.data, outBf16: outBf16.data }
}

const all = (n: number) => Array.from({ length: n }, (_, i) => i)

describe.each(DEVICES)('rms_norm on %s', (device) => {
  it.each([
    [1, 32],
    [2, 64],
    [5, 96],
    [7, 160],
    [70, 96],
    [3, 3072],
    [513, 64],
  ])('agrees with float64 on %i x %i', (tokens, width) => {
    const p = problem(tokens, width, width)
    const want = truth(p, all(tokens))
    const got = run(device, p)
    expectF32Accurate(got.out, want)
    expectSameBytes(got.outBf16, toBf16(got.out))
    expectWithinTwiceNaive(valuesOf(got.outBf16), want, truth(p, all(tokens), round))
  })

  it('takes only the rows asked for, in their order, repeated or none', () => {
    const p = problem(9, 64)
    const rows = [8, 0, 3, 3]
    expectF32Accurate(run(device, p, rows).out, truth(p, rows))
    expect(run(device, p, []).out.length).toBe(0)
  })

  it('works without the second output, and in bf16', () => {
    const p = problem(3, 96)
    const args = { x: f32([3, 96], p.x), weight: f32([96], p.weight), eps: EPS }
    const [out, rounded] = [f32([3, 96]), bf16([3, 96])]
    opsFor(device).rmsNorm({ ...args, out })
    opsFor(device).rmsNorm({ ...args, out: rounded })
    expectSameBytes(out.data, run(device, p).out)
    expectSameBytes(rounded.data, run(device, p).outBf16)
  })

  it('keeps eps in place for tiny rows and gives zeros for a zero row', () => {
    const p = problem(2, 64)
    p.x = p.x.map((v, i) => (i < 64 ? v * 1e-4 : 0))
    const got = run(device, p).out
    expectF32Accurate(got, truth(p, [0, 1]))
    expect(frobenius(got.subarray(64), new Float32Array(64))).toBe(0)
  })

  it('gives a row the same bytes alone, in any batch and with any number of threads', () => {
    const p = problem(70, 1056)
    const together = run(device, p)
    for (const threads of threadsOf(device)) expectSameBytes(run(device, p, undefined, threads).out, together.out)
    for (const row of [0, 1, 37, 69]) {
      const alone = run(device, { ...p, tokens: 1, x: p.x.slice(row * p.width, (row + 1) * p.width) })
      expectSameBytes(alone.out, together.out.slice(row * p.width, (row + 1) * p.width))
    }
  })
})
