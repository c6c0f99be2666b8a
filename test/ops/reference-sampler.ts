/** The sampler in float64, from the words of SampleArgs in csrc/core/ops.h alone. */

/** One row's options, neutral by default. */
/** The tokens a row has seen, each [V]. */
export interface TokenHistory {
  generatedCounts: Int32Array
  inPrompt: Uint8Array
}

export interface RowOptions {
  temperature: number
  topP: number
  minP: number
  repetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  topK: number
  logprobs: number
  seed: bigint
  position: number
  sampleIndex: number
  bias: Record<number, number>
  history: TokenHistory | null
  /** The ids that may be sampled; null: all. */
  mask: ReadonlySet<number> | null
}

export const NEUTRAL: RowOptions = {
  temperature: 1,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  topK: 0,
  logprobs: -1,
  seed: 0n,
  position: 0,
  sampleIndex: 0,
  bias: {},
  history: null,
  mask: null,
}

/** A row's options: neutral where not given. */
export const optionsOf = (options: Partial<RowOptions>): RowOptions => ({ ...NEUTRAL, ...options })

/** The high and low words of a 32 x 32 bit product. */
function multiply(a: number, b: number): [high: number, low: number] {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff]
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const other = aLow * bHigh + (middle % 65536)
  return [aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(other / 65536), Math.imul(a, b) >>> 0]
}

/** Philox4x32 of ten rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). Counter and key as 32-bit words, low word first. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [a, b, c, d] = counter as [number, number, number, number]
  let [k0, k1] = key as [number, number]
  for (let i = 0; i < 10; i++) {
    const [pHigh, pLow] = multiply(a, 0xd2511f53)
    const [qHigh, qLow] = multiply(c, 0xcd9e8d57)
    ;[a, b, c, d] = [(qHigh ^ b ^ k0) >>> 0, qLow, (pHigh ^ d ^ k1) >>> 0, pLow]
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [a, b, c, d]
}

/** -log(-log(u(id))) for every id. */
export function gumbels(vocab: number, { seed, position, sampleIndex }: RowOptions): Float64Array {
  const key = [Number(BigInt.asUintN(32, seed)), Number(seed >> 32n)]
  const out = new Float64Array(vocab)
  for (let id = 0; id < vocab; id += 4) {
    philox([position, sampleIndex, id / 4, 0], key).forEach((word, i) => {
      if (id + i < vocab) out[id + i] = -Math.log(-Math.log((word + 0.5) / 2 ** 32))
    })
  }
  return out
}

export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  let max = -Infinity
  for (let i = 0; i < logits.length; i++) max = Math.max(max, logits[i]!)
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - max)
  return new Float64Array(logits).map((x) => x - max - Math.log(sum))
}

/** Logits after bias, penalties, mask and ban. */
export function adjusted(logits: Float32Array, o: RowOptions, banned: ReadonlySet<number> = new Set()): Float64Array {
  return new Float64Array(logits).map((raw, id) => {
    if (banned.has(id) || o.mask?.has(id) === false) return -Infinity
    let x = raw + (o.bias[id] ?? 0)
    const count = o.history?.generatedCounts[id] ?? 0
    if (count > 0 || o.history?.inPrompt[id]) x = x > 0 ? x / o.repetitionPenalty : x * o.repetitionPenalty
    if (count > 0) x -= o.presencePenalty + o.frequencyPenalty * count
    return x
  })
}

/** The ids that may be drawn, most probable first. */
export function support(scaled: Float64Array, o: RowOptions): number[] {
  let ids = Array.from(scaled.keys()).filter((id) => scaled[id]! > -Infinity)
  ids.sort((a, b) => scaled[b]! - scaled[a]! || a - b)
  if (o.topK > 0) ids = ids.slice(0, o.topK)
  const weights = ids.map((id) => Math.exp(scaled[id]! - scaled[ids[0]!]!))
  const total = weights.reduce((a, b) => a + b, 0)
  let sum = 0
  let kept = 0
  while (kept < ids.length && (kept === 0 || sum / total < o.topP)) sum += weights[kept++]!
  // The last ids are lost to rounding when top-p is off.
  if (o.topP === 1) kept = ids.length
  return ids.slice(0, kept).filter((_, i) => weights[i]! >= o.minP)
}

/** The probability of every id that may be drawn, most probable first. */
export function distribution(
  logits: Float32Array,
  o: RowOptions,
  banned?: ReadonlySet<number>,
): ReadonlyMap<number, number> {
  const scaled = adjusted(logits, o, banned).map((x) => x / o.temperature)
  const ids = support(scaled, o)
  const weights = ids.map((id) => Math.exp(scaled[id]! - scaled[ids[0]!]!))
  const total = weights.reduce((a, b) => a + b, 0)
  return new Map(ids.map((id, i) => [id, weights[i]! / total]))
}

/** The id of one row; -1 where nothing can be drawn, -2 where it is because of the mask. */
export function sampleRow(logits: Float32Array, o: RowOptions, banned?: ReadonlySet<number>): number {
  if (logits.some((x) => Number.isNaN(x) || x === Infinity)) return -1
  const scores = adjusted(logits, o, banned)
  if (scores.every((x) => x === -Infinity)) return o.mask && logits.some((x) => x > -Infinity) ? -2 : -1
  const best = (of: (id: number) => number, ids: Iterable<number>) => {
    let [id, most] = [-1, -Infinity]
    for (const i of ids) if (of(i) > most) [id, most] = [i, of(i)]
    return id
  }
  if (o.temperature === 0) return best((id) => scores[id]!, scores.keys())
  const scaled = scores.map((x) => x / o.temperature)
  const noise = gumbels(logits.length, o)
  return best((id) => scaled[id]! + noise[id]!, support(scaled, o))
}
