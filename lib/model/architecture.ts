/** Whether a config.json describes a model of the MiniMax-M2 architecture as this engine computes it. */
import type { JsonFields } from './json-fields'

/** Fields that are absent or have one meaning here; anything else is another model. */
const FIXED_FIELDS: readonly { name: string; value: unknown; expected: string }[] = [
  { name: 'hidden_act', value: 'silu', expected: '"silu"' },
  { name: 'scoring_func', value: 'sigmoid', expected: '"sigmoid" (the router of MiniMax-M2)' },
  { name: 'use_qk_norm', value: true, expected: 'true (MiniMax-M2 normalises queries and keys)' },
  { name: 'qk_norm_type', value: 'per_layer', expected: '"per_layer" (one norm over all heads)' },
  { name: 'shared_intermediate_size', value: 0, expected: '0 (MiniMax-M2 has no shared expert)' },
  { name: 'n_shared_experts', value: 0, expected: '0 (MiniMax-M2 has no shared expert)' },
  { name: 'attention_bias', value: false, expected: 'false (projections of MiniMax-M2 have no bias)' },
  { name: 'sliding_window', value: undefined, expected: 'null (MiniMax-M2 attends to the whole context)' },
  { name: 'routed_scaling_factor', value: 1, expected: '1 (weights of MiniMax-M2 sum to one)' },
]

/** Fields without which model_type "minimax" is one of MiniMax's earlier models, not an early copy of M2. */
const M2_MARKS = ['scoring_func', 'use_routing_bias', 'use_qk_norm'] as const

/** @throws {M2Error} UNSUPPORTED_MODEL naming the field that says so. */
export function checkArchitecture(fields: JsonFields): void {
  checkNames(fields)
  for (const { name, value, expected } of FIXED_FIELDS) {
    const found = fields.raw(name)
    if (found === undefined || found === value) continue
    fields.fail(
      value === undefined || typeof found === typeof value ? 'UNSUPPORTED_MODEL' : 'BAD_CHECKPOINT',
      name,
      expected,
    )
  }
  if (fields.array('attn_type_list')?.some((type) => type !== 1)) {
    fields.fail('UNSUPPORTED_MODEL', 'attn_type_list', '1 for every layer (full softmax attention)')
  }
}

function checkNames(fields: JsonFields): void {
  const expected = '"minimax_m2" (this engine runs MiniMax-M2 models)'
  const type = fields.string('model_type')
  const architectures = fields.array('architectures')
  if (type === undefined && architectures === undefined) fields.fail('BAD_CHECKPOINT', 'model_type', expected)
  const namedM2 = type === undefined || type === 'minimax_m2'
  const earlyM2 = type === 'minimax' && M2_MARKS.every((name) => fields.raw(name) !== undefined)
  if (!namedM2 && !earlyM2) fields.fail('UNSUPPORTED_MODEL', 'model_type', expected)
  if (architectures?.length && !architectures.includes('MiniMaxM2ForCausalLM')) {
    fields.fail('UNSUPPORTED_MODEL', 'architectures', '["MiniMaxM2ForCausalLM"]')
  }
}
