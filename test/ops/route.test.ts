import { describe, expect, it } from 'vitest'
import { expectF32Accurate, expectSameBytes, f32, ISAS, i32, opsFor, Random, THREADS } from './helpers'

function problem(tokens: number, experts: number, active: number, width: number) {
  const random = new Random(tokens + experts)
  return {
    tokens,
    experts,
    active,
    width,
    x: random.normals(tokens * width),
    gate: random.normals(experts * width, width ** -0.5),
    bias: random.normals(experts, 0.3),
  }
}
type Problem = ReturnType<typeof problem>

function run(isa: string, p: Problem, threads = 2) {
  const [expertIds, weights] = [i32([p.tokens, p.active]), f32([p.tokens, p.active])]
  opsFor(isa, threads).route({
    x: f32([p.tokens, p.width], p.x),
    gate: f32([p.experts, p.width], p.gate),
    bias: f32([p.experts], p.bias),
    expertIds,
    weights,
  })
  return { ids: expertIds.data, weights: weights.data }
}

function scores(p: Problem, token: number): number[] {
  return Array.from({ length: p.experts }, (_, e) => {
    let logit = 0
    for (let c = 0; c < p.width; c++) logit += p.x[token * p.width + c]! * p.gate[e * p.width + c]!
    return 1 / (1 + Math.exp(-logit))
  })
}

/** One token whose logits are the numbers given. */
const direct = (logits: number[], bias: number[], active: number): Problem => ({
  ...problem(1, logits.length, active, 32),
  x: Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0)),
  gate: Float32Array.from(logits.flatMap((x) => [x, ...new Array(31).fill(0)])),
  bias: Float32Array.from(bias),
})

describe.each(ISAS)('route on %s', (isa) => {
  it.each([
    [1, 1, 1, 32],
    [7, 5, 5, 64],
    [70, 33, 3, 96],
    [17, 16, 2, 64],
    [5, 256, 8, 3072],
    [512, 8, 2, 64],
  ])('agrees with float64: %i tokens, %i experts, %i active, C %i', (tokens, experts, active, width) => {
    const p = problem(tokens, experts, active, width)
    const got = run(isa, p)
    const want: number[] = []
    for (let t = 0; t < tokens; t++) {
      const s = scores(p, t)
      const keys = s.map((score, e) => score + p.bias[e]!)
      const order = keys.map((_, e) => e).sort((a, b) => keys[b]! - keys[a]! || a - b)
      const ids = Array.from(got.ids.subarray(t * active, (t + 1) * active))
      expect(new Set(ids).size).toBe(active)
      // Keys closer than f32 resolves may come in either order.
      for (const [a, id] of ids.entries()) expect(Math.abs(keys[id]! - keys[order[a]!]!)).toBeLessThan(1e-6)
      const total = ids.reduce((sum, id) => sum + s[id]!, 0)
      want.push(...ids.map((id) => s[id]! / total))
    }
    expectF32Accurate(got.weights, want)
  })

  it('prefers the lower index among equals, by bits of score plus bias', () => {
    expect([...run(isa, direct([0, 1, 1, 0, 1], [0, 0, 0, 0, 0], 4)).ids]).toEqual([1, 2, 4, 0])
    expect([...run(isa, direct([0, -0, 0, -0], [0, -0, -0, 0], 3)).ids]).toEqual([0, 1, 2])
    const p = problem(20, 40, 6, 64)
    p.gate.copyWithin(0, 20 * 64) // experts 0..19 are experts 20..39
    p.bias.copyWithin(0, 20)
    const { ids } = run(isa, p)
    for (let i = 0; i < ids.length; i += 2) expect(ids[i + 1]).toBe(ids[i]! + 20)
  })

  it('chooses with the bias and weighs without it', () => {
    const { ids, weights } = run(isa, direct([2, 1, 0, -1], [0, 0, 0, 5], 2))
    expect([...ids]).toEqual([3, 0])
    const [low, high] = [1 / (1 + Math.E), 1 / (1 + Math.exp(-2))]
    expectF32Accurate(weights, [low / (low + high), high / (low + high)])
  })

  it('stays exact with negative biases and with scores near zero and one', () => {
    const { ids, weights } = run(isa, direct([90, -90, 20, -20], [-8, -1, -9, -3], 4))
    expect([...ids]).toEqual([1, 3, 0, 2])
    const s = [-90, -20, 90, 20].map((x) => 1 / (1 + Math.exp(-x)))
    const total = s.reduce((a, b) => a + b)
    expectF32Accurate(
      weights,
      s.map((x) => x / total),
    )
  })

  it('gives a token the same bytes alone, in any batch and with any number of threads', () => {
    const p = problem(70, 61, 6, 1056)
    const together = run(isa, p)
    for (const threads of THREADS) {
      const again = run(isa, p, threads)
      expectSameBytes(again.ids, together.ids)
      expectSameBytes(again.weights, together.weights)
    }
    for (const t of [0, 1, 33, 69]) {
      const alone = run(isa, { ...p, tokens: 1, x: p.x.slice(t * p.width, (t + 1) * p.width) })
      expectSameBytes(alone.ids, together.ids.slice(t * 6, (t + 1) * 6))
      expectSameBytes(alone.weights, together.weights.slice(t * 6, (t + 1) * 6))
    }
  })
})
