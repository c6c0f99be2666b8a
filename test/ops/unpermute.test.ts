import { describe, it } from 'vitest'
import {
  activations,
  DEVICES,
  expectF32Accurate,
  expectSameBytes,
  f32,
  i32,
  opsFor,
  Random,
  taken,
  threadsOf,
} from './helpers'
import { permutation, routing } from './moe.helpers'

function problem(device: string, tokens: number, active: number, width: number) {
  const random = new Random(tokens + active + width)
  const { target } = permutation(routing(tokens, 11, active, 'random'))
  return {
    tokens,
    active,
    width,
    target,
    y: taken(device, random.normals(tokens * active * width)),
    weights: Float32Array.from({ length: tokens * active }, () => random.uniform()),
    base: random.normals(tokens * width),
  }
}
type Problem = ReturnType<typeof problem>

function run(device: string, p: Problem, threads = 2): Float32Array {
  const out = f32([p.tokens, p.width], p.base.slice())
  opsFor(device, threads).unpermute({
    y: activations(device, [p.tokens * p.active, p.width], p.y),
    target: i32([p.tokens, p.active], p.target),
    weights: f32([p.tokens, p.active], p.weights),
    out,
  })
  return out.data
}

describe.each(DEVICES)('unpermute on %s', (device) => {
  it.each([
    [1, 1, 32],
    [3, 2, 64],
    [17, 8, 96],
    [70, 4, 160],
    [512, 3, 64],
  ])('adds the weighted rows of %i tokens, %i each, C %i, as float64 does', (tokens, active, width) => {
    const p = problem(device, tokens, active, width)
    const want = Float64Array.from(p.base)
    for (let at = 0; at < want.length; at++) {
      const t = Math.floor(at / width)
      for (let a = 0; a < active; a++)
        want[at]! += p.weights[t * active + a]! * p.y[p.target[t * active + a]! * width + (at % width)]!
    }
    expectF32Accurate(run(device, p), want)
  })

  it('leaves a token without experts as it is', () => {
    const p = problem(device, 5, 3, 64)
    const all = run(device, p)
    const got = run(device, { ...p, target: p.target.map((row, i) => (i < 9 ? row : -1)) })
    expectSameBytes(got, Float32Array.of(...all.subarray(0, 3 * 64), ...p.base.subarray(3 * 64)))
  })

  it('gives a token the same bytes alone, in any batch and with any number of threads', () => {
    const p = problem(device, 40, 6, 1056)
    const together = run(device, p)
    for (const threads of threadsOf(device)) expectSameBytes(run(device, p, threads), together)
    for (const t of [0, 13, 39]) {
      const rows = Array.from(p.target.subarray(t * 6, (t + 1) * 6))
      const alone = run(device, {
        ...p,
        tokens: 1,
        // In the order of a, whatever the order of the rows.
        target: Int32Array.of(5, 4, 3, 2, 1, 0),
        y: Float32Array.from(rows.reverse().flatMap((row) => [...p.y.subarray(row * 1056, (row + 1) * 1056)])),
        weights: p.weights.slice(t * 6, (t + 1) * 6),
        base: p.base.slice(t * 1056, (t + 1) * 1056),
      })
      expectSameBytes(alone, together.slice(t * 1056, (t + 1) * 1056))
    }
  })
})
