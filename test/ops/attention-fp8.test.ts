/**
 * Attention over an FP8 cache with q and weights in FP8. Hopper multiplies what is stored, decoding and prompts alike; other devices round and go on as ever.
 * What is rounded is the same everywhere but for weights, which are relative to the largest score that came before them.
 */
import { describe, expect, it } from 'vitest'
import { fromE4m3Bits } from '../reference/number-formats'
import {
  type AttentionShape,
  cancelling,
  copies,
  expectRows,
  growing,
  NONE,
  type Part,
  type Problem,
  problem,
  runner,
  type Sequence,
  truth,
  whole,
} from './attention.helpers'
import {
  DEVICES,
  expectSameBytes,
  expectWithinTwiceNaive,
  frobenius,
  opsFor,
  round,
  threadsOf,
  valuesOf,
} from './helpers'

const shapeOf = (
  heads: number,
  kvHeads: number,
  dim: number,
  pageSize: number,
  sequences: Sequence[],
): AttentionShape => ({
  ...{ heads, kvHeads, dim, pageSize, sequences },
  dtype: 'fp8',
  rounds: true,
})
const decode = (context: number): Sequence => ({ queries: 1, context })
const chunk = (queries: number, context: number): Sequence => ({ queries, context })

const SHAPES: [string, AttentionShape][] = [
  ['decoding', shapeOf(12, 2, 128, 64, [1, 63, 64, 65, 129, 1100].map(decode))],
  ['decoding heads of 64', shapeOf(6, 2, 64, 16, [31, 32, 33, 64, 513].map(decode))],
  ['prompts', shapeOf(12, 2, 128, 16, [chunk(70, 70), chunk(43, 145), decode(70)])],
  ['prompts with heads of 64', shapeOf(6, 1, 64, 128, [chunk(70, 1090), chunk(3, 33), chunk(64, 64)])],
  ['many heads to a KV head', shapeOf(20, 1, 128, 64, [decode(70), chunk(3, 40)])],
  ['pages that are no boxes', shapeOf(6, 2, 128, 48, [chunk(70, 96), chunk(2, 129), decode(33)])],
  ['heads of 96', shapeOf(6, 2, 96, 16, [chunk(33, 33), decode(129), chunk(17, 80)])],
  ['heads of 256', shapeOf(7, 1, 256, 3, [chunk(40, 40), decode(257)])],
]

describe.each(DEVICES)('attention in FP8 on %s', (device) => {
  const ops = opsFor(device)
  const isHopper = ops.description.includes('sm_9')
  const run = (p: Problem, parts: Part[] = whole(p)) => runner(device, p)(parts)

  it.each(SHAPES)(
    'agrees with float64, and has the same bytes alone and with any number of threads: %s',
    (_, shape) => {
      const p = problem(device, shape)
      const together = run(p)
      for (const [b, part] of whole(p).entries()) {
        expectWithinTwiceNaive(valuesOf(together[b]!.data), truth(p, part), truth(p, part, round))
        expectSameBytes(run(p, [part])[0]!.data, together[b]!.data)
      }
      for (const threads of threadsOf(device))
        for (const [b, got] of runner(device, p, threads)(whole(p)).entries())
          expectSameBytes(got.data, together[b]!.data)
    },
  )

  /** Weights that e4m3 has: then all that is left is the result's own rounding, and what the matrix unit cuts off. */
  it.each([
    [128, 64],
    [64, 16],
    [96, 16],
  ])('sums values exactly where weights are: heads of %i', (dim, pageSize) => {
    const p = { ...problem(device, shapeOf(6, 2, dim, pageSize, [decode(200), chunk(50, 130)])), scale: 0 }
    for (const [b, got] of run(p).entries())
      expect(frobenius(valuesOf(got.data), truth(p, whole(p)[b]!))).toBeLessThan(2 ** -8)
  })

  it('reads every pattern as the number that it is', () => {
    // One key has all the weight of a row, and its value comes out. Token t of a head has bytes t, t + 1, ..
    for (const dim of [64, 128]) {
      const p = problem(device, shapeOf(2, 1, dim, 64, [chunk(130, 130)]))
      p.scales.fill(1)
      for (let at = 0; at < 130; at++)
        for (let d = 0; d < dim; d++) {
          const bits = (at * 89 + d) % 256
          p.put(0, 1, 0, at, d, bits % 128 === 127 ? 1 : fromE4m3Bits(bits))
          p.put(0, 0, 0, at, d, 0)
        }
      // Keys are zeros but in two dims, where each is larger than the one before it: every query sees itself best.
      for (let at = 0; at < 126; at++) {
        p.put(0, 0, 0, at, 0, 16 * (at >> 3))
        p.put(0, 0, 0, at, 1, 2 * (at & 7))
      }
      const [{ q }] = p.content as [Problem['content'][number]]
      for (const i of q.keys()) q[i] = i % dim < 2 ? 1 : 0
      const got = valuesOf(run({ ...p, scale: 32 }, [{ b: 0, first: 0, count: 126 }])[0]!.data)
      for (const [i, value] of got.entries()) {
        const bits = (Math.floor(i / (2 * dim)) * 89 + (i % dim)) % 256
        expect(value, `byte ${bits}`).toBeCloseTo(bits % 128 === 127 ? 1 : fromE4m3Bits(bits), 12)
      }
    }
  })

  it.each([
    [128, 3, 1100, 'random values', (p: Problem) => p],
    [128, 3, 1320, 'scores that grow', growing],
    [64, 1, 1320, 'scores that grow', growing],
    [128, 1, 1030, 'values that cancel', cancelling],
    [64, 2, 8200, 'values that cancel', cancelling],
  ])(
    'gives the same bytes in any company: heads of %i, %i to a KV head, %i tokens, %s',
    (dim, group, context, _, values) => {
      const queries = 40
      const p = values(problem(device, shapeOf(group, 1, dim, 64, [chunk(queries, context)])))
      const run = runner(device, p)
      const part = (first: number, count: number): Part => ({ b: 0, first, count })
      const want = run([part(0, queries)])[0]!
      const compare = (parts: Part[]) => expectRows(run, parts, want)
      for (const first of [0, 17, 39]) compare([part(first, 1)])
      compare([part(5, 3), part(30, 10)])
      compare([part(0, 1), NONE, part(3, 33), part(8, 1), part(39, 1), NONE])
      compare([...copies(part(39, 1), 34), part(0, 1)])
    },
  )

  it.each([128, 64])('gives the same bytes whatever the size of pages: heads of %i', (dim) => {
    const sequences = [chunk(60, 1130), chunk(2, 64), chunk(23, 129)]
    const shape = shapeOf(6, 1, dim, 48, sequences)
    const first = problem(device, shape)
    const results = [8, 16, 48, 128].map((pageSize) => {
      const p = { ...problem(device, { ...shape, pageSize }), content: first.content }
      p.scales.set(first.scales)
      for (const [b, { keys, values }] of p.content.entries())
        for (const [which, numbers] of [keys, values].entries())
          for (const [i, x] of numbers.entries()) p.put(b, which, 0, Math.floor(i / dim), i % dim, x)
      return run(p)
    })
    // No box holds pages of 48 tokens: on Hopper those have a kernel that does not multiply in FP8.
    for (const [i, got] of results.entries()) {
      if (isHopper && i === 2) continue
      for (const [b, { data }] of got.entries()) expectSameBytes(data, results[0]![b]!.data)
    }
  })

  it.each([
    [128, 3],
    [64, 1],
    [96, 2],
  ])('keeps what is not finite from rows that do not see it: heads of %i, %i to a KV head', (dim, group) => {
    const shape = shapeOf(group, 1, dim, 16, [chunk(50, 90)])
    const width = group * dim
    const clean = problem(device, shape)
    const want = run(clean)[0]!
    // Token 40 + j is query j's own. From the first of these on, no row is what it was.
    for (const [which, query] of [
      [1, 1],
      [1, 21],
      [1, 49],
      [0, 21],
    ] as const) {
      const p = problem(device, shape)
      p.put(0, which, 0, 40 + query, 5, Number.NaN)
      const rerun = runner(device, p)
      const got = rerun(whole(p))[0]!
      expectSameBytes(got.data.subarray(0, query * width), want.data.subarray(0, query * width))
      for (let j = query; j < 50; j++) {
        const row = valuesOf(got.data.subarray(j * width, (j + 1) * width))
        expect(
          row.some((v) => !Number.isFinite(v)),
          `query ${j} of one that sees token ${40 + query}`,
        ).toBe(true)
      }
      for (const size of [1, 5])
        for (let first = 0; first < 50; first += size)
          expectRows(rerun, [{ b: 0, first, count: Math.min(size, 50 - first) }], got)
    }
  })

  it.each([128, 64, 96])('keeps a q that is not finite to its own row, and takes one of zeros: heads of %i', (dim) => {
    const shape = shapeOf(2, 1, dim, 16, [chunk(30, 90)])
    const clean = problem(device, shape)
    const p = problem(device, shape)
    const { q } = p.content[0]!
    q[(7 * 2 + 1) * dim + 3] = Number.NaN
    q[(21 * 2 + 0) * dim + 9] = Number.POSITIVE_INFINITY
    q.fill(0, 11 * 2 * dim, 12 * 2 * dim)
    const [got, want] = [run(p)[0]!, run(clean)[0]!]
    for (let head = 0; head < 60; head++) {
      const [own, other] = [got, want].map(({ data }) => data.subarray(head * dim, (head + 1) * dim))
      if (head === 15 || head === 42) expect([...valuesOf(own!)].every(Number.isNaN)).toBe(true)
      else if (head >> 1 !== 11) expectSameBytes(own!, other!)
      else expect([...valuesOf(own!)].every(Number.isFinite)).toBe(true)
    }
  })

  it('is of a cache in FP8', () => {
    const p = problem(device, { ...shapeOf(2, 1, 64, 16, [decode(20)]), dtype: 'bf16' })
    expect(() => run(p)).toThrow(/kv must be f8_e4m3 where q is rounded, found bf16/)
  })
})
