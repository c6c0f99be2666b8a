/**
 * The ops door, for tests and benches: every op of the core's Backend as a synchronous function over typed arrays, with the args records of
 * csrc/core/ops.h in camelCase. Bf16 travels as Uint16Array. Everything is copied in; outputs are copied in too (what an op leaves alone keeps its
 * bytes) and back out. Every op returns the microseconds that it took itself, copies not counted.
 */
import { type NativeModule, native } from './native'

type TypedArray = Float32Array | Uint16Array | Int32Array | Uint8Array

/** Row-major data with its sizes. Float32Array is f32, Uint16Array bf16 (or f16 where `dtype` says so), Int32Array i32, Uint8Array e4m3 or what is said. */
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
  format?: 'bf16' | 'fp8' | 'int4' // default bf16
  group?: number // of int4: k that share a scale
  zeros?: boolean // of int4: groups have zeros of their own
  fp8Rows?: boolean // of fp8 and int4: products round their rows to e4m3
}

/**
 * Rows of a matrix. Bytes are e4m3 with scales [ceil(rows / 128), ceil(k / 128)] f32; where there is a group they are codes [rows, k / 2], the even k in the
 * low half, with scales [rows, ceil(k / group)] bf16 and maybe zeros of that shape, of bytes.
 */
export interface MatrixRows {
  values: Tensor<Float32Array | Uint16Array | Uint8Array>
  scales?: F32 | Bf16
  zeros?: Tensor<Uint8Array>
  group?: number
}

export interface KvShape {
  dtype: 'f32' | 'bf16' | 'fp8'
  /** [L, K|V, Hk], of fp8 alone. */
  scales?: Float32Array
  pages: number
  layers: number
  heads: number
  pageSize: number
  headDim: number
}

/** The element type of activations, which the ops below call Act: f32 or bf16, as the backend says. */
export type Act = F32 | Bf16

export interface Ops {
  readonly device: string
  readonly description: string
  readonly activations: 'f32' | 'bf16'

  allocateWeight(shape: WeightShape): PackedWeight
  /** Fills rows of one expert, from `firstRow` on. */
  pack(weight: PackedWeight, expert: number, firstRow: number, rows: MatrixRows): void

  /** Fills all of a weight with numbers of a uniform distribution and a variance of 1 / k, the same on every device: for benches. */
  randomizeWeight(weight: PackedWeight): void

  /** Uninitialised, laid out [P][L][K|V][Hk][S][D]. */
  createKv(shape: KvShape): KvCache
  writeKv(kv: KvCache, whole: { data: Tensor<Float32Array | Uint16Array | Uint8Array> }): void
  readKv(kv: KvCache, whole: { data: Tensor<Float32Array | Uint16Array | Uint8Array> }): void

  /** Numbers of a uniform distribution over -scale .. scale, made on the device: for benches. */
  randomizeKv(kv: KvCache, scale: number): void

  /** A token id of -1 - r is `lastIds[r]`. */
  embed(args: { tokenIds: I32; lastIds?: I32; table: Bf16; out: F32 }): number
  rmsNorm(args: { x: F32; rows?: I32; weight: F32; eps: number; out: F32 | Bf16; outBf16?: Bf16 }): number
  linear(args: { x: Act; weight: PackedWeight; out: F32 | Act; accumulate?: boolean }): number
  qkNormRopeStore(args: {
    qkv: Act
    qWeight: F32
    kWeight: F32
    eps: number
    positions: I32
    rope: F32
    slotMapping: I32
    kv: KvCache
    layer: number
    q: Act
  }): number
  /** `rounds`: q and the weights of a cache in FP8, to FP8. */
  attention(args: {
    q: Act
    kv: KvCache
    layer: number
    pageTables: I32
    rows: I32
    cuSeqlensQ: I32
    contextLens: I32
    maxQueries: number
    scale: number
    rounds?: boolean
    out: Act
  }): number
  /** `live` [1]: how many tokens take part; all without it. `room`: like x, to work in. */
  route(args: {
    x: F32
    norm: F32
    eps: number
    gate: F32
    bias: F32
    live?: I32
    room: F32
    h: Bf16
    expertIds: I32
    weights: F32
    offsets: I32
    source: I32
    target: I32
  }): number
  groupedGateUp(args: { x: Bf16; source: I32; offsets: I32; weight: PackedWeight; out: Bf16 }): number
  groupedLinear(args: { x: Bf16; offsets: I32; weight: PackedWeight; out: Act }): number
  unpermute(args: { y: Act; target: I32; weights: F32; out: F32 }): number
  /** groupedLinear into the workspace `y`, and unpermute. */
  expertsDown(args: {
    x: Bf16
    offsets: I32
    weight: PackedWeight
    y: Act
    target: I32
    weights: F32
    out: F32
  }): number
  /** `updates` [U, 3]: (row, index, page). */
  setPages(args: { updates: I32; pageTables: I32 }): number
  /** `history` [R, V]: twice how often an id was generated, and one more where the prompt holds it. */
  startHistories(args: { rows: I32; offsets: I32; generated: I32; ids: I32; history: I32 }): number
  /**
   * `samplingFloats` and `samplingInts`: the columns SAMPLING_FLOATS and SAMPLING_INTS of lib/native, a row per row of logits. `rows`: who gets the
   * ids; -1: nobody, nothing is drawn. `targets`: the ids, which nobody gets, for their logprobs.
   */
  sample(args: {
    logits: F32
    samplingFloats: Float32Array
    samplingInts: Int32Array
    rows: I32
    lastIds: I32
    history?: I32
    banned?: I32
    biasOffsets?: I32
    biasIds?: I32
    biasValues?: F32
    maskIndex?: I32
    maskBits?: I32
    targets?: I32
    ids: I32
    logprobs?: F32
    topIds?: I32
    topLogprobs?: F32
  }): number

  /**
   * Microseconds that an op takes on the device itself, the mean of `repeats` runs behind each other. They take the sets of arguments in turn: enough of
   * them, and none finds its own in a cache. Outputs stay on the device.
   */
  time<K extends OpName>(op: K, sets: Parameters<Ops[K]>[0][], repeats: number): number
  /** Microseconds of a copy of `bytes` within the device, which reads and writes as many each. */
  timeCopy(bytes: number, repeats: number): number
}

/** The ops by name. */
export type OpName =
  | 'embed'
  | 'rmsNorm'
  | 'linear'
  | 'qkNormRopeStore'
  | 'attention'
  | 'route'
  | 'groupedGateUp'
  | 'groupedLinear'
  | 'unpermute'
  | 'expertsDown'
  | 'setPages'
  | 'startHistories'
  | 'sample'

/** The ops of a backend of its own. `threads`: 0 for the number of physical cores. */
export function createOps(device: string, threads: number): Ops {
  return (native(device) as NativeModule & { createOps(device: string, threads: number): Ops }).createOps(
    device,
    threads,
  )
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
    ops.pack(weight, e, 0, { values: { ...source, data, shape: [n, k] } })
  }
  return weight
}
