/** bf16 and f16 as 16-bit patterns, in both directions, and rounding of float64 values to what bf16 can hold. */
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

/** Rounds every element to a bf16 value, in place. */
export function roundToBf16(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) {
    f32[0] = values[i]!
    const bits = u32[0]!
    u32[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
    values[i] = f32[0]!
  }
}
