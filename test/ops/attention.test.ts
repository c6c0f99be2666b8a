import { describe, expect, it } from 'vitest'
import { type AttentionShape, joined, problem, run, type Sequence, truth, whole } from './attention.helpers'
import { expectSameBytes, expectWithinTwiceNaive, ISAS, round, THREADS, valuesOf } from './helpers'

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
  {
    heads: 6,
    kvHeads: 2,
    dim: 64,
    pageSize: 64,
    dtype: 'bf16',
    sequences: [decode(255), decode(256), decode(257), decode(512), decode(513), chunk(70, 600), chunk(20, 266)],
  },
]
const name = (s: AttentionShape) =>
  `${s.heads}/${s.kvHeads} heads of ${s.dim}, pages of ${s.pageSize}, ${s.dtype}, ${s.sequences.map((q) => `${q.queries} of ${q.context}`).join(', ')}`

describe.each(ISAS)('attention on %s', (isa) => {
  it.each(SHAPES.map((s) => [name(s), s] as const))('agrees with float64: %s', (_, shape) => {
    const p = problem(shape)
    run(isa, p, whole(p)).forEach((got, b) => {
      expectWithinTwiceNaive(valuesOf(got), truth(p, b), truth(p, b, round))
    })
  })

  it('agrees with float64 at every context from 1 to 140', () => {
    const sequences = Array.from({ length: 140 }, (_, i) => decode(i + 1))
    const p = problem({ heads: 2, kvHeads: 1, dim: 32, pageSize: 16, dtype: 'bf16', sequences })
    run(isa, p, whole(p)).forEach((got, b) => {
      expectWithinTwiceNaive(valuesOf(got), truth(p, b), truth(p, b, round))
    })
  })

  it('gives the value itself where one key has all the weight, however large the scores', () => {
    const p = problem({ heads: 2, kvHeads: 1, dim: 32, pageSize: 16, dtype: 'f32', sequences: [decode(70)] })
    p.scale = 1e4
    const [got] = run(isa, p, whole(p))
    expectWithinTwiceNaive(valuesOf(got!), truth(p, 0), truth(p, 0, (x) => x).map(round))
  })

  it('passes over a sequence without queries', () => {
    const p = problem({
      heads: 2,
      kvHeads: 1,
      dim: 64,
      pageSize: 16,
      dtype: 'bf16',
      sequences: [decode(20), decode(30)],
    })
    const [first, none, second] = run(isa, p, [
      { b: 0, first: 0, count: 1 },
      { b: 1, first: 0, count: 0 },
      { b: 1, first: 0, count: 1 },
    ])
    expect(none!.length).toBe(0)
    const want = run(isa, p, whole(p))
    expectSameBytes(first!, want[0]!)
    expectSameBytes(second!, want[1]!)
  })

  it.each(SHAPES.map((s) => [name(s), s] as const))(
    'gives the same bytes alone, in a batch and with any number of threads: %s',
    (_, shape) => {
      const p = problem(shape)
      const together = run(isa, p, whole(p))
      for (const threads of THREADS)
        for (const [b, got] of run(isa, p, whole(p), threads).entries()) expectSameBytes(got, together[b]!)
      for (const [b, part] of whole(p).entries()) expectSameBytes(run(isa, p, [part])[0]!, together[b]!)
    },
  )

  it.each([
    [128, 64, 'bf16'],
    [64, 16, 'f32'],
  ] as const)(
    'gives the same bytes in one shot, in chunks and one token at a time: head dim %i, pages of %i, %s',
    (dim, pageSize, dtype) => {
      const p = problem({ heads: 6, kvHeads: 2, dim, pageSize, dtype, sequences: [prefill(200), chunk(120, 300)] })
      const together = run(isa, p, whole(p))
      p.sequences.forEach(({ queries }, b) => {
        for (const size of [1, 7, 64, 65, 100]) {
          const chunks: Uint16Array[] = []
          for (let first = 0; first < queries; first += size)
            chunks.push(run(isa, p, [{ b, first, count: Math.min(size, queries - first) }])[0]!)
          expectSameBytes(joined(chunks), together[b]!)
        }
      })
    },
  )
})
