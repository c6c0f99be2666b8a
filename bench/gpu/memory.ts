/** The models of the benchmark, what is asked of them, and whether that fits the memory of a device. */
import {
  BF16,
  kvBytesPerToken,
  type WeightType,
  weightBytes,
  weightShapes,
  workspaceBytes,
} from '../../lib/model/parameters'
import type { KvDtype, ModelGeometry, WeightPlan } from '../../lib/native'
import { FORMATS, type Format } from '../tensors'

/** A model as it is held. */
export interface Variant {
  name: string
  geometry: ModelGeometry
  /** Tokens that a sequence can have. */
  maxContext: number
  formats: { head: Format; attention: Format; experts: Format }
  kvDtype: KvDtype
  /** Random ones are held in `formats`, which say as what others are held. */
  weights: WeightPlan | 'random'
}

/** A step, or the steps of a prefill: each sequence has `context` tokens at the end, the last `computed` of them new. */
export interface Ask {
  sequences: number
  context: number
  computed: number
}

export interface Steps {
  /** Tokens of the largest step. */
  stepTokens: number
  asks: Ask[]
}

/** Why an ask cannot be run; undefined where it can. `free`: bytes of the device. */
export function whyNot(variant: Variant, ask: Ask, steps: Steps, free: number): string | undefined {
  const { geometry, maxContext, kvDtype } = variant
  if (ask.context > maxContext) return `the model has ${maxContext} tokens of context`
  const kv = ask.sequences * ask.context * kvBytesPerToken(geometry, kvDtype)
  const rest = bytesBeside(variant, steps)
  return rest + kv > free ? `needs ${rest} bytes and ${kv} of KV, ${free} are free` : undefined
}

/** The most layers, at least 1, with which everything that is asked fits. */
export function largestThatFits(cut: (layers: number) => Variant, most: number, steps: Steps, free: number): number {
  for (let layers = most; layers > 1; layers--) {
    if (steps.asks.every((ask) => whyNot(cut(layers), ask, steps, free) === undefined)) return layers
  }
  return 1
}

/** Bytes of weights and of what a step works in. */
function bytesBeside(variant: Variant, { stepTokens, asks }: Steps): number {
  const { geometry, maxContext, formats } = variant
  const fp8Rows = FORMATS[formats.experts].unit === 'e4m3'
  const rows = Math.max(...asks.map(({ sequences }) => sequences))
  const longest = Math.min(maxContext, Math.max(...asks.map(({ context }) => context)))
  return (
    weightBytes(geometry, typesOf(variant), 'gpu') +
    workspaceBytes(geometry, { stepTokens, rows, maxContext: longest, fp8Rows })
  )
}

/** Of the weights that products take, in the order of `weightShapes`. */
export function typesOf({ geometry, formats: { head, attention, experts } }: Variant): WeightType[] {
  const layer = [attention, attention, experts, experts]
  return weightShapes(geometry).map((_, i) => typeOf(i === 0 ? head : layer[(i - 1) % layer.length]!))
}

const typeOf = (format: Format): WeightType => ({ ...BF16, ...FORMATS[format].held })
