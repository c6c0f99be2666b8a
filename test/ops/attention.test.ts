import { describe, expect, it } from 'vitest'
import type { Act } from '../../lib/ops'
import { fromE4m3Bits } from '../reference/number-formats'
import {
  type AttentionShape,
  joined,
  type Problem,
  problem,
  runner,
  type Sequence,
  truth,
  whole,
} from './attention.helpers'
import { DEVICES, expectAccurate, expectSameBytes, once, opsFor, round, threadsOf, toBf16, valuesOf } from './helpers'

const prefill = (context: number): Sequence => ({ queries: context, context })
const decode = (context: number): Sequence => ({ queries: 1, context })
const chunk = (queries: number, context: number): Sequence => ({ queries, context })

const SHAPES: AttentionShape[] = [
  { heads: 1, kvHeads: 1, dim: 32, pageSize: 1, dtype: 'f32', sequences: [prefill(1), decode(2), prefill(5)] },
  {
    heads: 4,
    kvHeads: 2,
    dim: 64,
    pageSize: 16,
    dtype: 'bf16',
    sequences: [decode(15), decode(16), decode(17), chunk(3, 33)],
  },
  { heads: 6, kvHeads: 2, dim: 96, pageSize: 16, dtype: 'f32', sequences: [prefill(33), decode(129), chunk(17, 80)] },
  {
    heads: 5,
    kvHeads: 1,
    dim: 128,
    pageSize: 64,
    dtype: 'bf16',
    sequences: [decode(63), decode(64), decode(65), prefill(70)],
  },
  { heads: 12, kvHeads: 2, dim: 128, pageSize: 64, dtype: 'f32', sequences: [decode(300), chunk(2, 130), prefill(1)] },
  { heads: 7, kvHeads: 1, dim: 256, pageSize: 16, dtype: 'bf16', sequences: [prefill(40), decode(257), chunk(9, 64)] },
  {
    heads: 3,
    kvHeads: 3,
    dim: 160,
    pageSize: 64,
    dtype: 'bf16',
    sequences: [chunk(64, 128), chunk(1, 200), chunk(65, 129)],
  },
  { heads: 2, kvHeads: 2, dim: 64, pageSize: 1, dtype: 'bf16', sequences: [prefill(129), decode(300)] },
  { heads: 50, kvHeads: 1, dim: 32, pageSize: 16, dtype: 'bf16', sequences: [chunk(3, 20), decode(260)] },
  { heads: 6, kvHeads: 2, dim: 64, pageSize: 64, dtype: 'bf16', sequences: [255, 256, 257, 512, 513].map(decode) },
  { heads: 2, kvHeads: 1, dim: 32, pageSize: 48, dtype: 'bf16', sequences: [chunk(70, 600), chunk(20, 266)] },
  { heads: 6, kvHeads: 2, dim: 128, pageSize: 48, dtype: 'bf16', sequences: [chunk(5, 96), chunk(6, 97), decode(145)] },
  {
    heads: 1,
    kvHeads: 1,
    dim: 64,
    pageSize: 128,
    dtype: 'bf16',
    sequences: [chunk(130, 150), chunk(16, 129), chunk(17, 33)],
  },
  { heads: 50, kvHeads: 1, dim: 64, pageSize: 64, dtype: 'bf16', sequences: [decode(70), chunk(3, 31), prefill(1)] },
  { heads: 34, kvHeads: 2, dim: 128, pageSize: 16, dtype: 'bf16', sequences: [decode(33), decode(32), decode(31)] },
  { heads: 6, kvHeads: 2, dim: 96, pageSize: 16, dtype: 'fp8', sequences: [prefill(33), decode(129), chunk(17, 80)] },
  { heads: 7, kvHeads: 1, dim: 256, pageSize: 3, dtype: 'fp8', sequences: [prefill(40), decode(257), chunk(9, 64)] },
  { heads: 6, kvHeads: 2, dim: 64, pageSize: 1, dtype: 'fp8', sequences: [31, 32, 33, 64, 513].map(decode) },
  { heads: 12, kvHeads: 2, dim: 128, pageSize: 64, dtype: 'fp8', sequences: [63, 64, 65, 129].map(decode) },
  {
    heads: 6,
    kvHeads: 2,
    dim: 64,
    pageSize: 48,
    dtype: 'fp8',
    sequences: [chunk(70, 96), chunk(50, 129), prefill(33)],
  },
  { heads: 12, kvHeads: 2, dim: 128, pageSize: 16, dtype: 'fp8', sequences: [prefill(70), chunk(43, 145), decode(70)] },
]
const title = (s: AttentionShape) =>
  `${s.heads}/${s.kvHeads} heads of ${s.dim}, pages of ${s.pageSize}, ${s.dtype}, ${s.sequences.map((q) => `${q.queries} of ${q.context}`).join(', ')}`

/**
 * An error in a score is, to first order, the relative error of its weight: scores of up to 10, good to some units of 2^-24, make some 1e-6 in the result.
 */
const ACCURACY = 3e-6

/** A problem with its truth, computed once for all devices that take the same values. */
function judged(shape: AttentionShape) {
  const byType = new Map<string, () => { p: Problem; truths: Float64Array[]; naive: () => Float64Array[] }>()
  return (device: string) => {
    const type = opsFor(device).activations
    const compute = () => {
      const p = problem(device, shape)
      return {
        p,
        truths: whole(p).map((part) => truth(p, part)),
        naive: once(() => whole(p).map((part) => truth(p, part, round))),
      }
    }
    if (!byType.has(type)) byType.set(type, once(compute))
    const { p, truths, naive } = byType.get(type)!()
    const judge = (got: Act[]) => {
      for (const [b, exact] of truths.entries()) expectAccurate(device, got[b]!, exact, () => naive()[b]!, ACCURACY)
    }
    return { p, judge }
  }
}
const problems = SHAPES.map((shape) => [title(shape), judged(shape)] as const)
const everyContext = judged({
  heads: 2,
  kvHeads: 1,
  dim: 32,
  pageSize: 16,
  dtype: 'bf16',
  sequences: Array.from({ length: 140 }, (_, i) => decode(i + 1)),
})

describe.each(DEVICES)('attention on %s', (device) => {
  it.each(problems)('agrees with float64: %s', (_, problemOn) => {
    const { p, judge } = problemOn(device)
    judge(runner(device, p)(whole(p)))
  })

  it('agrees with float64 at every context from 1 to 140', () => {
    const { p, judge } = everyContext(device)
    judge(runner(device, p)(whole(p)))
  })

  it('gives the value itself where one key has all the weight, however large the scores', () => {
    for (const dtype of ['f32', 'bf16', 'fp8'] as const) {
      const p = problem(device, { heads: 2, kvHeads: 1, dim: 64, pageSize: 16, dtype, sequences: [decode(70)] })
      p.scale = 1e4
      const [part] = whole(p)
      expectAccurate(device, runner(device, p)([part!])[0]!, truth(p, part!), () => truth(p, part!, round), ACCURACY)
    }
  })

  it.each([-0.125, 0])('agrees with float64 at a scale of %d', (scale) => {
    for (const dtype of ['f32', 'bf16', 'fp8'] as const) {
      const shape = { heads: 4, kvHeads: 2, dim: 64, pageSize: 16, dtype, sequences: [decode(70), prefill(40)] }
      const p = { ...problem(device, shape), scale }
      const got = runner(device, p)(whole(p))
      for (const [b, part] of whole(p).entries())
        expectAccurate(device, got[b]!, truth(p, part), () => truth(p, part, round), ACCURACY)
    }
  })

  it.each([64, 128, 96])('reads e4m3 of scale 1 as the same numbers in bf16: heads of %i', (dim) => {
    const shape = { heads: 6, kvHeads: 2, dim, pageSize: 16, sequences: [chunk(70, 100), decode(50), chunk(3, 40)] }
    const narrow = problem(device, { ...shape, dtype: 'fp8' })
    narrow.scales.fill(1)
    // Every pattern but NaN, in K and V; what no row sees stays NaN.
    const bytes = narrow.cache.map((bits, i) =>
      bits === 0x7f ? bits : (i * 89) % 254 < 127 ? (i * 89) % 254 : ((i * 89) % 254) + 1,
    )
    const wide = { ...narrow, dtype: 'bf16' as const, cache: toBf16(new Float64Array(bytes).map(fromE4m3Bits)) }
    const got = runner(device, { ...narrow, cache: bytes, scale: 2 ** -15 })(whole(narrow))
    const want = runner(device, { ...wide, scale: 2 ** -15 })(whole(narrow))
    expectSameBytes(joined(got), joined(want))
    expect(got.every(({ data }) => valuesOf(data).every(Number.isFinite))).toBe(true)
  })

  it('passes over a sequence without queries', () => {
    const p = problem(device, {
      heads: 2,
      kvHeads: 1,
      dim: 64,
      pageSize: 16,
      dtype: 'bf16',
      sequences: [decode(20), decode(30)],
    })
    const run = runner(device, p)
    const want = run(whole(p))
    const [first, none, second] = run([
      { b: 0, first: 0, count: 1 },
      { b: 1, first: 0, count: 0 },
      { b: 1, first: 0, count: 1 },
    ])
    expect(none!.data.length).toBe(0)
    expectSameBytes(first!.data, want[0]!.data)
    expectSameBytes(second!.data, want[1]!.data)
  })

  it.each(problems)('gives the same bytes alone, in a batch and with any number of threads: %s', (_, problemOn) => {
    const { p } = problemOn(device)
    const run = runner(device, p)
    const together = run(whole(p))
    for (const threads of threadsOf(device)) {
      for (const [b, got] of runner(device, p, threads)(whole(p)).entries())
        expectSameBytes(got.data, together[b]!.data)
    }
    for (const [b, part] of whole(p).entries()) expectSameBytes(run([part])[0]!.data, together[b]!.data)
  })

  it.each([
    [128, 64, 'bf16'],
    [64, 16, 'f32'],
    [128, 64, 'fp8'],
    [64, 16, 'fp8'],
    [96, 16, 'fp8'],
  ] as const)(
    'gives the same bytes in one shot, in chunks and one token at a time: head dim %i, pages of %i, %s',
    (dim, pageSize, dtype) => {
      const p = problem(device, {
        heads: 6,
        kvHeads: 2,
        dim,
        pageSize,
        dtype,
        sequences: [prefill(200), chunk(120, 300)],
      })
      const run = runner(device, p)
      const together = run(whole(p))
      for (const [b, { queries }] of p.sequences.entries())
        for (const size of [1, 5, 7, 42, 43, 64, 65, 100]) {
          const chunks: Act[] = []
          for (let first = 0; first < queries; first += size)
            chunks.push(...run([{ b, first, count: Math.min(size, queries - first) }]))
          expectSameBytes(joined(chunks), together[b]!.data)
        }
    },
  )
})
