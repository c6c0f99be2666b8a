import { describe, expect, it } from 'vitest'
import {
  bf16,
  DEVICES,
  expectF32Accurate,
  expectSameBytes,
  f32,
  i32,
  opsFor,
  Random,
  threadsOf,
  valuesOf,
} from './helpers'
import { permutation } from './moe.helpers'

const EPS = 1e-6

function problem(tokens: number, experts: number, active: number, width: number) {
  const random = new Random(tokens + experts)
  return {
    tokens,
    experts,
    active,
    width,
    x: random.normals(tokens * width),
    norm: random.normals(width, 0.1, 1),
    gate: random.normals(experts * width, width ** -0.5),
    bias: random.normals(experts, 0.3),
  }
}
type Problem = ReturnType<typeof problem>

function run(device: string, p: Problem, { threads = 2, live = undefined as number | undefined } = {}) {
  const pairs = p.tokens * p.active
  const [expertIds, weights] = [i32([p.tokens, p.active]), f32([p.tokens, p.active])]
  const [offsets, source, target] = [i32([p.experts + 1]), i32([pairs]), i32([p.tokens, p.active])]
  const [room, h] = [f32([p.tokens, p.width]), bf16([p.tokens, p.width])]
  opsFor(device, threads).route({
    x: f32([p.tokens, p.width], p.x),
    norm: f32([p.width], p.norm),
    eps: EPS,
    gate: f32([p.experts, p.width], p.gate),
    bias: f32([p.experts], p.bias),
    live: live === undefined ? undefined : i32([1], [live]),
    room,
    h,
    expertIds,
    weights,
    offsets,
    source,
    target,
  })
  const sorted = { offsets: offsets.data, source: source.data, target: target.data }
  return { h: h.data, ids: expertIds.data, weights: weights.data, ...sorted }
}

/** A token after the norm. */
function normed(p: Problem, token: number): Float64Array {
  const x = Float64Array.from(p.x.subarray(token * p.width, (token + 1) * p.width))
  const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / p.width + EPS)
  return x.map((value, c) => value * scale * p.norm[c]!)
}

function scores(p: Problem, token: number): number[] {
  const h = normed(p, token)
  return Array.from({ length: p.experts }, (_, e) => {
    let logit = 0
    for (let c = 0; c < p.width; c++) logit += h[c]! * p.gate[e * p.width + c]!
    return 1 / (1 + Math.exp(-logit))
  })
}

/** One token whose logits are the numbers given. */
const direct = (logits: number[], bias: number[], active: number): Problem => ({
  ...problem(1, logits.length, active, 32),
  x: Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? 1e4 : 0)), // the norm makes sqrt(32) of it, and eps is nothing beside it
  norm: new Float32Array(32).fill(32 ** -0.5),
  gate: Float32Array.from(logits.flatMap((x) => [x, ...new Array(31).fill(0)])),
  bias: Float32Array.from(bias),
})

describe.each(DEVICES)('route on %s', (device) => {
  it.each([
    [1, 1, 1, 32],
    [7, 5, 5, 64],
    [70, 33, 3, 96],
    [17, 16, 2, 64],
    [5, 256, 8, 3072],
    [65, 20, 3, 1600],
    [300, 24, 3, 832],
    [512, 8, 2, 64],
  ])('agrees with float64: %i tokens, %i experts, %i active, C %i', (tokens, experts, active, width) => {
    const p = problem(tokens, experts, active, width)
    const got = run(device, p)
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
    const h = Array.from({ length: tokens }, (_, t) => [...normed(p, t)]).flat()
    for (const [i, value] of valuesOf(got.h).entries())
      expect(Math.abs(value - h[i]!)).toBeLessThan(0.00391 * Math.abs(h[i]!) + 1e-9)
  })

  it('prefers the lower index among equals, by bits of score plus bias', () => {
    expect([...run(device, direct([0, 1, 1, 0, 1], [0, 0, 0, 0, 0], 4)).ids]).toEqual([1, 2, 4, 0])
    expect([...run(device, direct([0, -0, 0, -0], [0, -0, -0, 0], 3)).ids]).toEqual([0, 1, 2])
    const p = problem(20, 40, 6, 64)
    p.gate.copyWithin(0, 20 * 64) // experts 0..19 are experts 20..39
    p.bias.copyWithin(0, 20)
    const { ids } = run(device, p)
    for (let i = 0; i < ids.length; i += 2) expect(ids[i + 1]).toBe(ids[i]! + 20)
  })

  it('chooses with the bias and weighs without it', () => {
    const { ids, weights } = run(device, direct([2, 1, 0, -1], [0, 0, 0, 5], 2))
    expect([...ids]).toEqual([3, 0])
    const [low, high] = [1 / (1 + Math.E), 1 / (1 + Math.exp(-2))]
    expectF32Accurate(weights, [low / (low + high), high / (low + high)])
  })

  it('stays exact with negative biases and with scores near zero and one', () => {
    const { ids, weights } = run(device, direct([90, -90, 20, -20], [-8, -1, -9, -3], 4))
    expect([...ids]).toEqual([1, 3, 0, 2])
    const s = [-90, -20, 90, 20].map((x) => 1 / (1 + Math.exp(-x)))
    const total = s.reduce((a, b) => a + b)
    expectF32Accurate(
      weights,
      s.map((x) => x / total),
    )
  })

  it.each([
    [1, 1, 1],
    [1, 256, 8],
    [5, 9, 3],
    [64, 4, 1],
    [70, 16, 4],
    [513, 256, 8],
  ])('sorts the pairs of %i tokens and their experts by expert, stably: %i experts, %i active', (...shape) => {
    const p = problem(...shape, 32)
    const { ids, offsets, source, target } = run(device, p)
    expect({ offsets, source, target }).toEqual(permutation({ ...p, expertIds: ids }))
  })

  it('sorts where one expert takes all and the others none', () => {
    const p = problem(130, 40, 2, 32)
    p.bias.fill(-50).fill(50, 7, 9)
    const { ids, offsets, source, target } = run(device, p)
    expect(new Set(ids)).toEqual(new Set([7, 8]))
    expect({ offsets, source, target }).toEqual(permutation({ ...p, expertIds: ids }))
  })

  it.each([0, 1, 6, 69, 70])('sends only the first %i of 70 tokens to experts', (live) => {
    const p = problem(70, 16, 4, 64)
    const got = run(device, p, { live })
    const some = live === 0 ? undefined : run(device, { ...p, tokens: live, x: p.x.slice(0, live * 64) })
    const rest = (70 - live) * 4
    expect([...got.ids]).toEqual([...(some?.ids ?? []), ...new Array(rest).fill(-1)])
    expect([...got.weights]).toEqual([...(some?.weights ?? []), ...new Array(rest).fill(0)])
    expect([...got.target]).toEqual([...(some?.target ?? []), ...new Array(rest).fill(-1)])
    expect([...got.offsets]).toEqual([...(some?.offsets ?? new Array(17).fill(0))])
    expect([...got.source.subarray(0, live * 4)]).toEqual([...(some?.source ?? [])])
  })

  it.each([736, 1056])(
    'gives a token the same bytes alone, in any batch and with any number of threads: C %i',
    (width) => {
      const p = problem(70, 61, 6, width)
      const together = run(device, p)
      for (const threads of threadsOf(device)) {
        const again = run(device, p, { threads })
        expect(again).toEqual(together)
      }
      for (const tokens of [1, 3, 4, 5, 15, 16, 17, 63, 64, 65]) {
        for (const first of [0, 70 - tokens]) {
          const some = run(device, { ...p, tokens, x: p.x.slice(first * p.width, (first + tokens) * p.width) })
          expectSameBytes(some.ids, together.ids.slice(first * 6, (first + tokens) * 6))
          expectSameBytes(some.weights, together.weights.slice(first * 6, (first + tokens) * 6))
          expectSameBytes(some.h, together.h.slice(first * p.width, (first + tokens) * p.width))
        }
      }
    },
  )

  it('gives a token of a long prompt the bytes that it has alone', () => {
    const p = problem(4224, 20, 2, 800) // so many that a GPU's blocks take the largest tiles
    const together = run(device, p)
    for (const token of [0, 7, 63, 64, 4095, 4220, 4223]) {
      const alone = run(device, { ...p, tokens: 1, x: p.x.slice(token * p.width, (token + 1) * p.width) })
      expectSameBytes(alone.ids, together.ids.slice(token * 2, (token + 1) * 2))
      expectSameBytes(alone.weights, together.weights.slice(token * 2, (token + 1) * 2))
    }
  })

  it('chooses experts of tokens and by scores that are not numbers', () => {
    const p = problem(70, 20, 3, 96)
    p.x[5 * p.width] = Number.NaN
    p.x[6 * p.width] = Number.POSITIVE_INFINITY
    p.gate[2 * p.width] = Number.NaN
    p.gate[3 * p.width + 40] = Number.POSITIVE_INFINITY
    p.gate[4 * p.width + 95] = 3.4e38
    for (const tokens of [1, 7, 20, 70]) {
      const first = Math.max(0, 7 - tokens)
      const some = { ...p, tokens, x: p.x.slice(first * p.width, (first + tokens) * p.width) }
      const { ids, offsets, source, target } = run(device, some)
      for (let t = 0; t < tokens; t++) {
        const chosen = [...ids.subarray(t * 3, (t + 1) * 3)]
        expect(new Set(chosen).size).toBe(3)
        expect(Math.min(...chosen)).toBeGreaterThanOrEqual(0)
        expect(Math.max(...chosen)).toBeLessThan(20)
        if (first + t !== 5 && first + t !== 6)
          expect(chosen).not.toContain(2) // a NaN ranks last
        else expect(chosen).toEqual([0, 1, 2])
      }
      expect({ offsets, source, target }).toEqual(permutation({ ...some, expertIds: ids }))
    }
  })
})
