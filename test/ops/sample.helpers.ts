/** Runs the sample op on rows given as records. */
import { SAMPLING_FLOATS, SAMPLING_INTS } from '../../lib/native'
import { f32, i32, opsFor, type Random } from './helpers'
import { NEUTRAL, type RowOptions } from './reference-sampler'

export interface Row extends Partial<RowOptions> {
  logits: Float32Array
}

/** One bit for each id of the vocabulary; those of the last word beyond it are clear. */
export function bitset(vocab: number, ids: Iterable<number>): Int32Array {
  const words = new Int32Array(Math.ceil(vocab / 32))
  for (const id of ids) words[id >> 5]! |= 1 << (id & 31)
  return words
}

/** The bitset of ids that are never sampled. */
export const banned = (vocab: number, ids: Iterable<number>) => i32([Math.ceil(vocab / 32)], bitset(vocab, ids))

const hasPenalties = (row: RowOptions): boolean =>
  row.repetitionPenalty !== 1 || row.presencePenalty !== 0 || row.frequencyPenalty !== 0

/** What the rows have seen. That of a row without penalties must not matter. */
function historyOf(rows: readonly RowOptions[], vocab: number) {
  if (!rows.some(hasPenalties)) return undefined
  const history = new Int32Array(rows.length * vocab)
  for (const [n, row] of rows.entries()) {
    const { generatedCounts, inPrompt } = row.history ?? {}
    if (!hasPenalties(row)) history.fill(7, n * vocab, (n + 1) * vocab)
    else if (generatedCounts)
      history.set(
        generatedCounts.map((count, id) => 2 * count + inPrompt![id]!),
        n * vocab,
      )
  }
  return i32([rows.length, vocab], history)
}

/** The masks of the rows that have one. Every other mask has the bits beyond the vocabulary set: they must not matter. */
function masksOf(masks: readonly RowOptions['mask'][], vocab: number) {
  const words = Math.ceil(vocab / 32)
  const index = new Int32Array(masks.length).fill(-1)
  const bits: number[] = []
  for (const [n, mask] of masks.entries()) {
    if (!mask) continue
    index[n] = bits.length / words
    bits.push(...bitset(vocab, mask))
    if (index[n] % 2 && vocab % 32) bits[bits.length - 1]! |= -1 << (vocab % 32)
  }
  if (bits.length === 0) return {}
  return { maskIndex: i32([index.length], index), maskBits: i32([bits.length / words, words], bits) }
}

interface RunOptions {
  ban?: number[]
  threads?: number
  /** The ids, which are then not drawn. */
  targets?: number[]
}

export function run(device: string, given: Row[], { ban = [], threads = 2, targets }: RunOptions = {}) {
  const rows = given.map((row) => ({ ...NEUTRAL, ...row }))
  const vocab = rows[0]!.logits.length
  const logits = new Float32Array(rows.length * vocab)
  const floats = new Float32Array(rows.length * SAMPLING_FLOATS.length)
  const ints = new Int32Array(rows.length * SAMPLING_INTS.length)
  const biasOffsets = [0]
  const biasIds: number[] = []
  const biasValues: number[] = []
  for (const [n, row] of rows.entries()) {
    logits.set(row.logits, n * vocab)
    for (const [i, name] of SAMPLING_FLOATS.entries()) floats[n * SAMPLING_FLOATS.length + i] = row[name]
    const { topK, logprobs, seed, position, sampleIndex } = row
    ints.set(
      [topK, logprobs, Number(BigInt.asIntN(32, seed)), Number(seed >> 32n) | 0, position, sampleIndex],
      n * SAMPLING_INTS.length,
    )
    for (const [id, value] of Object.entries(row.bias)) {
      biasIds.push(Number(id))
      biasValues.push(value)
    }
    biasOffsets.push(biasIds.length)
  }
  const alternatives = rows.reduce((most, row) => Math.max(most, row.logprobs), 0)
  const lastIds = i32([rows.length], new Int32Array(rows.length))
  const out = {
    ids: i32([rows.length]),
    logprobs: f32([rows.length]),
    topIds: i32([rows.length, alternatives]),
    topLogprobs: f32([rows.length, alternatives]),
  }
  opsFor(device, threads).sample({
    logits: f32([rows.length, vocab], logits),
    samplingFloats: floats,
    samplingInts: ints,
    banned: ban.length ? banned(vocab, ban) : undefined,
    rows: i32([rows.length], Array.from(rows.keys())),
    lastIds,
    history: historyOf(rows, vocab),
    biasOffsets: i32([biasOffsets.length], biasOffsets),
    biasIds: i32([biasIds.length], biasIds),
    biasValues: f32([biasValues.length], Float32Array.from(biasValues)),
    ...masksOf(
      rows.map((row) => row.mask),
      vocab,
    ),
    targets: targets && i32([rows.length], targets),
    ...out,
  })
  const top = (n: number) => ({
    ids: Array.from(out.topIds.data.subarray(n * alternatives, n * alternatives + Math.max(0, rows[n]!.logprobs))),
    logprobs: Array.from(
      out.topLogprobs.data.subarray(n * alternatives, n * alternatives + Math.max(0, rows[n]!.logprobs)),
    ),
  })
  return {
    ids: Array.from(out.ids.data),
    logprobs: Array.from(out.logprobs.data),
    top: rows.map((_, n) => top(n)),
    lastIds: Array.from(lastIds.data),
  }
}

/** `count` rows that differ only in their position. */
export const positions = (count: number, row: Row): Row[] =>
  Array.from({ length: count }, (_, position) => ({ ...row, position }))

/** A row of random logits with random options, each of them often neutral. Its mask may allow no more than the ids 1 and V-1. */
export function randomRow(random: Random, vocab: number): Row & RowOptions {
  const pick = <T>(...choices: T[]) => choices[random.integer(choices.length)]!
  const randomIds = (most: number) =>
    new Set(Array.from({ length: 1 + random.integer(most) }, () => random.integer(vocab)))
  return {
    logits: random.normals(vocab, 2.5),
    temperature: pick(0, 0.3, 0.7, 1, 1, 1.5),
    topK: pick(0, 0, 1, 3, 40, vocab, vocab + 7),
    topP: pick(1, 1, 0.95, 0.5, 0.01),
    minP: pick(0, 0, 0.05, 0.3),
    repetitionPenalty: pick(1, 1.3, 0.8),
    presencePenalty: pick(0, 0.5, -0.5),
    frequencyPenalty: pick(0, 0.2),
    logprobs: pick(-1, 0, Math.min(vocab, 4)),
    seed: BigInt(random.integer(2 ** 32)) << BigInt(random.integer(33)),
    position: random.integer(2 ** 20),
    sampleIndex: random.integer(8),
    bias: pick<Record<number, number>>({}, { 0: 3, 2: -Infinity, [vocab - 2]: 1.5 }),
    history: pick(null, {
      generatedCounts: Int32Array.from({ length: vocab }, () => Math.max(0, random.integer(6) - 3)),
      inPrompt: Uint8Array.from({ length: vocab }, () => random.integer(2)),
    }),
    mask: pick(null, null, randomIds(1), randomIds(vocab / 2), new Set([1, vocab - 1])),
  }
}
