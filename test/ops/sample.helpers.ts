/** Runs the sample op on rows given as records. */
import { SAMPLING_FLOATS, SAMPLING_INTS } from '../../lib/native'
import { f32, i32, opsFor } from './helpers'
import { NEUTRAL, type RowOptions } from './reference-sampler'

export interface Row extends Partial<RowOptions> {
  logits: Float32Array
}

const low = (x: bigint) => Number(BigInt.asIntN(32, x))

/** The bitset of ids that are never sampled. */
export function banned(vocab: number, ids: Iterable<number>) {
  const words = new Int32Array(Math.ceil(vocab / 32))
  for (const id of ids) words[id >> 5]! |= 1 << (id & 31)
  return i32([words.length], words)
}

export function run(isa: string, given: Row[], { ban = [] as number[], threads = 2 } = {}) {
  const rows = given.map((row) => ({ ...NEUTRAL, ...row }))
  const vocab = rows[0]!.logits.length
  const logits = new Float32Array(rows.length * vocab)
  for (const [n, row] of rows.entries()) logits.set(row.logits, n * vocab)
  const ints = rows.map((o) => ({
    ...o,
    seedLow: low(o.seed),
    seedHigh: low(o.seed >> 32n),
    position: o.position | 0,
    sampleIndex: o.sampleIndex | 0,
  }))
  const alternatives = Math.max(0, ...rows.map((o) => o.logprobs))
  const biases = rows.map((o) => Object.entries(o.bias))
  const offsets = [0]
  for (const bias of biases) offsets.push(offsets.at(-1)! + bias.length)
  const out = {
    ids: i32([rows.length]),
    logprobs: f32([rows.length]),
    topIds: i32([rows.length, alternatives]),
    topLogprobs: f32([rows.length, alternatives]),
  }
  opsFor(isa, threads).sample({
    logits: f32([rows.length, vocab], logits),
    samplingFloats: Float32Array.from(rows.flatMap((o) => SAMPLING_FLOATS.map((name) => o[name]))),
    samplingInts: Int32Array.from(ints.flatMap((o) => SAMPLING_INTS.map((name) => o[name]))),
    banned: ban.length ? banned(vocab, ban) : undefined,
    histories: rows.map((o) => o.history),
    biasOffsets: i32([offsets.length], offsets),
    biasIds: i32(
      [offsets.at(-1)!],
      biases.flatMap((b) => b.map(([id]) => Number(id))),
    ),
    biasValues: f32([offsets.at(-1)!], Float32Array.from(biases.flatMap((b) => b.map(([, value]) => value)))),
    ...out,
  })
  const top = (n: number) => ({
    ids: Array.from(out.topIds.data.subarray(n * alternatives, n * alternatives + Math.max(0, rows[n]!.logprobs))),
    logprobs: Array.from(
      out.topLogprobs.data.subarray(n * alternatives, n * alternatives + Math.max(0, rows[n]!.logprobs)),
    ),
  })
  return { ids: Array.from(out.ids.data), logprobs: Array.from(out.logprobs.data), top: rows.map((_, n) => top(n)) }
}

/** `count` rows that differ only in their position. */
export const positions = (count: number, row: Row): Row[] =>
  Array.from({ length: count }, (_, position) => ({ ...row, position }))
