/**
 * The scales of an FP8 cache: twice the largest K or V of a layer and head that a text makes, over the largest number of e4m3. The headroom is for what
 * other texts make. It costs no digits but at the lower end of e4m3's range; what lies beyond it all the same is cut to the largest.
 */
import { CALIBRATION_CHAT, CALIBRATION_TOOLS } from './calibration-text'
import { M2Error } from './errors'
import { readKvScales, writeKvScales } from './model/kv-scales'
import type { ModelGeometry, NativeModel } from './native'
import type { LoadProgress } from './options'
import { renderChat } from './text/chat'
import type { Tokenizer } from './text/tokenizer'

const LARGEST_E4M3 = 448
const HEADROOM = 2
/** Of a head whose K or V are zeros, which any scale keeps. */
const LEAST_SCALE = 2 ** -64

/** Tokens of the text, and of the sequences that it is cut into: few, so that their cache takes next to no memory beside a model that fills a device. */
const TOKENS = 1024
const WINDOW = 256

export interface Calibration {
  core: NativeModel
  /** The model's folder. */
  directory: string
  tokenizer: Tokenizer | null
  geometry: ModelGeometry
  /** The model's fingerprint. */
  model: string
  /** Most tokens of a sequence. */
  context: number
  onProgress: (progress: LoadProgress) => void
}

/**
 * [L, K|V, Hk], from the model's folder, else found and kept there. The same model on the same device gives the same, but where its context is too short
 * for the text: then they are not kept.
 * @throws {M2Error} BAD_CHECKPOINT for a model whose K or V are not finite; what the door throws
 */
export async function findKvScales(calibration: Calibration): Promise<Float32Array> {
  const { directory, model, geometry, context } = calibration
  const of = { model, layers: geometry.layers, kvHeads: geometry.kvHeads }
  const kept = await readKvScales(directory, of)
  if (kept) return kept
  const scales = scalesFor(await largestOf(calibration))
  if (context >= WINDOW) await writeKvScales(directory, of, scales)
  return scales
}

/** For what `measureKv` found. */
export function scalesFor(largest: Float32Array): Float32Array {
  return largest.map((size) => Math.max(LEAST_SCALE, (HEADROOM * size) / LARGEST_E4M3))
}

async function largestOf({ core, directory, tokenizer, geometry, context, onProgress }: Calibration) {
  const ids = calibrationIds(tokenizer, geometry.vocabSize)
  const window = Math.min(WINDOW, context)
  const largest = new Float32Array(geometry.layers * 2 * geometry.kvHeads)
  for (let first = 0; first < ids.length; first += window) {
    onProgress({ phase: 'calibration', done: first, total: ids.length })
    const sizes = await core.measureKv(ids.slice(first, first + window))
    for (const [i, size] of sizes.entries()) largest[i] = Math.max(largest[i]!, size)
  }
  onProgress({ phase: 'calibration', done: ids.length, total: ids.length })
  const bad = largest.findIndex((size) => !Number.isFinite(size))
  if (bad < 0) return largest
  const layer = Math.floor(bad / (2 * geometry.kvHeads))
  throw new M2Error(
    'BAD_CHECKPOINT',
    `${directory}: kvDtype "fp8": expected finite keys and values, found others in layer ${layer}`,
  )
}

/** Of a text as agents have it; without a tokenizer, ids in no order. */
function calibrationIds(tokenizer: Tokenizer | null, vocabSize: number): Int32Array {
  if (!tokenizer) {
    // Knuth's multiplicative hash of 1, 2, ..: the upper bits are as good as random.
    return Int32Array.from({ length: TOKENS }, (_, i) =>
      Math.floor(((((i + 1) * 2_654_435_761) % 2 ** 32) / 2 ** 32) * vocabSize),
    )
  }
  const text = renderChat(CALIBRATION_CHAT, { tools: CALIBRATION_TOOLS })
  return tokenizer.encode(text, { special: true }).slice(0, TOKENS)
}
