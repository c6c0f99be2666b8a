import { describe, expect, it } from 'vitest'
import { ISAS, once, Random } from './helpers'
import { adjusted, gumbels, NEUTRAL, optionsOf, sampleRow, support } from './reference-sampler'
import { positions, run } from './sample.helpers'

/** Rows of 200064 logits and their ids by the float64 sampler, which takes its time: once for all instruction sets. */
const wide = once(() => {
  const options = [{}, { topK: 40, topP: 0.95 }, { topP: 0.9 }, { minP: 0.02 }]
  const rows = [1, 2, 3].flatMap((seed) => {
    const logits = new Random(seed).normals(200064, 3)
    return options.map((o) => ({ ...optionsOf({ ...o, seed: BigInt(seed) }), logits }))
  })
  return { rows, want: rows.map((r) => sampleRow(r.logits, r)) }
})

/** At least one id and at most `count`. */
const randomIds = (random: Random, vocab: number, count: number) =>
  new Set(Array.from({ length: 1 + random.integer(count) }, () => random.integer(vocab)))

describe.each(ISAS)('the draw of sample on %s', (isa) => {
  it('is the largest logit plus the Gumbel number of its Philox word, for every id', () => {
    const options = optionsOf({ seed: 0x123456789abcdef0n, position: 70000, sampleIndex: 3 })
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
        mask: pick(null, null, randomIds(random, vocab, 1), randomIds(random, vocab, vocab / 2), new Set(ban)),
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
    const options = optionsOf({ ...given, seed: 99n })
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
    const logits = new Float32Array(4)
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
