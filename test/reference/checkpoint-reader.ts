/** Reads a checkpoint folder into float64 arrays: short, trusting, and sharing nothing with lib/model or csrc. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fromBf16Bits, fromF16Bits } from './number-formats'

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
  const tensors = new Map(names.flatMap((name) => readFile(path.join(dir, name))))
  return { config: json('config.json'), tensors }
}

function readFile(file: string): [string, Float64Array][] {
  const bytes = readFileSync(file)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start))
  delete header.__metadata__
  return Object.entries<{ dtype: string; data_offsets: [number, number] }>(header).map(([name, entry]) => {
    const [begin, end] = entry.data_offsets
    return [name, decode(new Uint8Array(bytes.subarray(start + begin, start + end)), entry.dtype)]
  })
}

function decode(bytes: Uint8Array, dtype: string): Float64Array {
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes.buffer))
  return Float64Array.from(new Uint16Array(bytes.buffer), dtype === 'BF16' ? fromBf16Bits : fromF16Bits)
}
