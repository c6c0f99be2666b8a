import { describe, expect, it } from 'vitest'
import { ISAS, type Numbers, once, opsFor, Random, THREADS } from './helpers'
import { adjusted, gumbels, logSoftmax, NEUTRAL, type RowOptions, sampleRow, support } from './reference-sampler'
import { positions, type Row, run } from './sample.helpers'

const row = (...logits: number[]) => Float32Array.from(logits)
const of = (options: Partial<RowOptions>): RowOptions => ({ ...NEUTRAL, ...options })

/** The sum of the softmax is good to 1e-7 in f32, which its logarithm makes absolute; the logprob itself is rounded to f32. */
function expectLogprobs(got: Numbers, want: Numbers) {
  expect(got.length).toBe(want.length)
  for (let i = 0; i < want.length; i++)
    expect(Math.abs(got[i]! - want[i]!)).toBeLessThanOrEqual(3e-7 + 2 ** -24 * Math.abs(want[i]!))
}

/** Rows of 200064 logits and their ids by the float64 sampler, which takes its time: once for all instruction sets. */
const wide = once(() => {
  const options = [{}, { topK: 40, topP: 0.95 }, { topP: 0.9 }, { minP: 0.02 }]
  const rows = [1, 2, 3].flatMap((seed) => {
    const logits = new Random(seed).normals(200064, 3)
    return options.map((o) => ({ ...of({ ...o, seed: BigInt(seed) }), logits }))
  })
  return { rows, want: rows.map((r) => sampleRow(r.logits, r)) }
})

describe.each(ISAS)('sample on %s', (isa) => {
  describe('at temperature 0', () => {
    it('takes the largest logit, the lowest id among equals, at any vocabulary size', () => {
      for (const vocab of [1, 2, 15, 16, 17, 31, 32, 33, 1000]) {
        const random = new Random(vocab)
        const rows = Array.from({ length: 40 }, () => ({
          temperature: 0,
          logits: Float32Array.from({ length: vocab }, () => random.integer(12) - 20),
        }))
        expect(run(isa, rows).ids).toEqual(rows.map((r) => r.logits.indexOf(Math.max(...r.logits))))
      }
    })

    it('holds 0 and -0 for equal', () => {
      expect(
        run(isa, [
          { temperature: 0, logits: row(-1, -0, 0) },
          { temperature: 0, logits: row(-1, 0, -0) },
        ]).ids,
      ).toEqual([1, 1])
    })

    it('ignores seed, top-k, top-p and min-p', () => {
      const logits = row(1, 3, 2, 3)
      expect(run(isa, positions(50, { temperature: 0, topK: 3, topP: 0.1, minP: 0.5, seed: 5n, logits })).ids).toEqual(
        new Array(50).fill(1),
      )
    })
  })

  describe('the draw', () => {
    it('is the largest logit plus the Gumbel number of its Philox word, for every id', () => {
      const options = of({ seed: 0x123456789abcdef0n, position: 70000, sampleIndex: 3 })
      const noise = gumbels(301, options)
      // Logits that undo the noise leave all ids equal: a lead of 1e-3 decides, if the noise is that of the formula.
      const rows = Array.from(noise.keys(), (lead) => ({
        ...options,
        logits: Float32Array.from(noise, (g, id) => -g + (id === lead ? 1e-3 : 0)),
      }))
      expect(run(isa, rows).ids).toEqual(Array.from(noise.keys()))
    })

    it('chooses the ids of the float64 sampler on random rows with random options', () => {
      for (const vocab of [5, 64, 129, 2000]) {
        const random = new Random(vocab)
        const pick = <T>(...choices: T[]) => choices[random.integer(choices.length)]!
        const ban = [1, vocab - 1]
        const rows = Array.from({ length: 150 }, () => ({
          ...NEUTRAL,
          logits: random.normals(vocab, 2.5),
          temperature: pick(0, 0.3, 0.7, 1, 1, 1.5),
          topK: pick(0, 0, 1, 3, 40, vocab, vocab + 7),
          topP: pick(1, 1, 0.95, 0.5, 0.01),
          minP: pick(0, 0, 0.05, 0.3),
          repetitionPenalty: pick(1, 1.3, 0.8),
          presencePenalty: pick(0, 0.5, -0.5),
          frequencyPenalty: pick(0, 0.2),
          seed: BigInt(random.integer(2 ** 32)) << BigInt(random.integer(33)),
          position: random.integer(2 ** 20),
          sampleIndex: random.integer(8),
          bias: pick<Record<number, number>>({}, { 0: 3, 2: -Infinity, [vocab - 2]: 1.5 }),
          history: pick(null, {
            generatedCounts: Int32Array.from({ length: vocab }, () => Math.max(0, random.integer(6) - 3)),
            inPrompt: Uint8Array.from({ length: vocab }, () => random.integer(2)),
          }),
        }))
        expect(run(isa, rows, { ban }).ids).toEqual(rows.map((r) => sampleRow(r.logits, r, new Set(ban))))
      }
    })

    it('chooses the ids of the float64 sampler on the vocabulary of M2', () => {
      const { rows, want } = wide()
      expect(run(isa, rows).ids).toEqual(want)
    })

    it.each([1e-3, 1e-30, 1e-40])('is the largest logit at temperature %f', (temperature) => {
      const logits = new Random(6).normals(100, 3)
      for (const options of [{}, { topP: 0.9 }, { minP: 0.1 }, { topK: 5, topP: 0.9 }]) {
        const { ids } = run(isa, positions(20, { logits, temperature, ...options }))
        expect(ids).toEqual(new Array(20).fill(logits.indexOf(Math.max(...logits))))
      }
    })

    it.each([
      ['plain', { temperature: 0.8 }],
      ['hot', { temperature: 3 }],
      ['hotter than any', { temperature: 1e30 }],
      ['top-k', { topK: 5 }],
      ['top-p', { topP: 0.7, temperature: 1.2 }],
      ['min-p', { minP: 0.1 }],
      ['another sample index', { sampleIndex: 9 }],
    ] as const)('has the frequencies of the distribution: %s', (_, given) => {
      const [draws, vocab] = [10000, 16]
      const options = of({ ...given, seed: 99n })
      const logits = new Random(4).normals(vocab, 1.2)
      const scaled = adjusted(logits, options).map((x) => x / options.temperature)
      const ids = support(scaled, options)
      const weights = ids.map((id) => Math.exp(scaled[id]!))
      const total = weights.reduce((a, b) => a + b)
      const counts = new Map<number, number>()
      for (const id of run(isa, positions(draws, { ...options, logits })).ids) counts.set(id, (counts.get(id) ?? 0) + 1)
      expect([...counts.keys()].sort((a, b) => a - b)).toEqual([...ids].sort((a, b) => a - b))
      const chiSquare = ids.reduce((sum, id, i) => {
        const expected = (draws * weights[i]!) / total
        return sum + (counts.get(id)! - expected) ** 2 / expected
      }, 0)
      // Mean df, deviation sqrt(2 df): beyond 4 deviations once in some thousand seeds.
      const df = ids.length - 1
      expect(chiSquare).toBeLessThan(df + 4 * Math.sqrt(2 * df))
    })

    it('is independent between neighbouring positions, sample indices and seeds', () => {
      const logits = row(0, 0, 0, 0)
      const base = run(isa, positions(16000, { logits, seed: 7n })).ids
      const others = [
        [...base.slice(1), base[0]!],
        run(isa, positions(16000, { logits, seed: 7n, sampleIndex: 1 })).ids,
        run(isa, positions(16000, { logits, seed: 8n })).ids,
        run(isa, positions(16000, { logits, seed: 7n + (1n << 32n) })).ids,
      ]
      for (const other of others) {
        const pairs = new Array(16).fill(0)
        for (const [i, id] of base.entries()) pairs[id * 4 + other[i]!]++
        const chiSquare = pairs.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0)
        expect(chiSquare).toBeLessThan(15 + 4 * Math.sqrt(30))
      }
    })
  })

  describe('support', () => {
    const drawn = (options: Row, ban: number[] = []) =>
      [...new Set(run(isa, positions(3000, options), { ban }).ids)].sort((a, b) => a - b)
    const logits = row(...[0.1, 0.3, 0.05, 0.2, 0.3, 0.05].map(Math.log))

    it('top-k keeps the k largest, the lower ids among equals', () => {
      expect(drawn({ logits, topK: 1 })).toEqual([1])
      expect(drawn({ logits, topK: 2 })).toEqual([1, 4])
      expect(drawn({ logits, topK: 5 })).toEqual([0, 1, 2, 3, 4])
      expect(drawn({ logits, topK: 0 })).toEqual([0, 1, 2, 3, 4, 5])
      expect(drawn({ logits, topK: 60 })).toEqual([0, 1, 2, 3, 4, 5])
    })

    it('top-p keeps the smallest set that reaches it, the lower ids among equals, at least one', () => {
      expect(drawn({ logits, topP: 0 })).toEqual([1])
      expect(drawn({ logits, topP: 0.29 })).toEqual([1])
      expect(drawn({ logits, topP: 0.31 })).toEqual([1, 4])
      expect(drawn({ logits, topP: 0.79 })).toEqual([1, 3, 4])
      expect(drawn({ logits, topP: 0.93 })).toEqual([0, 1, 2, 3, 4])
      expect(drawn({ logits, topP: 1 })).toEqual([0, 1, 2, 3, 4, 5])
    })

    it('top-p counts over what top-k left', () => {
      expect(drawn({ logits, topK: 2, topP: 0.49 })).toEqual([1])
      expect(drawn({ logits, topK: 3, topP: 0.76 })).toEqual([1, 3, 4])
      expect(drawn({ logits, topK: 3, topP: 0.74 })).toEqual([1, 4])
    })

    it('min-p keeps what is at least that share of the largest', () => {
      expect(drawn({ logits, minP: 0.32 })).toEqual([0, 1, 3, 4])
      expect(drawn({ logits, minP: 0.34 })).toEqual([1, 3, 4])
      expect(drawn({ logits, minP: 1 })).toEqual([1, 4])
    })

    it('temperature comes before top-p and min-p', () => {
      // Shares at temperature 0.5: 0.38 for ids 1 and 4, 0.17 for 3, 0.04 for 0.
      expect(drawn({ logits, temperature: 0.5, topP: 0.76 })).toEqual([1, 4])
      expect(drawn({ logits, temperature: 0.5, topP: 0.78 })).toEqual([1, 3, 4])
      expect(drawn({ logits, temperature: 0.5, minP: 0.46 })).toEqual([1, 4])
      expect(drawn({ logits, temperature: 0.5, minP: 0.12 })).toEqual([1, 3, 4])
    })

    it('never holds a banned id, even one with all the mass', () => {
      expect(drawn({ logits }, [1, 4])).toEqual([0, 2, 3, 5])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1) }, [1])).toEqual([0, 2, 3, 4, 5])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), temperature: 0 }, [1])).toEqual([0])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), topK: 1 }, [1])).toEqual([0])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), topP: 0.1 }, [1])).toEqual([0])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), bias: { 1: 1000 } }, [1])).toEqual([0, 2, 3, 4, 5])
    })
  })

  describe('bias and penalties', () => {
    const greedy = (options: Row) => run(isa, [{ temperature: 0, ...options }]).ids[0]
    const history = (generated: number[], prompt: number[]) => ({
      generatedCounts: Int32Array.from(generated),
      inPrompt: Uint8Array.from(prompt),
    })

    it('adds the bias', () => {
      expect(greedy({ logits: row(1, 2, 3), bias: { 0: 2.5 } })).toBe(0)
      expect(greedy({ logits: row(1, 2, 3), bias: { 2: -1.5 } })).toBe(1)
      expect(greedy({ logits: row(1, 2, 3), bias: { 2: -Infinity, 1: -100 } })).toBe(0)
    })

    it('repetition divides positive and multiplies negative logits of what prompt or output hold', () => {
      expect(greedy({ logits: row(3, 2), repetitionPenalty: 1.6, history: history([0, 0], [1, 0]) })).toBe(1)
      expect(greedy({ logits: row(3, 2), repetitionPenalty: 1.6, history: history([1, 0], [0, 0]) })).toBe(1)
      expect(greedy({ logits: row(3, 2), repetitionPenalty: 1.4, history: history([9, 0], [1, 0]) })).toBe(0)
      expect(greedy({ logits: row(-2, -3), repetitionPenalty: 1.6, history: history([0, 0], [1, 0]) })).toBe(1)
    })

    it('presence subtracts once and frequency per count, for generated tokens only', () => {
      expect(greedy({ logits: row(3, 2), presencePenalty: 1.5, history: history([1, 0], [0, 0]) })).toBe(1)
      expect(greedy({ logits: row(3, 2), presencePenalty: 0.9, history: history([5, 0], [0, 0]) })).toBe(0)
      expect(greedy({ logits: row(3, 2), presencePenalty: 1.5, history: history([0, 0], [1, 0]) })).toBe(0)
      expect(greedy({ logits: row(3, 2), frequencyPenalty: 0.4, history: history([2, 0], [1, 1]) })).toBe(0)
      expect(greedy({ logits: row(3, 2), frequencyPenalty: 0.4, history: history([3, 0], [1, 1]) })).toBe(1)
    })

    it('comes in the order bias, repetition, frequency and presence', () => {
      // (2 + 2) / 2 - 1 = 1 against 1.1; any other order gives 2 or more.
      const p = { repetitionPenalty: 2, presencePenalty: 1, history: history([1, 0], [0, 0]) }
      expect(greedy({ logits: row(2, 1.1), bias: { 0: 2 }, ...p })).toBe(1)
      expect(greedy({ logits: row(2, 0.9), bias: { 0: 2 }, ...p })).toBe(0)
    })
  })

  describe('logprobs', () => {
    it('are the log-softmax of the raw logits, whatever else is set', () => {
      const random = new Random(11)
      const vocab = 333
      const rows = Array.from({ length: 30 }, (_, position) =>
        of({ position, logprobs: 5, topK: 3, temperature: 0.5, bias: { 7: 4 }, repetitionPenalty: 1.5, history: null }),
      ).map((o) => ({ ...o, logits: random.normals(vocab, 4, 20) }))
      const got = run(isa, rows, { ban: [0, 1, 2] })
      rows.forEach((r, n) => {
        const want = logSoftmax(r.logits)
        const order = Array.from(want.keys()).sort((a, b) => want[b]! - want[a]! || a - b)
        expect(got.top[n]!.ids).toEqual(order.slice(0, 5))
        expectLogprobs(
          got.top[n]!.logprobs,
          order.slice(0, 5).map((id) => want[id]!),
        )
        expectLogprobs([got.logprobs[n]!], [want[got.ids[n]!]!])
      })
    })

    it('come per row as asked: none, only the own one, or alternatives with ties by id', () => {
      const logits = row(1, 2, 2, 2, 0)
      const got = run(isa, [
        { logits, temperature: 0, logprobs: 3 },
        { logits, temperature: 0 },
        { logits, temperature: 0, logprobs: 0 },
        { logits, temperature: 0, logprobs: 5 },
      ])
      expect(got.ids).toEqual([1, 1, 1, 1])
      expect(got.top.map((t) => t.ids)).toEqual([[1, 2, 3], [], [], [1, 2, 3, 0, 4]])
      for (const n of [0, 2, 3]) expectLogprobs([got.logprobs[n]!], [logSoftmax(logits)[1]!])
    })

    it('are -Infinity where the logit is', () => {
      const got = run(isa, [{ logits: row(-Infinity, 0, -Infinity), temperature: 0, logprobs: 3 }])
      expect(got.top[0]).toEqual({ ids: [1, 0, 2], logprobs: [0, -Infinity, -Infinity] })
    })
  })

  it('gives -1 for rows with NaN, +Infinity or nothing to draw, and only for them', () => {
    const bad = [
      row(0, Number.NaN, 1, 2),
      row(0, Infinity, 1, 2),
      new Float32Array(4).fill(-Infinity),
      row(5, -Infinity, -Infinity, -Infinity),
    ]
    const good = [row(-Infinity, 0, -Infinity, -Infinity), row(-3e38, 3e38, 0, 0), row(0, 1, 0, 0)]
    for (const options of [{ temperature: 0 }, {}, { topK: 2 }, { topP: 0.5, logprobs: 2 }]) {
      const rows = [...bad, ...good].map((logits) => ({ ...options, logits }))
      const { ids } = run(isa, rows, { ban: [0] })
      expect(ids.slice(0, 4)).toEqual([-1, -1, -1, -1])
      expect(ids.slice(4, 6)).toEqual([1, 1])
      expect(ids[6]).toBeGreaterThan(0)
    }
  })

  it('does not modify the logits and gives a row the same result alone, in any batch and with any number of threads', () => {
    const random = new Random(21)
    const rows = Array.from({ length: 37 }, (_, n) =>
      of({ seed: BigInt(n % 3), position: n, topK: n % 2 ? 40 : 0, topP: n % 5 ? 0.9 : 1, logprobs: 4 }),
    ).map((o) => ({ ...o, logits: random.normals(5000, 3) }))
    const together = run(isa, rows)
    for (const threads of THREADS) expect(run(isa, rows, { threads })).toEqual(together)
    rows.forEach((r, n) => {
      const alone = run(isa, [r])
      expect([alone.ids[0], alone.logprobs[0], alone.top[0]]).toEqual([
        together.ids[n],
        together.logprobs[n],
        together.top[n],
      ])
    })
    expect(opsFor(isa).device).toBe('cpu')
  })
})
