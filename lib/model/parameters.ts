/** Counting what a geometry holds: parameters, bytes of weights as they run, bytes of KV per token. */
import type { KvDtype, ModelGeometry, WeightFormat } from '../native'
import type { ModelShape } from './config'

export interface ParameterCounts {
  total: number
  /** Used for one token: all but the experts that are not chosen; embedding and head included. */
  active: number
}

export function countParameters(config: ModelShape): ParameterCounts {
  const total = matrixParameters(config, config.tieWordEmbeddings ? 1 : 2) + floatParameters(config)
  const idleExperts = config.experts - config.expertsPerToken
  return { total, active: total - config.layers * idleExperts * expertParameters(config) }
}

/** As what one weight is held. */
export interface WeightType {
  format: WeightFormat
  /** Of int4: weights of a row that share a scale; else 0. */
  group: number
  /** Of int4: its groups have zeros of their own. */
  zeros: boolean
  /** Of FP8 and int4: products round their rows to FP8. */
  fp8Rows?: boolean
}

export const BF16: WeightType = { format: 'bf16', group: 0, zeros: false }

export type WeightShape = [experts: number, n: number, k: number]

/** Of the weights that products take: lm_head, then of each layer q-k-v, o, w1-w3 and w2. */
export function weightShapes(config: ModelGeometry): WeightShape[] {
  const { hiddenSize: C, heads, kvHeads, headDim: D, experts: E, expertHidden: F } = config
  const layer: WeightShape[] = [
    [1, (heads + 2 * kvHeads) * D, C],
    [1, C, heads * D],
    [E, 2 * F, C],
    [E, C, F],
  ]
  return [[1, config.vocabSize, C], ...Array.from({ length: config.layers }, () => layer).flat()]
}

/**
 * Bytes of the weights as the core holds them: the embedding in bf16, norms and router in f32, and a type for each of `weightShapes`; a tied head is a
 * copy of its own.
 * @param types default: bf16
 */
export function weightBytes(
  config: ModelGeometry,
  types?: readonly WeightType[],
  place: 'cpu' | 'gpu' = 'cpu',
): number {
  const bytesOf = place === 'cpu' ? bytesOnCpu : bytesOnGpu
  const weights = weightShapes(config).reduce((sum, shape, i) => sum + bytesOf(shape, types?.[i] ?? BF16), 0)
  return 2 * config.vocabSize * config.hiddenSize + weights + 4 * floatParameters(config)
}

/** Outputs that stand together in a panel. */
const PANEL = 16
const VALUE_BYTES = { bf16: 2, fp8: 1, int4: 0.5 }
const GROUP = { bf16: () => Infinity, fp8: () => 128, int4: ({ group }: WeightType) => group }

/** As csrc/cpu/weights.cc lays them out: scales of a panel's rows for each group, the whole of an expert rounded up to a cache line. */
function bytesOnCpu([experts, n, k]: WeightShape, type: WeightType): number {
  const groupBytes = { bf16: 0, fp8: 4, int4: (type.zeros ? 3 : 2) * PANEL }[type.format]
  const groups = Math.ceil(k / GROUP[type.format](type))
  const panelBytes = PANEL * k * VALUE_BYTES[type.format] + groups * groupBytes
  return experts * Math.ceil((Math.ceil(n / PANEL) * panelBytes) / 64) * 64
}

/** As csrc/cuda/gemm/codec.h does: K padded to whole stages of 64, and a record for each group. */
function bytesOnGpu([experts, n, k]: WeightShape, type: WeightType): number {
  const padded = Math.ceil(k / 64) * 64
  const recordBytes = { bf16: 0, fp8: 16, int4: type.zeros ? 64 : 32 }[type.format]
  const records = Math.ceil(padded / GROUP[type.format](type))
  return experts * Math.ceil(n / PANEL) * (PANEL * padded * VALUE_BYTES[type.format] + records * recordBytes)
}

/** What of a step decides the memory that it works in. */
export interface StepSizes {
  /** Tokens of the largest step. */
  stepTokens: number
  /** Rows of the persistent batch. */
  rows: number
  /** Tokens of a sequence. */
  maxContext: number
  /** Products round their rows to FP8. */
  fp8Rows?: boolean
}

/**
 * Bytes that the core works in beside weights and KV on a GPU: activations of the largest step, logits, scores and token histories of every row, the
 * rotary table, the states of attention over a split context, and staging. csrc/model/m2.cc carves the first, the backend's launchers the last.
 */
export function workspaceBytes(config: ModelGeometry, { stepTokens, rows, maxContext, fp8Rows }: StepSizes): number {
  const { hiddenSize: C, heads, kvHeads, headDim: D, experts: E, expertsPerToken: A, expertHidden: F } = config
  // The router's sums, or rows rounded to FP8: at most a bf16 for each number, and scales.
  const scratch = Math.max(4 * E * Math.ceil(C / ROUTER_SEGMENT), fp8Rows ? 2.1 * Math.max(C, heads * D, A * F) : 0)
  const perToken = 10 * C + 2 * (3 * heads + 2 * kvHeads) * D + A * (2 * F + 2 * C + 16) + scratch
  const chunks = contextChunks(maxContext)
  const perRow = 4 * 3 * config.vocabSize + 4 * heads * (D + 4) * chunks
  return Math.max(stepTokens, rows) * perToken + rows * perRow + 4 * config.rotaryDim * maxContext + STAGING_BYTES
}

/** Two buffers of weights on their way, the CUDA context's own growth, recorded steps, the small cache that scales of an FP8 cache are found with. */
const STAGING_BYTES = 256 * 2 ** 20

/** Inputs of the router whose products a GPU sums up at a time: csrc/cuda/experts/scores.h. */
const ROUTER_SEGMENT = 768

/** Parts that attention on a GPU splits a context into: csrc/cuda/attention. */
function contextChunks(tokens: number): number {
  return (
    Math.ceil(Math.min(tokens, 1024) / 64) +
    Math.ceil(Math.max(0, Math.min(tokens, 8192) - 1024) / 256) +
    Math.ceil(Math.max(0, tokens - 8192) / 1024)
  )
}

/** Bytes of keys and values that one token of context takes. */
export function kvBytesPerToken(config: ModelGeometry, kvDtype: KvDtype): number {
  return 2 * config.layers * config.kvHeads * config.headDim * { f32: 4, bf16: 2, fp8: 1 }[kvDtype]
}

function expertParameters({ hiddenSize, expertHidden }: ModelGeometry): number {
  return 3 * hiddenSize * expertHidden
}

function matrixParameters(config: ModelGeometry, vocabMatrices: number): number {
  const attention = 2 * (config.heads + config.kvHeads) * config.headDim * config.hiddenSize
  const layer = attention + config.experts * expertParameters(config)
  return vocabMatrices * config.vocabSize * config.hiddenSize + config.layers * layer
}

/** Norms, router gate and router bias. */
function floatParameters(config: ModelGeometry): number {
  const norms = 2 * config.hiddenSize + (config.heads + config.kvHeads) * config.headDim
  return config.hiddenSize + config.layers * (norms + config.experts * (config.hiddenSize + 1))
}
