/**
 * Matrices of 4-bit codes in the ways that checkpoints store them, in plain loops from the formats' descriptions: AutoAWQ's gemm layout, GPTQ (version 1
 * stores zeros less one) and compressed-tensors' pack-quantized. A weight is the bf16 next to (code - zero) * scale, of the scale's next bf16.
 */
import { bf16Bits, f16Bits, fromBf16Bits, fromF16Bits } from './number-formats'

export type Int4Form = 'awq' | 'gptq' | 'gptq_v2' | 'compressed-tensors'

export interface Int4Matrix {
  rows: number
  cols: number
  /** Columns that share a scale and a zero. */
  group: number
  codes: Uint8Array // [rows, cols] 0..15
  zeros: Uint8Array // [rows, groups] 0..16
  scales: Float64Array // [rows, groups]
}

/** How the matrices of a checkpoint are packed. */
export interface Int4Storage {
  form: Int4Form
  group: number
  symmetric: boolean
  scaleDtype: 'F16' | 'BF16' | 'F32'
}

export interface PackedTensor {
  /** Behind the matrix's own name. */
  part: string
  dtype: string
  shape: number[]
  data: Uint8Array
}

const groupsOf = (cols: number, group: number) => Math.ceil(cols / group)

/** Codes that reach all values of their group. Symmetric: zeros of 8. */
export function quantizeInt4(values: ArrayLike<number>, rows: number, cols: number, storage: Int4Storage): Int4Matrix {
  const { group, symmetric, form } = storage
  const groups = groupsOf(cols, group)
  const codes = new Uint8Array(rows * cols)
  const zeros = new Uint8Array(rows * groups).fill(8)
  const scales = new Float64Array(rows * groups)
  for (let row = 0; row < rows; row++) {
    for (let g = 0; g < groups; g++) {
      const at = row * groups + g
      const columns = Array.from({ length: Math.min(group, cols - g * group) }, (_, i) => g * group + i)
      const members = columns.map((col) => values[row * cols + col]!)
      const [least, most] = [Math.min(0, ...members), Math.max(0, ...members)]
      const scale = symmetric ? Math.max(-least, most) / 7.5 : (most - least) / 15
      scales[at] = stored(scale || 1, storage.scaleDtype)
      // Version 1 of GPTQ cannot say 0, but 16.
      const shift = form === 'gptq' ? 1 : 0
      if (!symmetric) zeros[at] = Math.min(15, Math.max(0, Math.round(-least / scales[at]!))) + shift
      for (const col of columns) {
        const code = Math.round(values[row * cols + col]! / scales[at]!) + zeros[at]!
        codes[row * cols + col] = Math.min(15, Math.max(0, code))
      }
    }
  }
  return { rows, cols, group, codes, zeros, scales }
}

export function dequantizeInt4({ rows, cols, group, codes, zeros, scales }: Int4Matrix): Float64Array {
  const values = new Float64Array(rows * cols)
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const at = row * groupsOf(cols, group) + Math.floor(col / group)
      const scale = fromBf16Bits(bf16Bits(scales[at]!))
      const product = (codes[row * cols + col]! - zeros[at]!) * scale
      values[row * cols + col] = fromBf16Bits(bf16Bits(product))
    }
  }
  return values
}

interface Slot {
  word: number
  nibble: number
}

/** Which row of eight stands in each nibble of AWQ's words. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]

function codeSlot(form: Int4Form, row: number, col: number, rows: number, cols: number): Slot {
  if (form === 'awq') return { word: col * (rows / 8) + Math.floor(row / 8), nibble: AWQ_ORDER.indexOf(row % 8) }
  if (form === 'compressed-tensors') return { word: row * (cols / 8) + Math.floor(col / 8), nibble: col % 8 }
  return { word: Math.floor(col / 8) * rows + row, nibble: col % 8 }
}

function zeroSlot(form: Int4Form, row: number, g: number, rows: number, groups: number): Slot {
  if (form === 'awq') return { word: g * (rows / 8) + Math.floor(row / 8), nibble: AWQ_ORDER.indexOf(row % 8) }
  if (form === 'compressed-tensors') return { word: Math.floor(row / 8) * groups + g, nibble: row % 8 }
  return { word: g * (rows / 8) + Math.floor(row / 8), nibble: row % 8 }
}

function scaleSlot(form: Int4Form, row: number, g: number, rows: number, groups: number): number {
  return form === 'compressed-tensors' ? row * groups + g : g * rows + row
}

const storedLess = (form: Int4Form) => (form === 'gptq' ? 1 : 0)

export function packInt4(matrix: Int4Matrix, { form, symmetric, scaleDtype }: Int4Storage): PackedTensor[] {
  const { rows, cols, group } = matrix
  const groups = groupsOf(cols, group)
  const words = new Uint32Array((rows * cols) / 8)
  const zeros = new Uint32Array(Math.ceil(rows / 8) * groups)
  const scales = new Float64Array(rows * groups)
  const put = (to: Uint32Array, { word, nibble }: Slot, value: number) => {
    to[word] = to[word]! | (value << (4 * nibble))
  }
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++)
      put(words, codeSlot(form, row, col, rows, cols), matrix.codes[row * cols + col]!)
    for (let g = 0; g < groups; g++) {
      put(zeros, zeroSlot(form, row, g, rows, groups), matrix.zeros[row * groups + g]! - storedLess(form))
      scales[scaleSlot(form, row, g, rows, groups)] = matrix.scales[row * groups + g]!
    }
  }
  const i32 = (part: string, shape: number[], data: Uint32Array | Int32Array) => {
    return { part, dtype: 'I32', shape, data: new Uint8Array(data.buffer) }
  }
  const numbers = (part: string, shape: number[]) => ({
    part,
    dtype: scaleDtype,
    shape,
    data: encodeScales(scales, scaleDtype),
  })
  if (form === 'compressed-tensors') {
    const shape = new Uint8Array(BigInt64Array.from([rows, cols].map(BigInt)).buffer)
    return [
      i32('weight_packed', [rows, cols / 8], words),
      numbers('weight_scale', [rows, groups]),
      ...(symmetric ? [] : [i32('weight_zero_point', [Math.ceil(rows / 8), groups], zeros)]),
      { part: 'weight_shape', dtype: 'I64', shape: [2], data: shape },
    ]
  }
  const index = Int32Array.from({ length: cols }, (_, col) => Math.floor(col / group))
  return [
    i32('qweight', form === 'awq' ? [cols, rows / 8] : [cols / 8, rows], words),
    i32('qzeros', [groups, rows / 8], zeros),
    numbers('scales', [groups, rows]),
    ...(form === 'awq' ? [] : [i32('g_idx', [cols], index)]),
  ]
}

/** From the tensors that `packInt4` makes, by their part. */
export function unpackInt4(
  parts: ReadonlyMap<string, Omit<PackedTensor, 'part'>>,
  { form, group }: Pick<Int4Storage, 'form' | 'group'>,
): Int4Matrix {
  const compressed = form === 'compressed-tensors'
  const values = parts.get(compressed ? 'weight_packed' : 'qweight')!
  const scales = parts.get(compressed ? 'weight_scale' : 'scales')!
  const zeros = parts.get(compressed ? 'weight_zero_point' : 'qzeros')
  const [first, second] = values.shape as [number, number]
  const [rows, cols] = { awq: [8 * second, first], 'compressed-tensors': [first, 8 * second] }[form as string] ?? [
    second,
    8 * first,
  ]
  const groups = groupsOf(cols!, group)
  const matrix: Int4Matrix = {
    ...{ rows: rows!, cols: cols!, group, codes: new Uint8Array(rows! * cols!) },
    ...{ zeros: new Uint8Array(rows! * groups).fill(8), scales: new Float64Array(rows! * groups) },
  }
  const decoded = decodeScales(scales.data, scales.dtype)
  const words = new Uint32Array(values.data.buffer)
  const zeroWords = zeros && new Uint32Array(zeros.data.buffer)
  const take = (from: Uint32Array, { word, nibble }: Slot) => (from[word]! >>> (4 * nibble)) & 15
  for (let row = 0; row < rows!; row++) {
    for (let col = 0; col < cols!; col++)
      matrix.codes[row * cols! + col] = take(words, codeSlot(form, row, col, rows!, cols!))
    for (let g = 0; g < groups; g++) {
      matrix.scales[row * groups + g] = decoded[scaleSlot(form, row, g, rows!, groups)]!
      if (zeroWords)
        matrix.zeros[row * groups + g] = take(zeroWords, zeroSlot(form, row, g, rows!, groups)) + storedLess(form)
    }
  }
  return matrix
}

/** The quantization_config that goes with it. */
export function int4Config({ form, group, symmetric }: Int4Storage): Record<string, unknown> {
  const common = { bits: 4, group_size: group }
  if (form === 'awq') return { quant_method: 'awq', ...common, version: 'gemm', zero_point: !symmetric }
  if (form !== 'compressed-tensors') {
    return { quant_method: 'gptq', ...common, desc_act: false, sym: symmetric, checkpoint_format: form }
  }
  const weights = { num_bits: 4, type: 'int', strategy: 'group', group_size: group, symmetric, actorder: null }
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    config_groups: { group_0: { targets: ['Linear'], weights, input_activations: null } },
    ignore: ['lm_head', 're:.*gate$'],
  }
}

function stored(value: number, dtype: Int4Storage['scaleDtype']): number {
  if (dtype === 'F32') return Math.fround(value)
  return dtype === 'F16' ? fromF16Bits(f16Bits(value)) : fromBf16Bits(bf16Bits(value))
}

function encodeScales(values: Float64Array, dtype: Int4Storage['scaleDtype']): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(Float32Array.from(values).buffer)
  return new Uint8Array(new Uint16Array(values.map(dtype === 'F16' ? f16Bits : bf16Bits)).buffer)
}

function decodeScales(bytes: Uint8Array, dtype: string): Float64Array {
  if (dtype === 'F32') return Float64Array.from(new Float32Array(bytes.buffer))
  return new Float64Array(new Uint16Array(bytes.buffer)).map(dtype === 'F16' ? fromF16Bits : fromBf16Bits)
}
