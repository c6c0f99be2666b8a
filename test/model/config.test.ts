import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../lib/model/config'
import { failure, modelFolder, TINY, temporaryFolder, writeJson } from './folder'

const NANO = path.join(__dirname, '../../models/nano')

const configWith = (config: Record<string, unknown>) => loadConfig(modelFolder({ config }))
const failureWith = (config: Record<string, unknown>) => failure(() => configWith(config))

describe('loadConfig', () => {
  it('reads the embedded model', async () => {
    expect(await loadConfig(NANO)).toEqual({
      vocabSize: 1536,
      hiddenSize: 256,
      layers: 3,
      heads: 4,
      kvHeads: 2,
      headDim: 128,
      rotaryDim: 64,
      ropeTheta: 5_000_000,
      experts: 32,
      expertsPerToken: 4,
      expertHidden: 64,
      rmsNormEps: 1e-6,
      maxPositionEmbeddings: 1024,
      tieWordEmbeddings: false,
      useRoutingBias: true,
      eosTokenIds: [3],
      bosTokenId: 1,
      generation: { temperature: 0, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 },
    })
  })

  it('reads any geometry that the engine runs', async () => {
    expect(await configWith({})).toMatchObject(TINY)
  })

  it('takes rotary settings from rope_parameters', async () => {
    const config = await configWith({
      rope_theta: undefined,
      rotary_dim: undefined,
      rope_parameters: { rope_type: 'default', rope_theta: 123, partial_rotary_factor: 0.5 },
    })
    expect(config).toMatchObject({ ropeTheta: 123, rotaryDim: 16 })
  })

  it('takes model_type "minimax" when the rest is of M2', async () => {
    expect(await configWith({ model_type: 'minimax' })).toMatchObject(TINY)
  })

  it('lets keys that later versions dropped be absent', async () => {
    const dropped = {
      qk_norm_type: undefined,
      attn_type_list: undefined,
      use_qk_norm: undefined,
      hidden_act: undefined,
    }
    expect(await configWith(dropped)).toMatchObject(TINY)
  })

  it('takes ends of turn from generation_config.json before config.json', async () => {
    const dir = modelFolder({ config: { eos_token_id: 2 } })
    expect((await loadConfig(dir)).eosTokenIds).toEqual([2])
    writeJson(dir, 'generation_config.json', { eos_token_id: null })
    expect((await loadConfig(dir)).eosTokenIds).toEqual([2])
    writeJson(dir, 'generation_config.json', { eos_token_id: [5, 7] })
    expect((await loadConfig(dir)).eosTokenIds).toEqual([5, 7])
  })

  it('reads sampling defaults, and greedy from do_sample false', async () => {
    const dir = modelFolder()
    const file = { temperature: 0.7, top_p: 0.95, top_k: 40, min_p: 0.01, repetition_penalty: 1.1 }
    const generation = { temperature: 0.7, topP: 0.95, topK: 40, minP: 0.01, repetitionPenalty: 1.1 }
    writeJson(dir, 'generation_config.json', file)
    expect((await loadConfig(dir)).generation).toEqual(generation)
    writeJson(dir, 'generation_config.json', { ...file, do_sample: false })
    expect((await loadConfig(dir)).generation).toEqual({ ...generation, temperature: 0 })
  })

  it('has neutral sampling defaults without generation_config.json', async () => {
    const neutral = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 }
    expect((await configWith({})).generation).toEqual(neutral)
  })
})

/** What is refused of each method's quantization_config. */
const QUANTIZED: Record<string, [fields: object, message: string][]> = {
  fp8: [
    [{}, 'weight_block_size: expected [128,128], found nothing'],
    [{ weight_block_size: [64, 128] }, 'weight_block_size: expected [128,128], found [64,128]'],
    [
      { fmt: 'float8_e5m2', weight_block_size: [128, 128] },
      'fmt: expected "float8_e4m3fn" or "e4m3", found "float8_e5m2"',
    ],
  ],
  awq: [
    [{}, 'bits: expected 4, found nothing'],
    [{ bits: 8, group_size: 128 }, 'bits: expected 4, found 8'],
    [{ bits: 4, group_size: -1 }, 'group_size: expected 32, 64 or 128, found -1'],
    [{ bits: 4, group_size: 128, version: 'gemv' }, 'version: expected "gemm" or "GEMM", found "gemv"'],
  ],
  gptq: [
    [{ bits: 4, group_size: 128, desc_act: true }, 'desc_act: expected false, found true'],
    [{ bits: 3, group_size: 128 }, 'bits: expected 4, found 3'],
    [{ bits: 4, group_size: 16 }, 'group_size: expected 32, 64 or 128, found 16'],
    [
      { bits: 4, group_size: 128, checkpoint_format: 'marlin' },
      'checkpoint_format: expected "gptq" or "gptq_v2", found "marlin"',
    ],
  ],
  'compressed-tensors': [
    [{ format: 'nvfp4-pack-quantized' }, 'format: expected "pack-quantized", found "nvfp4-pack-quantized"'],
    [
      { format: 'pack-quantized' },
      'config_groups: expected one group_size and one symmetric in all of at least one group, found nothing',
    ],
    [compressed({ num_bits: 8 }), 'config_groups.group_0.weights.num_bits: expected 4, found 8'],
    [compressed({ type: 'float' }), 'config_groups.group_0.weights.type: expected "int", found "float"'],
    [compressed({ strategy: 'channel' }), 'config_groups.group_0.weights.strategy: expected "group", found "channel"'],
    [
      compressed({ group_size: null }),
      'config_groups.group_0.weights.group_size: expected 32, 64 or 128, found nothing',
    ],
    [
      compressed({ actorder: 'group' }),
      'config_groups.group_0.weights.actorder: expected false, "static" or "weight", found "group"',
    ],
    [compressed({}, { group_size: 32 }), 'config_groups: expected one group_size and one symmetric in all of'],
  ],
  mxfp4: [[{}, 'quant_method: expected "fp8", "awq", "gptq" or "compressed-tensors", found "mxfp4"']],
}

function compressed(...changes: object[]): object {
  const weights = { num_bits: 4, type: 'int', strategy: 'group', group_size: 128, symmetric: true }
  const groups = changes.map((change, i) => [`group_${i}`, { weights: { ...weights, ...change } }])
  return { format: 'pack-quantized', config_groups: Object.fromEntries(groups) }
}

describe('loadConfig refuses', () => {
  it('a folder that is not there, is a file, or has no config.json', async () => {
    const dir = temporaryFolder()
    expect(await failure(() => loadConfig(path.join(dir, 'gone')))).toBe(
      `MODEL_NOT_FOUND ${dir}/gone: expected a model folder, found no such folder`,
    )
    writeJson(dir, 'file', '')
    expect(await failure(() => loadConfig(path.join(dir, 'file')))).toBe(
      `MODEL_NOT_FOUND ${dir}/file: expected a model folder, found a file`,
    )
    expect(await failure(() => loadConfig(dir))).toBe(
      `MODEL_NOT_FOUND ${dir}: expected a model folder, found no config.json in it`,
    )
  })

  it.each([
    ['{"vocab_size": 12', /expected JSON, found what does not parse: /],
    ['', /expected JSON, found what does not parse: /],
    ['[1, 2]', /expected a JSON object, found \[1,2\]$/],
  ])('a config.json that is %j', async (text, message) => {
    const dir = temporaryFolder()
    writeJson(dir, 'config.json', text)
    const line = await failure(() => loadConfig(dir))
    expect(line).toMatch(/^BAD_CHECKPOINT .*config\.json: /)
    expect(line).toMatch(message)
    expect(line).not.toContain('\n')
  })

  it.each([
    [{ hidden_size: -3 }, 'hidden_size: expected an integer of at least 1, found -3'],
    [{ hidden_size: 'abc' }, 'hidden_size: expected an integer of at least 1, found "abc"'],
    [{ vocab_size: 12.5 }, 'vocab_size: expected an integer of at least 1, found 12.5'],
    [{ vocab_size: 1e12 }, 'vocab_size: expected an integer of at least 1, found 1000000000000'],
    [{ num_hidden_layers: undefined }, 'num_hidden_layers: expected an integer of at least 1, found nothing'],
    [{ num_hidden_layers: 0 }, 'num_hidden_layers: expected an integer of at least 1, found 0'],
    [{ num_experts_per_tok: 5 }, 'num_experts_per_tok: expected at most num_local_experts (4), found 5'],
    [{ num_key_value_heads: 4 }, 'num_key_value_heads: expected a divisor of num_attention_heads (6), found 4'],
    [{ rotary_dim: 15 }, 'rotary_dim: expected an even number from 2 to head_dim (32), found 15'],
    [{ rotary_dim: 64 }, 'rotary_dim: expected an even number from 2 to head_dim (32), found 64'],
    [{ rotary_dim: undefined }, 'rotary_dim: expected an even number from 2 to head_dim (32), found nothing'],
    [{ rope_parameters: { partial_rotary_factor: 1 } }, 'rotary_dim: expected one value, found 16 and 32'],
    [{ rope_parameters: { rope_theta: 5 } }, 'rope_theta: expected one value, found 10000 and 5'],
    [{ rope_parameters: 7 }, 'rope_parameters: expected an object, found 7'],
    [{ rms_norm_eps: 0 }, 'rms_norm_eps: expected a number above 0, found 0'],
    [{ attn_type_list: [1] }, 'attn_type_list: expected one entry for each of 2 layers, found [1]'],
    [{ tie_word_embeddings: 'no' }, 'tie_word_embeddings: expected true or false, found "no"'],
    [{ use_qk_norm: 'yes' }, 'use_qk_norm: expected true (MiniMax-M2 normalises queries and keys), found "yes"'],
    [{ eos_token_id: -1 }, 'eos_token_id: expected a token id or an array of token ids, found -1'],
    [{ model_type: 4 }, 'model_type: expected a string, found 4'],
    [
      { model_type: undefined, architectures: undefined },
      'model_type: expected "minimax_m2" (this engine runs MiniMax-M2 models), found nothing',
    ],
  ])('impossible values: %j', async (config, message) => {
    const line = await failureWith(config)
    expect(line).toMatch(/^BAD_CHECKPOINT \S+config\.json: /)
    expect(line).toContain(`config.json: ${message}`)
  })

  it.each([
    [{ model_type: 'llama' }, 'model_type: expected "minimax_m2" (this engine runs MiniMax-M2 models), found "llama"'],
    [{ model_type: 'minimax', use_qk_norm: undefined }, 'found "minimax"'],
    [{ architectures: ['LlamaForCausalLM'] }, 'architectures: expected ["MiniMaxM2ForCausalLM"], found ["LlamaFor'],
    [{ head_dim: 48, rotary_dim: 16 }, 'head_dim: expected 32 to 256 in steps of 32, found 48'],
    [{ head_dim: 288 }, 'head_dim: expected 32 to 256 in steps of 32, found 288'],
    [{ hidden_size: 40 }, 'hidden_size: expected a multiple of 32, found 40'],
    [{ intermediate_size: 33 }, 'intermediate_size: expected a multiple of 32, found 33'],
    [{ sliding_window: 4096 }, 'sliding_window: expected null (MiniMax-M2 attends to the whole context), found 4096'],
    [{ hidden_act: 'gelu' }, 'hidden_act: expected "silu", found "gelu"'],
    [{ scoring_func: 'softmax' }, 'scoring_func: expected "sigmoid" (the router of MiniMax-M2), found "softmax"'],
    [{ use_qk_norm: false }, 'use_qk_norm: expected true'],
    [{ qk_norm_type: 'per_head' }, 'qk_norm_type: expected "per_layer"'],
    [{ shared_intermediate_size: 512 }, 'shared_intermediate_size: expected 0 (MiniMax-M2 has no shared expert)'],
    [{ attn_type_list: [1, 0] }, 'attn_type_list: expected 1 for every layer (full softmax attention), found [1,0]'],
    [{ rope_scaling: { type: 'yarn', factor: 4 } }, 'rope_scaling: expected rotary positions without scaling'],
    ...Object.entries(QUANTIZED).flatMap(([method, rows]) =>
      rows.map(([fields, message]): [Record<string, unknown>, string] => {
        return [{ quantization_config: { quant_method: method, ...fields } }, `quantization_config.${message}`]
      }),
    ),
  ])('models of another kind: %j', async (config, message) => {
    const line = await failureWith(config)
    expect(line).toMatch(/^UNSUPPORTED_MODEL \S+config\.json: /)
    expect(line).toContain(message)
  })

  it.each([
    [{ temperature: -1 }, 'temperature: expected a number of at least 0, found -1'],
    [{ top_p: 1.5 }, 'top_p: expected a number from 0 to 1, found 1.5'],
    [{ top_k: 2.5 }, 'top_k: expected an integer of at least -1, found 2.5'],
    [{ do_sample: 1 }, 'do_sample: expected true or false, found 1'],
  ])('a generation_config.json of %j', async (fields, message) => {
    const dir = modelFolder()
    writeJson(dir, 'generation_config.json', fields)
    const line = await failure(() => loadConfig(dir))
    expect(line).toBe(`BAD_CHECKPOINT ${dir}/generation_config.json: ${message}`)
  })
})
