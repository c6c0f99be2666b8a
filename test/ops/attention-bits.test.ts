/** Whatever a step is put together of, a row of it comes out the same: long contexts, mixed steps, many sequences, values that are not finite. */
import { describe, expect, it } from 'vitest'
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
import { DEVICES, expectAccurate, expectSameBytes, once, round, valuesOf } from './helpers'

/** Bits are compared of one device alone; errors with those of float64, in f32 with those that long sums may have. */
const ACCURACY = 4e-6

const longShape = (sequence: Sequence): AttentionShape => ({
  heads: 2,
  kvHeads: 1,
  dim: 64,
  pageSize: 64,
  dtype: 'bf16',
  sequences: [sequence],
})

describe.each(DEVICES)('attention on %s', (device) => {
  const onLong = once(() => {
    const [queries, context] = [8300, 9290]
    const p = problem(device, longShape({ queries, context }))
    return {
      p,
      run: runner(device, p),
      ending: (tokens: number): Part => ({ b: 0, first: tokens - (context - queries) - 1, count: 1 }),
    }
  })

  it.each([1023, 1024, 1025, 1087, 1280, 1281, 2048, 2049, 8191, 8192, 8193, 9216, 9217])(
    'agrees with float64 at %i tokens',
    (tokens) => {
      const { p, run, ending } = onLong()
      const part = ending(tokens)
      expectAccurate(device, run([part])[0]!, truth(p, part), () => truth(p, part, round), ACCURACY)
    },
  )

  it.each([
    [1030, 'with random values', (p: Problem) => p],
    [1030, 'where sums cancel', cancelling],
    [1320, 'where scores grow and sums cancel', growing],
    [8200, 'with random values', (p: Problem) => p],
    [8200, 'where sums cancel', cancelling],
    [9290, 'where sums cancel', cancelling],
  ])('gives the same bytes to the last of %i tokens in any company, %s', (context, _, values) => {
    const queries = 40
    const run = runner(device, values(problem(device, longShape({ queries, context }))))
    const part = (first: number, count: number): Part => ({ b: 0, first, count })
    const want = run([part(0, queries)])[0]!
    const compare = (parts: Part[]) => expectRows(run, parts, want)
    for (const first of [0, 1, 17, 38, 39]) compare([part(first, 1)])
    compare([part(5, 8)])
    compare([part(5, 9), part(30, 10)])
    compare([part(0, 1), NONE, part(3, 33), part(8, 1), part(39, 1), NONE])
    compare([...copies(part(39, 1), 34), part(0, 1)])
    compare([...copies(part(0, queries), 6), part(20, 20), part(7, 1)])
  })

  it('gives the same bytes to the last of 74,624 tokens in one call and one by one', () => {
    // The same 11 pages over and over.
    const p = cancelling(problem(device, longShape({ queries: 10, context: 704 })))
    const pages = p.pageTables.subarray(p.rows[0]! * p.pagesPerRow, p.rows[0]! * p.pagesPerRow + 11)
    p.pagesPerRow = 106 * 11
    p.pageTables = Int32Array.from({ length: 3 * p.pagesPerRow }, (_, i) => pages[i % 11]!)
    p.sequences[0]!.context = 64 * p.pagesPerRow
    const run = runner(device, p)
    const want = run(whole(p))[0]!
    for (const first of [0, 9]) expectRows(run, [{ b: 0, first, count: 1 }], want)
    expectRows(run, [{ b: 0, first: 3, count: 2 }, ...copies({ b: 0, first: 5, count: 1 }, 3)], want)
  })

  it('gives the same bytes in a mixed step and alone, with 48 heads on 8', () => {
    const p = problem(device, {
      heads: 48,
      kvHeads: 8,
      dim: 128,
      pageSize: 64,
      dtype: 'bf16',
      sequences: [
        { queries: 30, context: 100 },
        { queries: 1, context: 130 },
        { queries: 3, context: 70 },
        { queries: 2, context: 64 },
      ],
    })
    const run = runner(device, p)
    const together = run([...whole(p), NONE])
    for (const [b, part] of whole(p).entries()) {
      expectSameBytes(run([NONE, part])[1]!.data, together[b]!.data)
      expectAccurate(device, together[b]!, truth(p, part), () => truth(p, part, round), ACCURACY)
    }
    expectRows(
      run,
      [
        { b: 0, first: 11, count: 1 },
        { b: 3, first: 0, count: 1 },
        { b: 0, first: 12, count: 18 },
      ],
      together[0]!,
    )
  })

  // On Hopper pages of 48 tokens, which no box holds, have another kernel than those of the others.
  it.each([
    [128, 'bf16'],
    [64, 'bf16'],
    [128, 'fp8'],
    [64, 'fp8'],
  ] as const)('gives the same bytes whatever the size of pages: heads of %i, %s', (dim, dtype) => {
    const sequences = [
      { queries: 60, context: 1130 },
      { queries: 30, context: 64 },
      { queries: 23, context: 129 },
    ]
    const shape = { heads: 6, kvHeads: 1, dim, dtype, sequences }
    const first = problem(device, { ...shape, pageSize: 48 })
    const want = runner(device, first)(whole(first))
    for (const pageSize of [8, 32, 64, 128]) {
      const p = { ...problem(device, { ...shape, pageSize }), content: first.content }
      p.scales.set(first.scales)
      for (const [b, { keys, values }] of p.content.entries())
        for (const [which, numbers] of [keys, values].entries())
          for (const [i, x] of numbers.entries()) p.put(b, which, 0, Math.floor(i / dim), i % dim, x)
      for (const [i, got] of runner(device, p)(whole(p)).entries()) expectSameBytes(got.data, want[i]!.data)
    }
  })

  it('takes more sequences than a block has threads', () => {
    const p = problem(device, {
      heads: 2,
      kvHeads: 1,
      dim: 64,
      pageSize: 16,
      dtype: 'bf16',
      sequences: [{ queries: 40, context: 60 }],
    })
    const run = runner(device, p)
    const want = run(whole(p))[0]!
    const parts = Array.from({ length: 300 }, (_, i): Part => (i % 3 === 1 ? NONE : { b: 0, first: i % 40, count: 1 }))
    parts[150] = { b: 0, first: 3, count: 30 }
    expectRows(run, parts, want)
  })

  it.each([
    [128, 3, 'bf16'],
    [64, 1, 'bf16'],
    [64, 2, 'f32'],
    [128, 3, 'fp8'],
    [64, 1, 'fp8'],
    [96, 2, 'fp8'],
  ] as const)(
    'keeps what is not finite from rows that do not see it: heads of %i, %i to a KV head, %s',
    (dim, group, dtype) => {
      const shape = { heads: group, kvHeads: 1, dim, pageSize: 16, dtype, sequences: [{ queries: 50, context: 90 }] }
      const width = group * dim
      const clean = problem(device, shape)
      const want = runner(device, clean)(whole(clean))[0]!
      // Token 40 + j is query j's own. From the first of these on, no row is what it was.
      for (const [which, query, value] of [
        [1, 1, Number.NaN],
        [1, 21, Number.POSITIVE_INFINITY],
        [1, 49, Number.NEGATIVE_INFINITY],
        [0, 21, Number.NaN],
      ] as const) {
        if (dtype === 'fp8' && !Number.isNaN(value)) continue // what e4m3 does not have
        const p = problem(device, shape)
        p.put(0, which, 0, 40 + query, 5, value)
        const run = runner(device, p)
        const got = run(whole(p))[0]!
        expectSameBytes(got.data.subarray(0, query * width), want.data.subarray(0, query * width))
        for (let j = query; j < 50; j++) {
          const row = valuesOf(got.data.subarray(j * width, (j + 1) * width))
          expect(
            row.some((v) => !Number.isFinite(v)),
            `query ${j} of one that sees token ${40 + query}`,
          ).toBe(true)
        }
        for (const size of [1, 2, 5, 20])
          for (let first = 0; first < 50; first += size)
            expectRows(run, [{ b: 0, first, count: Math.min(size, 50 - first) }], got)
      }
    },
  )
})
