/** Packs a step's plan into the flat arrays of the native door. Reads sequences, and notes on them what the device knows afterwards. */
import { type Batch, SAMPLING_FLOATS, SAMPLING_INTS } from './native'
import type { StepPlan } from './scheduler'
import type { Sequence } from './sequence'

export interface BatchLimits {
  rows: number
  stepTokens: number
  pageSize: number
}

const F = SAMPLING_FLOATS.length
const I = SAMPLING_INTS.length
/** In the place of a token id: the id last sampled for the row, which only the device knows yet. */
const LAST_SAMPLED = -1
/** In the place of a slot. */
const NOT_STORED = -1
const NO_INTS = new Int32Array(0)
const NO_FLOATS = new Float32Array(0)

/** The arrays of `pack` are views of buffers that the next `pack` writes: the door copies at the call. */
export class BatchPacker {
  private readonly pageSize: number
  private readonly tokenIds: Int32Array
  private readonly positions: Int32Array
  private readonly slotMapping: Int32Array
  private readonly cuSeqlensQ: Int32Array
  private readonly contextLens: Int32Array
  private readonly rows: Int32Array
  private readonly sampleAt: Int32Array
  private readonly sampleRow: Int32Array
  private readonly samplingFloats: Float32Array
  private readonly samplingInts: Int32Array
  private readonly scoreAt: Int32Array
  private readonly scoreIds: Int32Array

  constructor(limits: BatchLimits) {
    const { rows, stepTokens } = limits
    this.pageSize = limits.pageSize
    this.tokenIds = new Int32Array(stepTokens)
    this.positions = new Int32Array(stepTokens)
    this.slotMapping = new Int32Array(stepTokens)
    this.cuSeqlensQ = new Int32Array(rows + 1)
    this.contextLens = new Int32Array(rows)
    this.rows = new Int32Array(rows)
    this.sampleAt = new Int32Array(rows)
    this.sampleRow = new Int32Array(rows)
    this.samplingFloats = new Float32Array(rows * F)
    this.samplingInts = new Int32Array(rows * I)
    this.scoreAt = new Int32Array(stepTokens)
    this.scoreIds = new Int32Array(stepTokens)
  }

  pack(plan: StepPlan): Batch {
    const { sequences, counts, samples, tokens } = plan
    const B = sequences.length
    const N = samples.length
    let t = 0
    let scores = 0
    for (const [b, sequence] of sequences.entries()) {
      this.packTokens(plan, b, t)
      if (sequence.scores) {
        this.packScores(plan, b, t, scores)
        scores += counts[b]!
      }
      t += counts[b]!
      this.cuSeqlensQ[b + 1] = t
      this.contextLens[b] = plan.starts[b]! + counts[b]!
      this.rows[b] = sequence.row
    }
    for (const [n, sample] of samples.entries()) {
      const b = plan.sampleOf[n]!
      this.sampleAt[n] = this.cuSeqlensQ[b + 1]! - 1
      this.sampleRow[n] = sample.row
      this.packSampling(sample, n, this.contextLens[b]!)
    }
    return {
      tokenIds: this.tokenIds.subarray(0, tokens),
      positions: this.positions.subarray(0, tokens),
      slotMapping: this.slotMapping.subarray(0, tokens),
      cuSeqlensQ: this.cuSeqlensQ.subarray(0, B + 1),
      contextLens: this.contextLens.subarray(0, B),
      rows: this.rows.subarray(0, B),
      pageUpdates: packPageUpdates(sequences),
      sampleAt: this.sampleAt.subarray(0, N),
      sampleRow: this.sampleRow.subarray(0, N),
      samplingFloats: this.samplingFloats.subarray(0, N * F),
      samplingInts: this.samplingInts.subarray(0, N * I),
      ...packBias(samples),
      ...packMasks(samples),
      ...packHistory(samples),
      scoreAt: this.scoreAt.subarray(0, scores),
      scoreIds: this.scoreIds.subarray(0, scores),
    }
  }

  /** The tokens of the step's b-th sequence, from token `t` of the step on; slots run on within a page. */
  private packTokens({ sequences, starts, counts, storeFrom }: StepPlan, b: number, t: number): void {
    const { tokens, length, table } = sequences[b]!
    const start = starts[b]!
    const count = counts[b]!
    const S = this.pageSize
    // Only a token that is computed alone may be pending.
    if (count > 1) this.tokenIds.set(tokens.subarray(start, start + count), t)
    else this.tokenIds[t] = start < length ? tokens[start]! : LAST_SAMPLED
    let index = Math.floor(start / S)
    let offset = start - index * S
    for (let i = 0; i < count; i++) {
      this.positions[t + i] = start + i
      this.slotMapping[t + i] = start + i < storeFrom[b]! ? NOT_STORED : table.pages[index]! * S + offset
      if (++offset === S) {
        offset = 0
        index++
      }
    }
  }

  /** Behind each token the next one, from the step's m-th score on. */
  private packScores({ sequences, starts, counts }: StepPlan, b: number, t: number, m: number): void {
    const next = starts[b]! + 1
    this.scoreIds.set(sequences[b]!.tokens.subarray(next, next + counts[b]!), m)
    for (let i = 0; i < counts[b]!; i++) this.scoreAt[m + i] = t + i
  }

  private packSampling(sequence: Sequence, n: number, position: number): void {
    const { sampling } = sequence
    const floats = this.samplingFloats
    let f = n * F
    floats[f++] = sampling.temperature
    floats[f++] = sampling.topP
    floats[f++] = sampling.minP
    floats[f++] = sampling.repetitionPenalty
    floats[f++] = sampling.presencePenalty
    floats[f] = sampling.frequencyPenalty
    const ints = this.samplingInts
    let i = n * I
    ints[i++] = sampling.topK
    ints[i++] = sampling.logprobs
    ints[i++] = sampling.seedLow
    ints[i++] = sampling.seedHigh
    ints[i++] = position // of the id to be drawn
    ints[i] = sequence.sampleIndex
  }
}

/** (row, index, page) for every page that the device does not know of yet. Most steps have none. */
function packPageUpdates(sequences: readonly Sequence[]): Int32Array {
  let count = 0
  for (const { table } of sequences) count += table.length - table.sent
  if (count === 0) return NO_INTS
  const updates = new Int32Array(3 * count)
  let u = 0
  for (const { table, row } of sequences) {
    for (; table.sent < table.length; table.sent++) {
      updates[u++] = row
      updates[u++] = table.sent
      updates[u++] = table.pages[table.sent]!
    }
  }
  return updates
}

function packBias(samples: readonly Sequence[]): Pick<Batch, 'biasOffsets' | 'biasIds' | 'biasValues'> {
  let count = 0
  for (const { sampling } of samples) count += sampling.biasIds.length
  if (count === 0) return { biasOffsets: NO_INTS, biasIds: NO_INTS, biasValues: NO_FLOATS }
  const biasOffsets = new Int32Array(samples.length + 1)
  const biasIds = new Int32Array(count)
  const biasValues = new Float32Array(count)
  let end = 0
  for (const [n, { sampling }] of samples.entries()) {
    biasIds.set(sampling.biasIds, end)
    biasValues.set(sampling.biasValues, end)
    end += sampling.biasIds.length
    biasOffsets[n + 1] = end
  }
  return { biasOffsets, biasIds, biasValues }
}

function packMasks(samples: readonly Sequence[]): Pick<Batch, 'maskSamples' | 'maskBits'> {
  if (!samples.some((sequence) => sequence.constraint)) return { maskSamples: NO_INTS, maskBits: NO_INTS }
  const all = samples.map(({ constraint }) => constraint?.mask() ?? null)
  const masked = [...samples.keys()].filter((n) => all[n])
  const words = all[masked[0] ?? 0]?.length ?? 0
  const maskBits = new Int32Array(words * masked.length)
  for (const [m, n] of masked.entries()) maskBits.set(all[n]!, m * words)
  return { maskSamples: Int32Array.from(masked), maskBits }
}

/** Rows with penalties are told their ids once; from then on the device counts what it samples. */
function packHistory(
  samples: readonly Sequence[],
): Pick<Batch, 'historyRows' | 'historyOffsets' | 'historyGenerated' | 'historyIds'> {
  const fresh = samples.filter((sequence) => sequence.keepsHistory && !sequence.historySent)
  if (fresh.length === 0) {
    return { historyRows: NO_INTS, historyOffsets: NO_INTS, historyGenerated: NO_INTS, historyIds: NO_INTS }
  }
  const historyOffsets = new Int32Array(fresh.length + 1)
  for (const [h, sequence] of fresh.entries()) historyOffsets[h + 1] = historyOffsets[h]! + sequence.length
  const historyIds = new Int32Array(historyOffsets.at(-1)!)
  for (const [h, sequence] of fresh.entries()) {
    historyIds.set(sequence.tokens.subarray(0, sequence.length), historyOffsets[h]!)
    sequence.historySent = true
  }
  return {
    historyRows: Int32Array.from(fresh, (sequence) => sequence.row),
    historyOffsets,
    historyGenerated: Int32Array.from(fresh, (sequence) => sequence.length - sequence.promptLength),
    historyIds,
  }
}
