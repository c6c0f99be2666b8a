/** Matrices as checkpoints store them in FP8 and int4, and rows as products with them may round them, for tests of what they give. */
import type { MatrixRows, WeightShape } from '../../lib/ops'
import { dequantizeFp8, e4m3Bits, fromE4m3Bits, quantizeFp8 } from '../reference/number-formats'
import { bf16, f32, type Random, toBf16, valuesOf } from './helpers'

export type Held = Pick<WeightShape, 'format' | 'group' | 'zeros'>

/** Rows as they are stored, the numbers that those are, and the bf16 that they mean. */
export interface Rows {
  stored: MatrixRows
  exact: Float64Array
  meant: MatrixRows & { values: { data: Uint16Array } }
}

export const meaning = (rows: number, k: number, values: ArrayLike<number>) => ({
  values: bf16([rows, k], toBf16(values)),
})

export function fp8Rows(random: Random, rows: number, k: number): Rows {
  const matrix = quantizeFp8(random.normals(rows * k, k ** -0.5), rows, k)
  const [down, across] = [Math.ceil(rows / 128), Math.ceil(k / 128)]
  const scales = f32([down, across], matrix.scales)
  const exact = new Float64Array(matrix.bytes).map((byte, i) => {
    const block = Math.floor(i / k / 128) * across + Math.floor((i % k) / 128)
    return fromE4m3Bits(byte) * matrix.scales[block]!
  })
  return {
    stored: { values: { data: matrix.bytes, shape: [rows, k] }, scales },
    exact,
    meant: meaning(rows, k, dequantizeFp8(matrix)),
  }
}

export function int4Rows(random: Random, rows: number, k: number, group: number, zeros: boolean): Rows {
  const groups = Math.ceil(k / group)
  const codes = Uint8Array.from({ length: rows * k }, () => random.integer(16))
  const scales = toBf16(random.normals(rows * groups, k ** -0.5 / 4)) // of both signs
  const factors = valuesOf(scales)
  const points = Uint8Array.from({ length: rows * groups }, () => (zeros ? random.integer(17) : 8))
  const values = new Float64Array(codes).map((code, i) => {
    const at = Math.floor(i / k) * groups + Math.floor((i % k) / group)
    return (code - points[at]!) * factors[at]!
  })
  const pairs = Uint8Array.from({ length: (rows * k) / 2 }, (_, i) => codes[2 * i]! | (codes[2 * i + 1]! << 4))
  return {
    stored: {
      values: { data: pairs, shape: [rows, k / 2] },
      scales: bf16([rows, groups], scales),
      ...(zeros && { zeros: { data: points, shape: [rows, groups] } }),
      group,
    },
    exact: values,
    meant: meaning(rows, k, values),
  }
}

export function rowsOf(random: Random, held: Held, rows: number, k: number): Rows {
  return held.format === 'fp8' ? fp8Rows(random, rows, k) : int4Rows(random, rows, k, held.group!, held.zeros!)
}

export const FORMATS: [string, Held][] = [
  ['FP8', { format: 'fp8' }],
  ['int4 in groups of 32', { format: 'int4', group: 32, zeros: false }],
  ['int4 in groups of 64 with zeros', { format: 'int4', group: 64, zeros: true }],
  ['int4 in groups of 128', { format: 'int4', group: 128, zeros: false }],
  ['int4 in groups of 128 with zeros', { format: 'int4', group: 128, zeros: true }],
]

/** Rows of k numbers, each 128 of which have the smallest power of 2 as their scale that brings them to at most 448. */
export function roundRows(x: ArrayLike<number>): Float64Array {
  const rounded = Float64Array.from(x)
  for (let first = 0; first < rounded.length; first += 128) {
    const block = rounded.subarray(first, first + 128)
    const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    const scale = 2 ** Math.ceil(Math.log2((largest || 1) / 448))
    for (const [i, value] of block.entries()) block[i] = fromE4m3Bits(e4m3Bits(value / scale)) * scale
  }
  return rounded
}
