import { describe, it } from 'vitest'
import { packWeight } from '../../lib/ops'
import { activations, bf16, DEVICES, expectSameBytes, f32, i32, opsFor, Random, threadsOf, toBf16 } from './helpers'
import { permutation, routing, type Spread } from './moe.helpers'

function problem(tokens: number, active: number, width: number, k: number, spread: Spread) {
  const random = new Random(tokens + active + width + k)
  const experts = 11
  const { offsets, target } = permutation(routing(tokens, experts, active, spread))
  return {
    ...{ tokens, active, width, k, experts, offsets, target },
    x: toBf16(random.normals(tokens * active * k)),
    w: toBf16(random.normals(experts * width * k, k ** -0.5)),
    weights: Float32Array.from({ length: tokens * active }, () => random.uniform()),
    base: random.normals(tokens * width),
  }
}
type Problem = ReturnType<typeof problem>

/** In one op, or in the two that it stands for. */
function run(device: string, p: Problem, threads: number, asOne: boolean): Float32Array {
  const ops = opsFor(device, threads)
  const shape = { experts: p.experts, n: p.width, k: p.k, layout: 'rows' } as const
  const product = {
    x: bf16([p.tokens * p.active, p.k], p.x),
    offsets: i32([p.experts + 1], p.offsets),
    weight: packWeight(ops, shape, bf16([p.experts, p.width, p.k], p.w)),
  }
  const y = activations(device, [p.tokens * p.active, p.width])
  const out = f32([p.tokens, p.width], p.base.slice())
  const sum = {
    y,
    target: i32([p.tokens, p.active], p.target),
    weights: f32([p.tokens, p.active], p.weights),
    out,
  }
  if (asOne) {
    ops.expertsDown({ ...product, ...sum })
  } else {
    ops.groupedLinear({ ...product, out: y })
    ops.unpermute(sum)
  }
  return out.data
}

describe.each(DEVICES)('experts_down on %s', (device) => {
  it.each<[number, number, number, number, Spread]>([
    [1, 8, 96, 64, 'random'],
    [5, 3, 160, 96, 'emptyExperts'],
    [17, 2, 64, 1568, 'oneTakesAll'],
    [100, 3, 96, 32, 'random'],
  ])('gives the bytes of its two ops: %i tokens, %i each, C %i, F %i, %s', (tokens, active, width, k, spread) => {
    const p = problem(tokens, active, width, k, spread)
    const want = run(device, p, 2, false)
    for (const threads of threadsOf(device)) expectSameBytes(run(device, p, threads, true), want)
  })
})
