/** Whatever a step is put together of, a row of it comes out the same: long contexts, mixed steps, many sequences, values that are not finite. */
import { describe, expect, it } from 'vitest'
import type { Act } from '../../lib/ops'
import { type Part, type Problem, problem, runner, truth, whole } from './attention.helpers'
import { DEVICES, expectAccurate, expectSameBytes, round, valuesOf } from './helpers'

/** Bits are compared of one device alone; errors with those of float64, in f32 with those that long sums may have. */
const ACCURACY = 4e-6

const NONE: Part = { b: 0, first: 0, count: 0 }
const copies = (part: Part, count: number): Part[] => new Array(count).fill(part)

/** Runs parts in one call and compares those of sequence b with the same queries in `want`, which begins at query `from`. */
function expectRows(run: (parts: Part[]) => Act[], parts: Part[], want: Act, b = 0, from = 0): void {
  const width = want.shape[1]!
  for (const [i, got] of run(parts).entries()) {
    const { first, count } = parts[i]!
    if (parts[i]!.b !== b) continue
    expectSameBytes(got.data, want.data.subarray((first - from) * width, (first - from + count) * width))
  }
}

describe.each(DEVICES)('attention on %s', (device) => {
  describe('over a long context', () => {
    const [queries, context] = [8300, 9290]
    const make = (): Problem =>
      problem(device, {
        heads: 2,
        kvHeads: 1,
        dim: 64,
        pageSize: 64,
        dtype: 'bf16',
        sequences: [{ queries, context }],
      })
    let made: { p: Problem; run: (parts: Part[]) => Act[] } | undefined
    const long = () => {
      if (!made) {
        const p = make()
        made = { p, run: runner(device, p) }
      }
      return made
    }
    /** The part of `count` queries whose last one sees `tokens` tokens. */
    const ending = (tokens: number, count = 1): Part => ({ b: 0, first: tokens - (context - queries) - count, count })

    it.each([1023, 1024, 1025, 1087, 1280, 1281, 2048, 2049, 8191, 8192, 8193, 9216, 9217])(
      'agrees with float64 at %i tokens',
      (tokens) => {
        const { p, run } = long()
        const part = ending(tokens)
        expectAccurate(device, run([part])[0]!, truth(p, part), () => truth(p, part, round), ACCURACY)
      },
    )

    it.each([1030, 8200, 9290])('gives the same bytes to the queries up to %i tokens in any company', (tokens) => {
      const { run } = long()
      const all = ending(tokens, 40)
      const part = (first: number, count: number): Part => ({ b: 0, first: all.first + first, count })
      const want = run([all])[0]!
      const compare = (parts: Part[]) => expectRows(run, parts, want, 0, all.first)
      for (const first of [0, 1, 17, 38, 39]) compare([part(first, 1)])
      compare([part(5, 8)])
      compare([part(5, 9), part(30, 10)])
      compare([part(0, 1), NONE, part(3, 33), part(8, 1), part(39, 1), NONE])
      compare([...copies(part(39, 1), 34), part(0, 1)])
      compare([...copies(all, 6), part(20, 20), part(7, 1)])
    })
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
      expectSameBytes(run([NONE, part])[0 + 1]!.data, together[b]!.data)
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
