/** What the op tests share: seeded random arrays, bf16 as numbers, tensors, error measures, and the devices that ops run on. */
import { expect } from 'vitest'
import { type Act, type Bf16, createOps, type F32, type I32, type KvShape, type Ops, type Tensor } from '../../lib/ops'
import { GPUS, isAsked, isThere } from '../devices'
import { bf16Bits, e4m3Bits, fromBf16Bits } from '../reference/number-formats'
import { Random as Generator } from '../reference/random'

export type Numbers = ArrayLike<number>

export class Random extends Generator {
  /** n standard normal numbers times `scale` plus `mean`, as f32. */
  normals(n: number, scale = 1, mean = 0): Float32Array {
    return new Float32Array(n).map(() => mean + scale * this.normal())
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

export const toBf16 = (values: Numbers): Uint16Array => new Uint16Array(new Float64Array(values).map(bf16Bits))
/** What an FP8 cache keeps of x. */
export const toE4m3 = (x: number, scale: number): number => e4m3Bits(Math.fround(x / scale))
/** The values of a tensor's data, whatever its dtype. */
export const valuesOf = (data: Float32Array | Uint16Array): Float64Array =>
  data instanceof Uint16Array ? new Float64Array(data).map(fromBf16Bits) : new Float64Array(data)

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
/** Bytes of e4m3. */
export const f8 = (shape: number[], data?: Uint8Array): Tensor<Uint8Array> => ({
  data: data ?? new Uint8Array(product(shape)).fill(0x7f),
  shape,
})
/** A poisoned KV cache of any element type. */
export const kvOf = (dtype: KvShape['dtype'], shape: number[]) =>
  dtype === 'f32' ? f32(shape) : dtype === 'bf16' ? bf16(shape) : f8(shape)
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

const CPU_ISAS = ['avx512', 'avx2', 'plain'] as const
const isIsa = (device: string): boolean => (CPU_ISAS as readonly string[]).includes(device)

const cache = new Map<string, Ops>()
/** The backend of a device: an instruction set of the CPU with so many threads, "emulated" or "cuda". */
export function opsFor(device: string, threads = 2): Ops {
  const key = isIsa(device) ? `${device} ${threads}` : device
  const known = cache.get(key)
  if (known) return known
  if (isIsa(device)) process.env.M2_CPU_ISA = device
  try {
    const ops = createOps(isIsa(device) ? 'cpu' : device, threads)
    cache.set(key, ops)
    return ops
  } finally {
    delete process.env.M2_CPU_ISA
  }
}

/** What the op tests run on: the instruction sets of this machine (plain code is always there), the emulated GPU, and a GPU where there is one. */
export const DEVICES = [
  ...CPU_ISAS.filter((isa) => isAsked('cpu') && (isa === 'plain' || isThere(() => opsFor(isa)))),
  ...GPUS,
]
/** Numbers of threads that must not matter; a GPU has none. */
export const threadsOf = (device: string): number[] => (isIsa(device) ? [1, 2, 3] : [1])

/** Values as a device takes them: its activations may be bf16. */
export function taken(device: string, values: Float32Array): Float32Array {
  return opsFor(device).activations === 'bf16' ? values.map(round) : values
}
/** A tensor of a device's activations, of values that it can hold; poisoned without. */
export function activations(device: string, shape: number[], values?: Float32Array): Act {
  if (opsFor(device).activations === 'f32') return f32(shape, values)
  return bf16(shape, values && toBf16(values))
}

/**
 * For sums in f32 over K of a device's activations. Tensor cores cut off, where they add the products of one instruction, what lies below the largest
 * by some 24 bits, and so err more than rounding does, and to one side.
 */
export function expectSums(device: string, got: Numbers, truth: Numbers, k: number): void {
  expectF32Accurate(got, truth, device === 'cuda' ? 1e-5 : Math.max(1e-6, 4e-8 * Math.sqrt(k / 2)))
}

/**
 * For results in a device's activations. Where those are f32 as `expectF32Accurate`; where they are bf16 at most twice the error of the same maths
 * in naive bf16, `naive`.
 */
export function expectAccurate(device: string, got: Act, truth: Numbers, naive: () => Numbers, bound?: number): void {
  if (opsFor(device).activations === 'f32') expectF32Accurate(valuesOf(got.data), truth, bound)
  else expectWithinTwiceNaive(valuesOf(got.data), truth, naive())
}

/** A value computed at first use and kept. */
export function once<T>(compute: () => T): () => T {
  let kept: { value: T } | undefined
  return () => {
    kept ??= { value: compute() }
    return kept.value
  }
}
