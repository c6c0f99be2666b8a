/** Writes checkpoint folders for tests: any list of tensors in the safetensors format, and random MiniMax-M2-shaped models. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { ModelGeometry, TensorDType } from '../../lib/native'
import { type Int4Storage, int4Config, packInt4, quantizeInt4 } from './int4-formats'
import { bf16Bits, f16Bits, quantizeFp8 } from './number-formats'
import { Random } from './random'

export interface TensorToWrite {
  name: string
  dtype: string
  shape: number[]
  data: Uint8Array
}

export interface RandomModel {
  geometry: ModelGeometry
  seed: number
  /** Of the matrices and norms; the router bias is always F32. Default BF16. */
  dtype?: 'F32' | 'BF16' | 'F16'
  /** Projections and experts as MiniMax publishes them: e4m3 with a float32 scale for each 128 x 128. */
  fp8?: boolean
  /** Projections and experts packed in 4 bits; `only`: those of these names. */
  int4?: Int4Storage & { only?: RegExp }
  /** Number of shard files; 0, the default: one model.safetensors without an index. */
  shards?: number
  tied?: boolean
  /** Of config.json, over what the geometry says; undefined removes a field. */
  config?: Record<string, unknown>
}

/** The bytes of one safetensors file. */
export function safetensorsBytes(tensors: readonly TensorToWrite[]): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } }
  let end = 0
  for (const { name, dtype, shape, data } of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + data.length] }
    end += data.length
  }
  return withHeader(header, Buffer.concat(tensors.map(({ data }) => data)))
}

/** A file of this header and these bytes, whether they fit or not. */
export function withHeader(header: unknown, data: Uint8Array): Buffer {
  const json = typeof header === 'string' ? header : JSON.stringify(header)
  const text = Buffer.from(json + ' '.repeat(-Buffer.byteLength(json) & 7))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, data])
}

export function encode(values: Float64Array, dtype: Exclude<TensorDType, 'F8_E4M3'>): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(Float32Array.from(values).buffer)
  const bits = dtype === 'BF16' ? bf16Bits : f16Bits
  return new Uint8Array(new Uint16Array(values.map(bits)).buffer)
}

export function writeRandomModel(dir: string, model: RandomModel): void {
  mkdirSync(dir, { recursive: true })
  writeFileSync(path.join(dir, 'config.json'), JSON.stringify({ ...configOf(model), ...model.config }, null, 1))
  const tensors = [...randomTensors(model)].flatMap((tensor) => quantized(tensor, model))
  const shards = model.shards ?? 0
  if (shards === 0) {
    writeFileSync(path.join(dir, 'model.safetensors'), safetensorsBytes(tensors))
    return
  }
  const weightMap: Record<string, string> = {}
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-${`${shard}`.padStart(5, '0')}-of-${`${shards}`.padStart(5, '0')}.safetensors`
    const part = tensors.filter((_, i) => i % shards === shard)
    for (const { name } of part) weightMap[name] = file
    writeFileSync(path.join(dir, file), safetensorsBytes(part))
  }
  writeFileSync(path.join(dir, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }))
}

export const FP8_NAMES = /(_proj|\.w[123])\.weight$/

/** As what a matrix is stored; it is then drawn in f32. */
function storageOf(name: string, { fp8, int4 }: RandomModel): 'fp8' | Int4Storage | undefined {
  if (int4 && (int4.only ?? FP8_NAMES).test(name)) return int4
  return fp8 && FP8_NAMES.test(name) ? 'fp8' : undefined
}

/** A quantised matrix and what belongs to it; any other tensor as it is. */
function quantized(tensor: TensorToWrite, model: RandomModel): TensorToWrite[] {
  const storage = storageOf(tensor.name, model)
  if (!storage) return [tensor]
  return storage === 'fp8' ? inFp8(tensor) : inInt4(tensor, storage)
}

function inInt4({ name, shape, data }: TensorToWrite, storage: Int4Storage): TensorToWrite[] {
  const [rows, cols] = shape as [number, number]
  const packed = packInt4(quantizeInt4(new Float32Array(data.buffer), rows, cols, storage), storage)
  return packed.map(({ part, ...rest }) => ({ name: name.replace(/weight$/, part), ...rest }))
}

/** A projection's or an expert's matrix as FP8 and its scales; any other tensor as it is. */
export function inFp8(tensor: TensorToWrite): TensorToWrite[] {
  const { name, shape, data } = tensor
  if (!FP8_NAMES.test(name)) return [tensor]
  const [rows, cols] = shape as [number, number]
  const { bytes, scales } = quantizeFp8(new Float32Array(data.buffer), rows, cols)
  return [
    { name, dtype: 'F8_E4M3', shape, data: bytes },
    {
      name: `${name}_scale_inv`,
      dtype: 'F32',
      shape: shape.map((size) => Math.ceil(size / 128)),
      data: new Uint8Array(scales.buffer),
    },
  ]
}

/** As the published config.json has it. */
export const FP8_CONFIG = {
  quant_method: 'fp8',
  fmt: 'float8_e4m3fn',
  activation_scheme: 'dynamic',
  weight_block_size: [128, 128],
  modules_to_not_convert: ['gate', 'e_score_correction_bias', 'lm_head'],
}

export function configOf({ geometry: g, tied = false, fp8, int4 }: RandomModel): Record<string, unknown> {
  return {
    ...(fp8 && { quantization_config: FP8_CONFIG }),
    ...(int4 && { quantization_config: int4Config(int4) }),
    architectures: ['MiniMaxM2ForCausalLM'],
    model_type: 'minimax_m2',
    vocab_size: g.vocabSize,
    hidden_size: g.hiddenSize,
    intermediate_size: g.expertHidden,
    num_hidden_layers: g.layers,
    num_attention_heads: g.heads,
    num_key_value_heads: g.kvHeads,
    head_dim: g.headDim,
    rotary_dim: g.rotaryDim,
    rope_theta: g.ropeTheta,
    num_local_experts: g.experts,
    num_experts_per_tok: g.expertsPerToken,
    rms_norm_eps: g.rmsNormEps,
    max_position_embeddings: 2048,
    hidden_act: 'silu',
    scoring_func: 'sigmoid',
    use_routing_bias: true,
    use_qk_norm: true,
    qk_norm_type: 'per_layer',
    attn_type_list: Array(g.layers).fill(1),
    tie_word_embeddings: tied,
    bos_token_id: null,
    eos_token_id: null,
  }
}

/** Scales are such that attention prefers some tokens, experts differ, and the largest logits stand out. */
function* randomTensors(model: RandomModel): Generator<TensorToWrite> {
  const { geometry: g, seed, dtype = 'BF16', tied = false } = model
  const random = new Random(seed)
  const tensor = (name: string, shape: number[], draw: () => number, as = dtype): TensorToWrite => {
    const values = new Float64Array(shape.reduce((product, size) => product * size, 1)).map(draw)
    return { name, dtype: as, shape, data: encode(values, as) }
  }
  const asMatrix = (name: string) => (storageOf(name, model) ? 'F32' : dtype)
  const matrix = (name: string, rows: number, cols: number, gain = 1) =>
    tensor(name, [rows, cols], () => (random.normal() * gain) / Math.sqrt(cols), asMatrix(name))
  const norm = (name: string, size: number, gain = 1) =>
    tensor(name, [size], () => gain * (1 + 0.2 * (random.uniform() - 0.5)))

  const { hiddenSize: C, expertHidden: F } = g
  const queries = g.heads * g.headDim
  const keys = g.kvHeads * g.headDim
  // A tied embedding is also the head: the same spread of logits from smaller rows.
  yield matrix('model.embed_tokens.weight', g.vocabSize, C, tied ? 3 : Math.sqrt(C))
  for (let layer = 0; layer < g.layers; layer++) {
    const prefix = `model.layers.${layer}`
    const attention = `${prefix}.self_attn`
    const moe = `${prefix}.block_sparse_moe`
    yield norm(`${prefix}.input_layernorm.weight`, C)
    yield matrix(`${attention}.q_proj.weight`, queries, C)
    yield matrix(`${attention}.k_proj.weight`, keys, C)
    yield matrix(`${attention}.v_proj.weight`, keys, C)
    yield matrix(`${attention}.o_proj.weight`, C, queries)
    yield norm(`${attention}.q_norm.weight`, queries, 1.5)
    yield norm(`${attention}.k_norm.weight`, keys)
    yield norm(`${prefix}.post_attention_layernorm.weight`, C)
    yield matrix(`${moe}.gate.weight`, g.experts, C, 1.5)
    yield tensor(`${moe}.e_score_correction_bias`, [g.experts], () => 0.1 * (random.uniform() - 0.5), 'F32')
    for (let expert = 0; expert < g.experts; expert++) {
      yield matrix(`${moe}.experts.${expert}.w1.weight`, F, C)
      yield matrix(`${moe}.experts.${expert}.w3.weight`, F, C)
      yield matrix(`${moe}.experts.${expert}.w2.weight`, C, F, 2)
    }
  }
  yield norm('model.norm.weight', C)
  if (!tied) yield matrix('lm_head.weight', g.vocabSize, C, 3)
}
