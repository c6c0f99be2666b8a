/** Tensors for ops that nobody looks at. */

/** Small numbers of both signs, a short pattern again and again: quick to make, and no op treats them apart. */
export function bf16(rows: number, width: number) {
  const pattern = Uint16Array.from({ length: 4093 }, (_, i) => 0x3c00 | ((i * 2654435761) & 0x80ff))
  const data = new Uint16Array(rows * width)
  for (let at = 0; at < data.length; at += pattern.length) data.set(pattern.subarray(0, data.length - at), at)
  return { data, shape: [rows, width] }
}

export function f32(rows: number, width = 0, value: (i: number) => number = () => 1) {
  const data = new Float32Array(rows * (width || 1))
  for (let i = 0; i < data.length; i++) data[i] = value(i) // many times as fast as Float32Array.from
  return { data, shape: width ? [rows, width] : [rows] }
}

export function i32(shape: number[], value: (i: number) => number = () => 0) {
  const length = shape.reduce((a, b) => a * b)
  return { data: Int32Array.from({ length }, (_, i) => value(i)), shape }
}

/** A matrix of e4m3, with a scale for each block of 128 x 128. */
const fp8 = (rows: number, cols: number) => ({
  values: { data: Uint8Array.from({ length: rows * cols }, (_, i) => (i * 37) % 0x78), shape: [rows, cols] },
  scales: f32(Math.ceil(rows / 128), Math.ceil(cols / 128), () => 0.01),
})

/** k of int4 that share a scale. */
const GROUP = 128

/** A matrix of int4, symmetric. */
const int4 = (rows: number, cols: number) => ({
  values: { data: Uint8Array.from({ length: (rows * cols) / 2 }, (_, i) => (i * 37) & 255), shape: [rows, cols / 2] },
  scales: bf16(rows, Math.ceil(cols / GROUP)),
  group: GROUP,
})

const FP8 = { bytes: 1 + 4 / 128 ** 2, rows: fp8 }
const INT4 = { bytes: 0.5 + 2 / GROUP, rows: int4 }

/**
 * What weights can be held as and rows rounded to: bytes of a weight with its share of the scales, how it is said to the ops, a matrix of them, and what
 * products multiply.
 */
export const FORMATS = {
  bf16: { name: '', bytes: 2, unit: 'bf16', held: {}, rows: (n: number, k: number) => ({ values: bf16(n, k) }) },
  fp8: { name: ', FP8', unit: 'bf16', held: { format: 'fp8' }, ...FP8 },
  int4: { name: ', int4', unit: 'bf16', held: { format: 'int4', group: GROUP }, ...INT4 },
  fp8Fp8: { name: ', FP8, rows FP8', unit: 'e4m3', held: { format: 'fp8', fp8Rows: true }, ...FP8 },
  int4Fp8: { name: ', int4, rows FP8', unit: 'e4m3', held: { format: 'int4', group: GROUP, fp8Rows: true }, ...INT4 },
} as const
export type Format = keyof typeof FORMATS
