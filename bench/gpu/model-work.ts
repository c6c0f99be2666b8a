/** Bytes and operations that a step of a whole model cannot do without. */

import { FORMATS } from '../tensors'
import type { Unit } from './cells'
import type { Ask, Variant } from './memory'
import { KV_BYTES, usedExperts } from './specs'

const UNITS: Unit[] = ['f32', 'bf16', 'e4m3']

/** Of all steps that an ask takes; of a decode, one. */
export function workOf(variant: Variant, { sequences, context, computed }: Ask, stepTokens: number) {
  const total = { bytes: 0, operations: { f32: 0, bf16: 0, e4m3: 0 } }
  for (let done = 0; done < computed; done += stepTokens) {
    const now = Math.min(stepTokens, computed - done)
    const { bytes, operations } = stepWork(variant, {
      sequences,
      context: context - computed + done + now,
      computed: now,
    })
    total.bytes += bytes
    for (const unit of UNITS) total.operations[unit] += operations[unit]
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
  const operations = { f32: geometry.layers * 2 * tokens * E * C, bf16: 2 * sequences * head, e4m3: 0 }
  const [ofAttention, ofExperts] = [FORMATS[formats.attention].unit, FORMATS[formats.experts].unit]
  const rounds = kvDtype === 'fp8' && (ofAttention === 'e4m3' || ofExperts === 'e4m3')
  operations[ofAttention] += geometry.layers * 2 * tokens * attention
  operations[ofExperts] += geometry.layers * 2 * tokens * A * expert
  operations[rounds ? 'e4m3' : 'bf16'] += geometry.layers * 4 * heads * D * pairs
  return { bytes: geometry.layers * layerBytes + FORMATS[formats.head].bytes * head, operations }
}
