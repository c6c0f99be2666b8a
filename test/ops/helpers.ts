/** What the op tests share: seeded random arrays, bf16 as numbers, tensors, error measures, and a backend per instruction set and thread count. */
import { expect } from 'vitest'
import { type Bf16, createOps, type F32, type I32, type Ops } from '../../lib/ops'
import { bf16Bits, fromBf16Bits } from '../reference/number-formats'
import { Random as Generator } from '../reference/random'

export type Numbers = ArrayLike<number>

export class Random extends Generator {
  /** n standard normal numbers times `scale` plus `mean`, as f32. */
  normals(n: number, scale = 1, mean = 0): Float32Array {
    return Float32Array.from({ length: n }, () => mean + scale * this.normal())
  }

  shuffled(n: number): number[] {
    const out = Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(i + 1)
      ;[out[i], out[j]] = [out[j]!, out[i]!]
    }
    return out
  }
}

/** x rounded to bf16. */
export const round = (x: number): number => fromBf16Bits(bf16Bits(x))

export const toBf16 = (values: Numbers): Uint16Array =>
  Uint16Array.from({ length: values.length }, (_, i) => bf16Bits(values[i]!))
/** The values of a tensor's data, whatever its dtype. */
export const valuesOf = (data: Float32Array | Uint16Array): Float64Array =>
  data instanceof Uint16Array ? Float64Array.from(data, fromBf16Bits) : Float64Array.from(data)

const product = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
/** Without data: poisoned, NaN or a number no op gives. */
export const f32 = (shape: number[], data?: Float32Array): F32 => ({
  data: data ?? new Float32Array(product(shape)).fill(Number.NaN),
  shape,
})
export const bf16 = (shape: number[], data?: Uint16Array): Bf16 => ({
  data: data ?? new Uint16Array(product(shape)).fill(0x7fc0),
  shape,
})
export const i32 = (shape: number[], data?: Int32Array | number[]): I32 => ({
  data: Int32Array.from(data ?? new Array(product(shape)).fill(-123456789)),
  shape,
})

/** Relative Frobenius error; NaN when `got` holds one. */
export function frobenius(got: Numbers, truth: Numbers): number {
  expect(got.length).toBe(truth.length)
  let difference = 0
  let size = 0
  for (let i = 0; i < truth.length; i++) {
    difference += (got[i]! - truth[i]!) ** 2
    size += truth[i]! ** 2
  }
  return difference === 0 ? 0 : Math.sqrt(difference / size)
}

/**
 * For results in f32. Rounding a partial sum is off by about 2.5e-8 of it; over K random terms, one after another, that grows to 2.5e-8 sqrt(K / 2) of
 * the sum: 6e-7 at K = 1056, less in any better order.
 */
export function expectF32Accurate(got: Numbers, truth: Numbers, bound = 1e-6): void {
  expect(frobenius(got, truth)).toBeLessThanOrEqual(bound)
}

/** For results in bf16: at most twice the error of the same maths where every input, intermediate and output is bf16. */
export function expectWithinTwiceNaive(got: Numbers, truth: Numbers, naive: Numbers): void {
  expect(frobenius(got, truth)).toBeLessThanOrEqual(2 * frobenius(naive, truth))
}

export const bytesOf = (data: ArrayBufferView): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
export function expectSameBytes(a: ArrayBufferView, b: ArrayBufferView): void {
  expect(bytesOf(a).equals(bytesOf(b)), 'the same bytes').toBe(true)
}

const cache = new Map<string, Ops>()
/** The CPU backend of one instruction set (avx512, avx2, plain) and thread count. */
export function opsFor(isa: string, threads = 2): Ops {
  const key = `${isa} ${threads}`
  const known = cache.get(key)
  if (known) return known
  process.env.M2_CPU_ISA = isa
  try {
    const ops = createOps('cpu', threads)
    cache.set(key, ops)
    return ops
  } finally {
    delete process.env.M2_CPU_ISA
  }
}

/** The instruction sets of this machine. Plain code is always there. */
export const ISAS = ['avx512', 'avx2', 'plain'].filter((isa) => {
  try {
    return isa === 'plain' || opsFor(isa)
  } catch (error) {
    if ((error as { code?: string }).code === 'DEVICE_UNAVAILABLE') return false
    throw error
  }
})
export const THREADS = [1, 2, 3]

/** A value computed at first use and kept. */
export function once<T>(compute: () => T): () => T {
  let kept: { value: T } | undefined
  return () => {
    kept ??= { value: compute() }
    return kept.value
  }
}
