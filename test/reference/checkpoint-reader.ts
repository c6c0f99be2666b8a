/** Reads a checkpoint folder into float64 arrays: short, trusting, and sharing nothing with lib/model or csrc. */
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
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
  const tensors = decodeAll(names.flatMap((name) => readFile(path.join(dir, name))))
  return { config: json('config.json'), tensors }
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

/** FP8 matrices with the scales that their own tensors hold. */
function decodeAll(stored: readonly Stored[]): Map<string, Float64Array> {
  const scales = new Map(stored.flatMap(([name, , bytes]) => (name.endsWith(SCALES) ? [[name, bytes]] : [])))
  return new Map(
    stored.map(([name, { dtype, shape }, bytes]) => {
      if (dtype !== 'F8_E4M3') return [name, decode(bytes, dtype)]
      const [rows, cols] = shape as [number, number]
      return [name, dequantizeFp8({ rows, cols, bytes, scales: new Float32Array(scales.get(name + SCALES)!.buffer) })]
    }),
  )
}

function decode(bytes: Uint8Array, dtype: string): Float64Array {
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes.buffer))
  return Float64Array.from(new Uint16Array(bytes.buffer), dtype === 'BF16' ? fromBf16Bits : fromF16Bits)
}
