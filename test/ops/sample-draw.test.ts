import { describe, expect, it } from 'vitest'
import { NEVER_BY_CHANCE, pValue } from './chi-square'
import { DEVICES, once, Random } from './helpers'
import { gumbels, optionsOf, sampleRow } from './reference-sampler'
import { positions, randomRow, run } from './sample.helpers'

/** Rows of 200064 logits and their ids by the float64 sampler, which takes its time: once for all instruction sets. */
const wide = once(() => {
  const options = [{}, { topK: 40, topP: 0.95 }, { topP: 0.9 }, { minP: 0.02 }]
  const rows = [1, 2, 3].flatMap((seed) => {
    const logits = new Random(seed).normals(200064, 3)
    return options.map((o) => ({ ...optionsOf({ ...o, seed: BigInt(seed) }), logits }))
  })
  return { rows, want: rows.map((r) => sampleRow(r.logits, r)) }
})

describe.each(DEVICES)('the draw of sample on %s', (device) => {
  it('is the largest logit plus the Gumbel number of its Philox word, for every id', () => {
    const options = optionsOf({ seed: 0x123456789abcdef0n, position: 70000, sampleIndex: 3 })
    const noise = gumbels(301, options)
    // Logits that undo the noise leave all ids equal: a lead of 1e-3 decides, if the noise is that of the formula.
    const rows = Array.from(noise.keys(), (lead) => ({
      ...options,
      logits: Float32Array.from(noise, (g, id) => -g + (id === lead ? 1e-3 : 0)),
    }))
    expect(run(device, rows).ids).toEqual(Array.from(noise.keys()))
  })

  it('chooses the ids of the float64 sampler on random rows with random options', () => {
    for (const vocab of [5, 64, 129, 2000]) {
      const random = new Random(vocab)
      const ban = [1, vocab - 1]
      const rows = Array.from({ length: 150 }, () => randomRow(random, vocab))
      expect(run(device, rows, { ban }).ids).toEqual(rows.map((r) => sampleRow(r.logits, r, new Set(ban))))
    }
  })

  it('chooses the ids of the float64 sampler on the vocabulary of M2', () => {
    const { rows, want } = wide()
    expect(run(device, rows).ids).toEqual(want)
  })

  it.each([1e-3, 1e-30, 1e-40])('is the largest logit at temperature %f', (temperature) => {
    const logits = new Random(6).normals(100, 3)
    for (const options of [{}, { topP: 0.9 }, { minP: 0.1 }, { topK: 5, topP: 0.9 }]) {
      const { ids } = run(device, positions(20, { logits, temperature, ...options }))
      expect(ids).toEqual(new Array(20).fill(logits.indexOf(Math.max(...logits))))
    }
  })

  it('is independent between neighbouring positions, sample indices and seeds', () => {
    const logits = new Float32Array(4)
    const uniform = new Map(Array.from({ length: 16 }, (_, pair) => [pair, 1 / 16]))
    const base = run(device, positions(16000, { logits, seed: 7n })).ids
    const others = [
      [...base.slice(1), base[0]!],
      run(device, positions(16000, { logits, seed: 7n, sampleIndex: 1 })).ids,
      run(device, positions(16000, { logits, seed: 8n })).ids,
      run(device, positions(16000, { logits, seed: 7n + (1n << 32n) })).ids,
    ]
    for (const other of others) {
      const pairs = base.map((id, i) => id * 4 + other[i]!)
      expect(pValue(pairs, uniform)).toBeGreaterThan(NEVER_BY_CHANCE)
    }
  })
})
