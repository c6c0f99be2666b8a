/** Counting what a geometry holds: parameters, bytes of weights as they run, bytes of KV per token. */
import type { KvDtype, ModelGeometry } from '../native'
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

/** 16 rows of 128: the core keeps a scale for each panel. */
const FP8_ELEMENTS_PER_SCALE = 2048

/**
 * Bytes of the weights as the core holds them: matrices in bf16, but so many of their elements in FP8; norms and router in f32, a tied head as a copy
 * of its own.
 */
export function weightBytes(config: ModelGeometry, fp8Elements = 0): number {
  const scales = Math.ceil(fp8Elements / FP8_ELEMENTS_PER_SCALE)
  return 2 * matrixParameters(config, 2) + 4 * floatParameters(config) - fp8Elements + 4 * scales
}

/** What of a step decides the memory that it works in. */
export interface StepSizes {
  /** Tokens of the largest step. */
  stepTokens: number
  /** Rows of the persistent batch. */
  rows: number
  /** Tokens of a sequence. */
  maxContext: number
}

/**
 * Bytes that the core works in beside weights and KV on a GPU: activations of the largest step, logits, scores and token histories of every row, the
 * rotary table, the states of attention over a split context, and staging. csrc/model/m2.cc carves the first, the backend's launchers the last.
 */
export function workspaceBytes(config: ModelGeometry, { stepTokens, rows, maxContext }: StepSizes): number {
  const { hiddenSize: C, heads, kvHeads, headDim: D, experts: E, expertsPerToken: A, expertHidden: F } = config
  const perToken = 10 * C + 2 * (3 * heads + 2 * kvHeads) * D + A * (2 * F + 2 * C + 16) + 4 * E
  const chunks = contextChunks(maxContext)
  const perRow = 4 * 3 * config.vocabSize + 4 * heads * (D + 4) * chunks
  return Math.max(stepTokens, rows) * perToken + rows * perRow + 4 * config.rotaryDim * maxContext + STAGING_BYTES
}

/** Two buffers of weights on their way, the CUDA context's own growth, recorded steps, the small cache that scales of an FP8 cache are found with. */
const STAGING_BYTES = 256 * 2 ** 20

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
