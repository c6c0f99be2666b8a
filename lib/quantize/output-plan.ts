/**
 * What a quantised checkpoint is: its files, the tensors in them and where each begins. The format is compressed-tensors' "pack-quantized", which other
 * engines load too: of a matrix X.weight of an expert
 *
 *   X.weight_packed  [n, k / 8] I32    eight codes to a word, the first in the lowest bits
 *   X.weight_scale   [n, groups] BF16  a weight is (code - 8) * scale
 *   X.weight_shape   [2] I64           n and k
 *
 * All other tensors stay as they are, but that matrices in FP8 become the bf16 that they mean: the format has no FP8 beside int4.
 */
import type { Checkpoint } from '../model/checkpoint'
import { DTYPE_BYTES, encodeSafetensorsHeader } from '../model/safetensors'
import { FORMS, SHARD_ACTIONS, type Shard, type ShardAction, TENSOR_KINDS, type TensorTable } from '../native'

/** k that share a scale: csrc/model/quantize.h. */
export const GROUP = 128
const EXPERT_KINDS: readonly string[] = ['w1', 'w3', 'w2']

interface Entry {
  name: string
  dtype: string
  shape: number[]
  bytes: number
}

export interface OutputTensor {
  /** Index into the table of the source. */
  source: number
  action: ShardAction
  /** What it becomes: the tensor, or its codes, scales and shape. */
  entries: Entry[]
}

export interface OutputFile {
  name: string
  /** Without its path. */
  shard: Omit<Shard, 'path'>
  tensors: OutputTensor[]
  /** Of the whole file, and of all tensors in it. */
  bytes: number
  tensorBytes: number
}

/** @param shardBytes that the tensors of a file have at most, unless one alone has more */
export function planOutput(table: TensorTable, checkpoint: Checkpoint, shardBytes: number): OutputFile[] {
  const parts: OutputTensor[][] = [[]]
  let bytes = 0
  for (const tensor of outputTensors(table, checkpoint)) {
    const more = bytesOf(tensor.entries)
    if (bytes > 0 && bytes + more > shardBytes) {
      parts.push([])
      bytes = 0
    }
    parts.at(-1)!.push(tensor)
    bytes += more
  }
  const number = (i: number) => `${i}`.padStart(5, '0')
  const nameOf = (i: number) =>
    parts.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(parts.length)}.safetensors`
  return parts.map((tensors, i) => outputFile(nameOf(i), tensors))
}

function* outputTensors(table: TensorTable, { tensors }: Checkpoint): Generator<OutputTensor> {
  const done = new Set<string>()
  for (const [i, name] of table.names.entries()) {
    if (done.has(name)) continue // a tied head is its embedding
    done.add(name)
    const [rows, cols] = [table.rows[i]!, table.cols[i]!]
    if (EXPERT_KINDS.includes(TENSOR_KINDS[table.kind[i]!]!)) {
      const entries = [
        entry(`${name}_packed`, 'I32', [rows, cols / 8]),
        entry(`${name}_scale`, 'BF16', [rows, Math.ceil(cols / GROUP)]),
        entry(`${name}_shape`, 'I64', [2]),
      ]
      yield { source: i, action: 'int4', entries }
      continue
    }
    const form = FORMS[table.form[i]!]!
    const isFp8 = form === 'F8_E4M3'
    const shape = tensors.get(name)!.shape
    yield { source: i, action: isFp8 ? 'bf16' : 'copy', entries: [entry(name, isFp8 ? 'BF16' : form, shape)] }
  }
}

function entry(name: string, dtype: string, shape: number[]): Entry {
  return { name, dtype, shape, bytes: shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES.get(dtype)! }
}

const bytesOf = (entries: readonly Entry[]): number => entries.reduce((sum, { bytes }) => sum + bytes, 0)

function outputFile(name: string, tensors: OutputTensor[]): OutputFile {
  // Elements of 8 bytes first, then of 4 and 2: so each tensor begins at a multiple of its own.
  const sizeOf = ({ dtype }: Entry) => DTYPE_BYTES.get(dtype)!
  const entries = tensors.flatMap((tensor) => tensor.entries).sort((a, b) => sizeOf(b) - sizeOf(a))
  const header = encodeSafetensorsHeader(entries, { format: 'pt' })
  const offsets = new Map<Entry, number>()
  let end = header.length
  for (const one of entries) {
    offsets.set(one, end)
    end += one.bytes
  }
  return {
    name,
    shard: {
      header,
      sources: Int32Array.from(tensors, ({ source }) => source),
      actions: Int32Array.from(tensors, ({ action }) => SHARD_ACTIONS.indexOf(action)),
      offsets: Float64Array.from(
        tensors.flatMap((tensor) => [0, 1, 2].map((i) => offsets.get(tensor.entries[i]!) ?? 0)),
      ),
    },
    tensors,
    bytes: end,
    tensorBytes: end - header.length,
  }
}

/** The text of model.safetensors.index.json; null for a single file. */
export function indexOf(files: readonly OutputFile[]): string | null {
  if (files.length === 1) return null
  const names = files.flatMap(({ name, tensors }) =>
    tensors.flatMap(({ entries }) => entries.map((tensor) => [tensor.name, name] as const)),
  )
  const total = files.reduce((sum, { tensorBytes }) => sum + tensorBytes, 0)
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: Object.fromEntries(names) }, null, 2)}\n`
}

/** As compressed-tensors writes it: linear layers are quantised, but for these. */
export const QUANTIZATION_CONFIG = {
  quant_method: 'compressed-tensors',
  format: 'pack-quantized',
  quantization_status: 'compressed',
  config_groups: {
    group_0: {
      targets: ['Linear'],
      weights: {
        num_bits: 4,
        type: 'int',
        symmetric: true,
        strategy: 'group',
        group_size: GROUP,
        dynamic: false,
        actorder: null,
      },
      input_activations: null,
      output_activations: null,
    },
  },
  ignore: ['lm_head', 're:.*self_attn.*', 're:.*block_sparse_moe\\.gate$'],
  kv_cache_scheme: null,
}
