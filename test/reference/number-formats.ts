/** bf16, f16 and e4m3 as bit patterns, in both directions, and rounding of float64 values to what bf16 can hold. */
const f32 = new Float32Array(1)
const u32 = new Uint32Array(f32.buffer)

/** Round to nearest, ties to even. */
export function bf16Bits(value: number): number {
  f32[0] = value
  const bits = u32[0]!
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16
}

export function fromBf16Bits(bits: number): number {
  u32[0] = bits << 16
  return f32[0]!
}

/** Finite values of the normal and subnormal range; nearest, ties to even. */
export function f16Bits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const size = Math.abs(value)
  const exponent = size < 2 ** -14 ? -14 : Math.floor(Math.log2(size))
  const steps = size / 2 ** (exponent - 10)
  const floor = Math.floor(steps)
  const half = steps - floor
  const mantissa = floor + (half > 0.5 || (half === 0.5 && floor % 2 === 1) ? 1 : 0)
  // A mantissa of 2048 carries into the exponent by itself; below 1024 the value is subnormal.
  return sign | (mantissa < 1024 ? mantissa : ((exponent + 15) << 10) + mantissa - 1024)
}

export function fromF16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const mantissa = bits & 1023
  return sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25))
}

/** Nearest, ties to even, of at most 448; NaN stays NaN. */
export function e4m3Bits(value: number): number {
  if (Number.isNaN(value)) return 0x7f
  const size = Math.min(Math.abs(value), 448)
  f32[0] = size // which may round up to the next power of 2, as steps would below
  const exponent = Math.max((u32[0]! >>> 23) - 127, -6)
  const steps = size / E4M3_STEPS[exponent + 6]!
  const floor = Math.floor(steps)
  const half = steps - floor
  const mantissa = floor + (half > 0.5 || (half === 0.5 && floor % 2 === 1) ? 1 : 0)
  // As in f16Bits; a mantissa of 16 carries.
  return (
    (value < 0 || Object.is(value, -0) ? 0x80 : 0) | (mantissa < 8 ? mantissa : ((exponent + 7) << 3) + mantissa - 8)
  )
}

export const fromE4m3Bits = (bits: number): number => E4M3[bits]!

/** Between neighbours of e4m3, from the smallest exponent on. */
const E4M3_STEPS = Array.from({ length: 15 }, (_, i) => 2 ** (i - 9))

const E4M3 = Float64Array.from({ length: 256 }, (_, bits) => {
  const sign = bits & 0x80 ? -1 : 1
  const exponent = (bits >>> 3) & 15
  const mantissa = bits & 7
  if (exponent === 15 && mantissa === 7) return Number.NaN
  return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10))
})

/** An FP8 matrix: bytes of e4m3, and a scale for each block of 128 x 128 [ceil(rows / 128), ceil(cols / 128)]. */
export interface Fp8Matrix {
  rows: number
  cols: number
  bytes: Uint8Array
  scales: Float32Array
}

const BLOCK = 128
const blocksOf = (size: number) => Math.ceil(size / BLOCK)
/** Which block element `i` of a row-major matrix is in. */
const blockOf = (i: number, cols: number) =>
  Math.floor(i / cols / BLOCK) * blocksOf(cols) + Math.floor((i % cols) / BLOCK)

/** Scaled so that the largest of each block is the largest of e4m3. */
export function quantizeFp8(values: ArrayLike<number>, rows: number, cols: number): Fp8Matrix {
  const scales = new Float32Array(blocksOf(rows) * blocksOf(cols))
  for (let i = 0; i < rows * cols; i++) {
    const block = blockOf(i, cols)
    scales[block] = Math.max(scales[block]!, Math.abs(values[i]!) / 448)
  }
  const bytes = Uint8Array.from({ length: rows * cols }, (_, i) => e4m3Bits(values[i]! / scales[blockOf(i, cols)]!))
  return { rows, cols, bytes, scales }
}

export function dequantizeFp8({ bytes, scales, cols }: Fp8Matrix): Float64Array {
  return new Float64Array(bytes).map((bits, i) => fromE4m3Bits(bits) * scales[blockOf(i, cols)]!)
}

/** Rounds every element to a bf16 value, in place. */
export function roundToBf16(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) {
    f32[0] = values[i]!
    const bits = u32[0]!
    u32[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
    values[i] = f32[0]!
  }
}
