/** Counting what a geometry holds: parameters, bytes of weights as they run, bytes of KV per token. */
import type { ModelGeometry } from '../native'
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

/** Bytes of the weights as the core holds them: matrices in bf16, norms and router in f32, a tied head as a copy of its own. */
export function weightBytes(config: ModelGeometry): number {
  return 2 * matrixParameters(config, 2) + 4 * floatParameters(config)
}

/** Bytes of keys and values that one token of context takes. */
export function kvBytesPerToken(config: ModelGeometry, kvDtype: 'bf16' | 'f32'): number {
  return 2 * config.layers * config.kvHeads * config.headDim * (kvDtype === 'f32' ? 4 : 2)
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
