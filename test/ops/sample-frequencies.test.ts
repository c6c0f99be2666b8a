/** How often each id is drawn, against the exact probabilities in float64: draws at many positions, seeds or sample indices are independent. */
import { describe, expect, it } from 'vitest'
import { NEVER_BY_CHANCE, pValue } from './chi-square'
import { DEVICES, once, Random } from './helpers'
import { distribution, optionsOf, type RowOptions } from './reference-sampler'
import { type Row, run } from './sample.helpers'

const VOCAB = 37 // a word of a bitset and a part of one
const BAN = [3, 36]
const LOGITS = new Random(4).normals(VOCAB, 1.2)
const HISTORY = {
  generatedCounts: Int32Array.from({ length: VOCAB }, (_, id) => (id % 3 === 0 ? id % 5 : 0)),
  inPrompt: Uint8Array.from({ length: VOCAB }, (_, id) => id % 2),
}
const MASK = new Set([0, 2, 3, 5, 8, 13, 20, 21, 30, 31, 32, 33, 34])
const BIAS = { 0: 2, 5: -1.5, 7: -Infinity, 31: 1, 32: 0.5 }

/** Ids of `count` draws that differ in one of what a draw hangs on. */
function draws(device: string, count: number, row: Row, along: 'position' | 'seed' | 'sampleIndex' = 'position') {
  const nth = (n: number) => (along === 'seed' ? { seed: BigInt(n) * 0x9e3779b97f4a7c15n } : { [along]: n })
  const part = Math.max(1, Math.floor(2 ** 22 / row.logits.length)) // rows of one call: 16 MiB of logits
  const ids: number[] = []
  while (ids.length < count) {
    const rows = Array.from({ length: Math.min(part, count - ids.length) }, (_, i) => ({
      ...row,
      ...nth(ids.length + i),
    }))
    ids.push(...run(device, rows, { ban: BAN }).ids)
  }
  return ids
}

const options: [string, Partial<RowOptions>][] = [
  ['nothing', {}],
  ['a low temperature', { temperature: 0.4 }],
  ['a high temperature', { temperature: 3 }],
  ['a temperature above any', { temperature: 1e30 }],
  ['top-k', { topK: 7 }],
  ['top-p', { topP: 0.8, temperature: 1.2 }],
  ['min-p', { minP: 0.08 }],
  ['bias', { bias: BIAS }],
  ['a repetition penalty', { repetitionPenalty: 1.7, history: HISTORY }],
  ['presence and frequency penalties', { presencePenalty: 0.6, frequencyPenalty: 0.3, history: HISTORY }],
  ['a mask', { mask: MASK }],
  ['top-k, top-p and min-p', { topK: 20, topP: 0.9, minP: 0.02, temperature: 1.3 }],
  [
    'everything',
    {
      ...{ temperature: 0.9, topK: 9, topP: 0.97, minP: 0.01, bias: BIAS, mask: MASK, history: HISTORY },
      ...{ repetitionPenalty: 1.2, presencePenalty: 0.2, frequencyPenalty: 0.1 },
    },
  ],
]

const WIDE = 20011
const wideOptions: [string, Partial<RowOptions>][] = [
  ['nothing', {}],
  ['top-k', { topK: 300 }],
  ['top-p', { topP: 0.9 }],
  [
    'a mask and min-p',
    { minP: 0.01, temperature: 1.4, mask: new Set(Array.from({ length: WIDE / 3 }, (_, i) => 3 * i)) },
  ],
]
const wide = once(() => {
  const logits = new Random(5).normals(WIDE, 2)
  const cases = new Map(
    wideOptions.map(([name, given]) => {
      const row = optionsOf({ ...given, seed: 7n })
      return [name, { row, probabilities: distribution(logits, row, new Set(BAN)) }]
    }),
  )
  return { logits, cases }
})

describe.each(DEVICES)('the frequencies of sample on %s', (device) => {
  // The emulated device takes its time. 12000 draws still tell a distribution from its neighbours below.
  const [count, wideCount] = device === 'emulated' ? [12000, 500] : [20000, 1500]

  it.each(options)('are those of the distribution, with %s', (_, given) => {
    const row = { ...optionsOf({ ...given, seed: 99n }), logits: LOGITS }
    const probabilities = distribution(LOGITS, row, new Set(BAN))
    const ids = draws(device, count, row)
    expect(pValue(ids, probabilities)).toBeGreaterThan(NEVER_BY_CHANCE)
    // Of what is expected 30 times all is seen, but for one time in 10^13.
    const seen = new Set(ids)
    for (const [id, probability] of probabilities) if (count * probability > 30) expect(seen).toContain(id)
  })

  it.each(['seed', 'sampleIndex'] as const)('are those of the distribution along the %s', (along) => {
    const row = { ...optionsOf({ seed: 1n, position: 5 }), logits: LOGITS }
    const ids = draws(device, count, row, along)
    expect(pValue(ids, distribution(LOGITS, row, new Set(BAN)))).toBeGreaterThan(NEVER_BY_CHANCE)
  })

  it.each([
    ['another temperature', { temperature: 1.1 }, {}],
    ['another top-p', { topP: 0.9 }, { topP: 0.95 }],
    ['a penalty that is left out', { presencePenalty: 0.2, history: HISTORY }, {}],
    ['a bias that is left out', { bias: { [LOGITS.indexOf(Math.max(...LOGITS))]: 0.2 } }, {}],
  ])('would not pass for those of %s', (_, drawn, believed) => {
    const ids = draws(device, count, { ...optionsOf({ ...drawn, seed: 99n }), logits: LOGITS })
    const probabilities = distribution(LOGITS, optionsOf(believed), new Set(BAN))
    expect(pValue(ids, probabilities)).toBeLessThan(NEVER_BY_CHANCE)
  })

  it.each(wideOptions.map(([name]) => name))(
    'are those of the distribution over a large vocabulary, with %s',
    (name) => {
      const { logits, cases } = wide()
      const { row, probabilities } = cases.get(name)!
      const ids = draws(device, wideCount, { ...row, logits })
      expect(pValue(ids, probabilities)).toBeGreaterThan(NEVER_BY_CHANCE)
      // The same draws in cells of neighbouring ids: no part of the vocabulary is drawn too often.
      const byId = new Map([...probabilities].sort(([a], [b]) => a - b))
      expect(pValue(ids, byId)).toBeGreaterThan(NEVER_BY_CHANCE)
    },
  )
})
