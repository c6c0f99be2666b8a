/** Every device draws the token that plain code on the CPU draws, from logits of all kinds: where groups of ids end, where a list overflows, among equals. */
import { describe, expect, it } from 'vitest'
import { DEVICES, once, Random } from './helpers'
import type { RowOptions } from './reference-sampler'
import { type Row, randomRow, run } from './sample.helpers'

const kinds: Record<string, (vocab: number, random: Random) => Float32Array> = {
  'as a model gives them': (vocab, random) => {
    const logits = random.normals(vocab, 2.5)
    for (let lead = 0; lead < 60; lead++) logits[random.integer(vocab)] = 18 - 0.2 * lead + random.normal()
    return logits
  },
  normal: (vocab, random) => random.normals(vocab, 3),
  'almost flat': (vocab, random) => random.normals(vocab, 1e-3),
  'all equal': (vocab) => new Float32Array(vocab).fill(-1.5),
  peaked: (vocab, random) => {
    const logits = random.normals(vocab)
    logits[vocab - 2] = 40
    return logits
  },
  'steps of a half': (vocab, random) => random.normals(vocab, 3).map((x) => Math.round(2 * x) / 2),
  'mostly -Infinity': (vocab, random) => {
    const logits = new Float32Array(vocab).fill(-Infinity)
    for (let i = 0; i < 30; i++) logits[random.integer(vocab)] = random.normal()
    return logits
  },
  '-Infinity from the 600th on': (vocab, random) => random.normals(vocab, 3).fill(-Infinity, 600),
  'from the best to the worst': (vocab) => Float32Array.from({ length: vocab }, (_, id) => -id / 1000),
  'from the worst to the best': (vocab) => Float32Array.from({ length: vocab }, (_, id) => id / 1000),
  huge: (vocab, random) => random.normals(vocab).map((x) => Math.max(-3e38, Math.min(3e38, x * 1e38))),
}

const options: Partial<RowOptions>[] = [
  { temperature: 0 },
  {},
  { topK: 40, topP: 0.95 }, // M2's defaults
  { topK: 1 },
  { topK: 40 },
  { topK: 1024, topP: 0.99 }, // the last that is listed
  { topK: 1025, topP: 0.99 },
  { topK: 4000 },
  { topK: 4000, topP: 0.6, minP: 0.001 },
  { topP: 0.9 },
  { topP: 0.03 },
  { topP: 0 },
  { minP: 0.02 },
  { minP: 1 },
  { topK: 40, minP: 1 },
  { topP: 0.7, minP: 0.1, topK: 300, temperature: 1.7 },
  { temperature: 1e-3, topP: 0.9 },
  { temperature: 1e-30 },
  { temperature: 1e30, topP: 0.5 },
  { temperature: 1e30, topK: 40, topP: 0.5 },
  { temperature: 3e38 },
]

const rowsOf = (vocab: number, kind: string): Row[] => {
  const logits = kinds[kind]!(vocab, new Random(vocab))
  return options.map((o, position) => ({ ...o, logits, seed: BigInt(vocab), position }))
}

const VOCABS = [1, 127, 128, 129, 1025, 8192, 20011, 200064] // the last is M2's
/** What plain code draws, for each kind of logits and vocabulary. */
const expected = once(() => {
  const ids = new Map<string, number[]>()
  for (const kind of Object.keys(kinds)) {
    for (const vocab of VOCABS) ids.set(`${kind} ${vocab}`, run('plain', rowsOf(vocab, kind)).ids)
  }
  return ids
})

describe.each(DEVICES.filter((device) => device !== 'plain'))('sample on %s, as on plain', (device) => {
  describe.each(Object.keys(kinds))('logits %s', (kind) => {
    it.each(VOCABS)('of a vocabulary of %i', (vocab) => {
      expect(run(device, rowsOf(vocab, kind)).ids).toEqual(expected().get(`${kind} ${vocab}`))
    })
  })

  it.each([127, 128, 129, 511, 513, 3000])('random rows with random options, of a vocabulary of %i', (vocab) => {
    const random = new Random(vocab)
    const rows = Array.from({ length: 60 }, () => randomRow(random, vocab))
    const ban = [0, vocab - 1]
    expect(run(device, rows, { ban }).ids).toEqual(run('plain', rows, { ban }).ids)
  })
})
