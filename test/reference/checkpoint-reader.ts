/** Reads a checkpoint folder into float64 arrays: short, trusting, and sharing nothing with lib/model or csrc. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { dequantizeInt4, type Int4Form, unpackInt4 } from './int4-formats'
import { dequantizeFp8, fromBf16Bits, fromF16Bits } from './number-formats'

export interface ReferenceCheckpoint {
  /** config.json as it stands in the file. */
  config: Record<string, number> & { tie_word_embeddings: boolean }
  tensors: Map<string, Float64Array>
}

export function readCheckpoint(dir: string): ReferenceCheckpoint {
  const json = (name: string) => JSON.parse(readFileSync(path.join(dir, name), 'utf8'))
  const index = 'model.safetensors.index.json'
  const names: string[] = existsSync(path.join(dir, index))
    ? [...new Set(Object.values<string>(json(index).weight_map))]
    : ['model.safetensors']
  const config = json('config.json')
  const tensors = decodeAll(
    names.flatMap((name) => readFile(path.join(dir, name))),
    config.quantization_config,
  )
  return { config, tensors }
}

interface HeaderEntry {
  dtype: string
  shape: number[]
  data_offsets: [number, number]
}
type Stored = [name: string, entry: HeaderEntry, bytes: Uint8Array]
const SCALES = '_scale_inv'

function readFile(file: string): Stored[] {
  const bytes = readFileSync(file)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start))
  delete header.__metadata__
  const bytesOf = ({ data_offsets: [begin, end] }: HeaderEntry) =>
    new Uint8Array(bytes.subarray(start + begin, start + end))
  return Object.entries<HeaderEntry>(header).map(([name, entry]) => [name, entry, bytesOf(entry)])
}

// biome-ignore lint/suspicious/noExplicitAny: JSON as it stands in the file
type Json = any

/** Quantised matrices with the scales that their own tensors hold, under the names that they have elsewhere. */
function decodeAll(stored: readonly Stored[], quantization: Json): Map<string, Float64Array> {
  const all = new Map(stored.map(([name, entry, data]) => [name, { ...entry, data }]))
  const decoded = new Map<string, Float64Array>()
  for (const [name, { dtype, shape, data }] of all) {
    const packed = /^(.*\.)(qweight|weight_packed)$/.exec(name)
    if (packed) {
      const prefix = packed[1]!
      const parts = [...all]
        .filter(([other]) => other.startsWith(prefix))
        .map(([other, tensor]) => [other.slice(prefix.length), tensor] as const)
      decoded.set(`${prefix}weight`, dequantizeInt4(unpackInt4(new Map(parts), storageOf(quantization))))
    } else if (dtype === 'F8_E4M3') {
      const [rows, cols] = shape as [number, number]
      const scales = new Float32Array(all.get(name + SCALES)!.data.buffer)
      decoded.set(name, dequantizeFp8({ rows, cols, bytes: data, scales }))
    } else if (/^(F32|F16|BF16)$/.test(dtype)) {
      decoded.set(name, decode(data, dtype))
    }
  }
  return decoded
}

function storageOf({ quant_method: method, ...fields }: Json): { form: Int4Form; group: number } {
  if (method === 'compressed-tensors') return { form: method, group: fields.config_groups.group_0.weights.group_size }
  return { form: method === 'gptq' ? fields.checkpoint_format : method, group: fields.group_size }
}

function decode(bytes: Uint8Array, dtype: string): Float64Array {
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes.buffer))
  return Float64Array.from(new Uint16Array(bytes.buffer), dtype === 'BF16' ? fromBf16Bits : fromF16Bits)
}
