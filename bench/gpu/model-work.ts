/** Bytes and operations that a step of a whole model cannot do without; two products of FP8 count as one, as they take the time of one of bf16. */

import { FORMATS } from '../tensors'
import type { Ask, Variant } from './memory'
import { KV_BYTES, usedExperts } from './specs'

/** Of all steps that an ask takes; of a decode, one. */
export function workOf(variant: Variant, { sequences, context, computed }: Ask, stepTokens: number) {
  const total = { bytes: 0, operations: 0 }
  for (let done = 0; done < computed; done += stepTokens) {
    const now = Math.min(stepTokens, computed - done)
    const { bytes, operations } = stepWork(variant, {
      sequences,
      context: context - computed + done + now,
      computed: now,
    })
    total.bytes += bytes
    total.operations += operations
  }
  return total
}

/** Weights of the experts that are used in the mean and all others once, K and V of the contexts once; logits of one token a sequence. */
function stepWork({ geometry, formats, kvDtype }: Variant, { sequences, context, computed }: Ask) {
  const { hiddenSize: C, heads, kvHeads, headDim: D, experts: E, expertsPerToken: A, expertHidden: F } = geometry
  const tokens = sequences * computed
  const pairs = tokens * (context - (computed - 1) / 2) // of a query and a token that it sees
  const [attention, expert, head] = [(2 * heads + 2 * kvHeads) * D * C, 3 * F * C, geometry.vocabSize * C]
  const kv = sequences * context * 2 * kvHeads * D * KV_BYTES[kvDtype]
  const experts = FORMATS[formats.experts].bytes * expert * usedExperts(geometry, tokens)
  const layerBytes = FORMATS[formats.attention].bytes * attention + 4 * E * C + experts + kv
  const [attentionRate, expertRate] = [FORMATS[formats.attention].rate, FORMATS[formats.experts].rate]
  const products = attention / attentionRate + E * C + (A * expert) / expertRate
  const rounds = kvDtype === 'fp8' && Math.max(attentionRate, expertRate) > 1
  const layerOperations = 2 * tokens * products + (rounds ? 2 : 4) * heads * D * pairs
  return {
    bytes: geometry.layers * layerBytes + FORMATS[formats.head].bytes * head,
    operations: geometry.layers * layerOperations + 2 * sequences * head,
  }
}
