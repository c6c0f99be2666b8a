/** How large steps are best, from what a model's tokens cost. */
import type { ModelGeometry } from '../native'

/** Rows of a tile of the grouped products on a GPU. */
const TILE_ROWS = 128
/** On a CPU every row costs the same from a few dozen on; this many make few steps and short ones. */
const CPU_STEP_TOKENS = 512
const MOST_STEP_TOKENS = 8192

/**
 * Tokens of a step, where nobody says otherwise. A GPU reads the weights of nearly all experts for a step of more than a few tokens, so it wants as many
 * as fill a tile of each: 4,096 for MiniMax-M2 (then 27 ms of reading at 4.3 TB/s, with int4 experts, stand beside 100 ms of products at 790 TFLOP/s).
 */
export function bestStepTokens({ experts, expertsPerToken }: ModelGeometry, dedicated: boolean): number {
  if (!dedicated) return CPU_STEP_TOKENS
  const filled = Math.ceil(experts / expertsPerToken) * TILE_ROWS
  return Math.min(MOST_STEP_TOKENS, Math.max(CPU_STEP_TOKENS, filled))
}

/**
 * Tokens of context that cost a token as much as all of its matrix products do: attention takes 4 Hq D operations for each, in each layer. 12,864 for
 * MiniMax-M2.
 */
export function contextPerToken(config: ModelGeometry): number {
  const { hiddenSize: C, heads, kvHeads, headDim: D, experts: E, expertsPerToken: A, expertHidden: F } = config
  const products = 2 * C * ((2 * heads + 2 * kvHeads) * D + E + 3 * A * F)
  return products / (4 * heads * D)
}
