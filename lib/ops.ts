/**
 * The ops door, for tests and benches: every op of the core's Backend as a synchronous function over typed arrays, with the args records of
 * csrc/core/ops.h in camelCase. Bf16 travels as Uint16Array. Everything is copied in; outputs are copied in too (what an op leaves alone keeps its
 * bytes) and back out. Every op returns the microseconds that it took itself, copies not counted.
 */
import { type NativeModule, native } from './native'

type TypedArray = Float32Array | Uint16Array | Int32Array

/** Row-major data with its sizes. Float32Array is f32, Uint16Array bf16 (or f16 where `dtype` says so), Int32Array i32. */
export interface Tensor<T extends TypedArray = TypedArray> {
  data: T
  shape: readonly number[]
  dtype?: 'f16'
}
export type F32 = Tensor<Float32Array>
export type Bf16 = Tensor<Uint16Array>
export type I32 = Tensor<Int32Array>

/** A weight in the backend's own layout. */
export interface PackedWeight {
  readonly handle: 'weight'
}
/** A paged KV cache in device memory. */
export interface KvCache {
  readonly handle: 'kv'
}

export interface WeightShape {
  experts: number
  n: number // rows: 2F for gateUp
  k: number
  layout: 'rows' | 'gateUp'
}

export interface KvShape {
  dtype: 'f32' | 'bf16'
  pages: number
  layers: number
  heads: number
  pageSize: number
  headDim: number
}

/** The tokens a row has seen, each [V]. */
export interface TokenHistory {
  generatedCounts: Int32Array
  inPrompt: Uint8Array
}

export interface Ops {
  readonly device: string
  readonly description: string

  allocateWeight(shape: WeightShape): PackedWeight
  /** Fills rows of one expert, from `firstRow` on, with source [rows, k]. */
  pack(
    weight: PackedWeight,
    expert: number,
    firstRow: number,
    from: { source: Tensor<Float32Array | Uint16Array> },
  ): void

  /** Uninitialised, laid out [P][L][K|V][Hk][S][D]. */
  createKv(shape: KvShape): KvCache
  writeKv(kv: KvCache, whole: { data: F32 | Bf16 }): void
  readKv(kv: KvCache, whole: { data: F32 | Bf16 }): void

  embed(args: { tokenIds: I32; table: Bf16; out: F32 }): number
  rmsNorm(args: { x: F32; rows?: I32; weight: F32; eps: number; out: F32; outBf16?: Bf16 }): number
  linear(args: { x: F32; weight: PackedWeight; out: F32; accumulate?: boolean }): number
  qkNormRopeStore(args: {
    qkv: F32
    qWeight: F32
    kWeight: F32
    eps: number
    positions: I32
    rope: F32
    slotMapping: I32
    kv: KvCache
    layer: number
    q: F32
  }): number
  attention(args: {
    q: F32
    kv: KvCache
    layer: number
    pageTables: I32
    rows: I32
    cuSeqlensQ: I32
    contextLens: I32
    scale: number
    out: F32
  }): number
  route(args: { x: F32; gate: F32; bias: F32; expertIds: I32; weights: F32 }): number
  permute(args: { expertIds: I32; offsets: I32; source: I32; target: I32 }): number
  groupedGateUp(args: { x: Bf16; source: I32; offsets: I32; weight: PackedWeight; out: Bf16 }): number
  groupedLinear(args: { x: Bf16; offsets: I32; weight: PackedWeight; out: F32 }): number
  unpermute(args: { y: F32; target: I32; weights: F32; out: F32 }): number
  /** `samplingFloats` and `samplingInts`: the columns SAMPLING_FLOATS and SAMPLING_INTS of lib/native, a row per row of logits. */
  sample(args: {
    logits: F32
    samplingFloats: Float32Array
    samplingInts: Int32Array
    banned?: I32
    histories?: readonly (TokenHistory | null)[]
    biasOffsets?: I32
    biasIds?: I32
    biasValues?: F32
    maskIndex?: I32
    maskBits?: I32
    ids: I32
    logprobs?: F32
    topIds?: I32
    topLogprobs?: F32
  }): number
}

/** The ops of a backend of its own. `threads`: 0 for the number of physical cores. */
export function createOps(device: string, threads: number): Ops {
  return (native() as NativeModule & { createOps(device: string, threads: number): Ops }).createOps(device, threads)
}

/** How much was done, in bytes or operations, and how long it took. */
export interface Work {
  amount: number
  microseconds: number
}

/** What the processor does at best, all threads together. */
export interface Ceilings {
  /** Reads memory once from end to end. */
  read(): Work
  /** Repeats the instruction of dense products, on registers. */
  multiplyF32(): Work
  /** Repeats the instruction of the experts' products, on registers. */
  multiplyBf16(): Work
}

/** The ceilings of the CPU. `threads`: 0 for the number of physical cores; `bytes`: what one read reads, more than the caches hold. */
export function createCeilings(threads: number, bytes: number): Ceilings {
  const door = native() as NativeModule & { createCeilings(threads: number, bytes: number): Ceilings }
  return door.createCeilings(threads, bytes)
}

/** A packed weight from a whole row-major source [experts, n, k]. */
export function packWeight(ops: Ops, shape: WeightShape, source: Tensor<Float32Array | Uint16Array>): PackedWeight {
  const weight = ops.allocateWeight(shape)
  const { experts, n, k } = shape
  for (let e = 0; e < experts; e++) {
    const data = source.data.subarray(e * n * k, (e + 1) * n * k)
    ops.pack(weight, e, 0, { source: { ...source, data, shape: [n, k] } })
  }
  return weight
}
