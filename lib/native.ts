/**
 * The native door: the types of what csrc/napi exports, and the only place that loads the addon.
 * Everything that crosses is a flat typed array, copied at the call. Errors arrive as `M2Error`.
 */
import path from 'node:path'
import load from 'node-gyp-build'
import { M2Error, type M2ErrorCode } from './errors'

/** Element types of checkpoint tensors that the core reads; the order is csrc/core/dtype.h's. */
export const DTYPES = ['F32', 'BF16', 'F16', 'F8_E4M3'] as const
export type TensorDType = (typeof DTYPES)[number]

/** Element types of the KV cache, the widest first. */
export const KV_DTYPES = ['f32', 'bf16', 'fp8'] as const
export type KvDtype = (typeof KV_DTYPES)[number]

/** What a tensor is in the model; the order is csrc/model/weight_plan.h's. */
export const TENSOR_KINDS = [
  'embed', // [V, C]
  'finalNorm', // [C]
  'lmHead', // [V, C]
  'inputNorm', // [C]
  'qProj', // [Hq D, C]
  'kProj', // [Hk D, C]
  'vProj', // [Hk D, C]
  'oProj', // [C, Hq D]
  'qNorm', // [Hq D]
  'kNorm', // [Hk D]
  'postNorm', // [C]
  'gate', // [E, C]
  'routerBias', // [E]
  'w1', // [F, C]
  'w3', // [F, C]
  'w2', // [C, F]
] as const
export type TensorKind = (typeof TENSOR_KINDS)[number]

/** The numbers of config.json that the core needs, checked by lib/model/config. */
export interface ModelGeometry {
  vocabSize: number
  hiddenSize: number
  layers: number
  heads: number
  kvHeads: number
  headDim: number
  rotaryDim: number
  ropeTheta: number
  experts: number
  expertsPerToken: number
  expertHidden: number
  rmsNormEps: number
}

/**
 * How the bytes of a tensor are its numbers; the order is csrc/model/weight_plan.h's. From AWQ on: codes of 4 bits with scales and zeros for groups along
 * a row, as csrc/model/int4_tensors.h describes them.
 */
export const FORMS = [...DTYPES, 'AWQ', 'GPTQ', 'GPTQ_V2', 'PACKED'] as const
export type Form = (typeof FORMS)[number]

/** The tensors that a matrix may be stored in. */
export const PARTS = ['values', 'scales', 'zeros', 'groupIndex'] as const

/** Which bytes of which file are which tensor: all of a checkpoint, as columns of one table with a row per tensor. */
export interface TensorTable {
  files: string[]
  names: string[] // [n] for error messages
  kind: Int32Array // [n] index into TENSOR_KINDS
  layer: Int32Array // [n] -1 where there is none
  expert: Int32Array // [n] -1 where there is none
  form: Int32Array // [n] index into FORMS
  rows: Int32Array // [n] 1 for a vector
  cols: Int32Array // [n]
  file: Int32Array // [n, PARTS] index into files; -1: there is no such part
  offset: Float64Array // [n, PARTS] byte offset from the start of the file
  // Of codes of 4 bits; 0 for others.
  group: Int32Array // [n] columns that share a scale and a zero
  symmetric: Int32Array // [n] 1: all zeros are 8, also where they are stored
  scaleDtype: Int32Array // [n] index into DTYPES
}

/** As what weights are held; the order is csrc/core/weight.h's. */
export const WEIGHT_FORMATS = ['bf16', 'fp8', 'int4'] as const
export type WeightFormat = (typeof WEIGHT_FORMATS)[number]

/** A checkpoint to load: its tensors, and as what the weights that they become are held. */
export interface WeightPlan extends TensorTable {
  /** [1 + 4 L, 3] lm_head, then of each layer q-k-v, o, w1-w3 and w2: index into WEIGHT_FORMATS; of int4 its group and whether it has zeros, else 0. */
  held: Int32Array
}

/** In the place of a checkpoint, for benches: the device makes the weights, as what `held` says of a plan. */
export interface RandomWeights {
  random: true
  held: Int32Array
}

export interface ModelOptions {
  device: string // "cpu", "cuda:0" or "emulated"
  threads: number // 0: physical cores
  geometry: ModelGeometry
  weights: WeightPlan | RandomWeights
  kvDtype: KvDtype // 'fp8' needs setKvScales before the first step
  pageSize: number // tokens
  pages: number
  maxContext: number // tokens per sequence
  maxSequences: number // rows of the persistent batch
  maxStepTokens: number
  bannedIds: Int32Array // never sampled
  keepRoutes?: boolean // steps give back which experts their tokens went to; default false
}

/** One step: T tokens of B sequences, N ids to sample, M ids to score. Everything is copied at the call. */
export interface Batch {
  tokenIds: Int32Array // [T]    -1: the id last sampled for this sequence's row, still on the device
  positions: Int32Array // [T]    0-based position in its sequence
  slotMapping: Int32Array // [T]    page * pageSize + offset where K and V go; -1: do not store
  cuSeqlensQ: Int32Array // [B+1]  prefix sums of query lengths
  contextLens: Int32Array // [B]    tokens visible after this step, new ones included
  rows: Int32Array // [B]    stable row 0..maxSequences-1 of the persistent batch
  pageUpdates: Int32Array // [3*U]  (row, index, page) triples: what changed in the page tables
  sampleAt: Int32Array // [N]    token index in this step whose logits are sampled
  sampleRow: Int32Array // [N]    row that receives the id (n samples of one prompt: several rows, one sampleAt)
  samplingFloats: Float32Array // [N, SAMPLING_FLOATS]
  samplingInts: Int32Array // [N, SAMPLING_INTS]
  biasOffsets: Int32Array // [N+1] or [0]: logit bias of sampled row n is entries offsets[n] .. offsets[n+1]-1
  biasIds: Int32Array
  biasValues: Float32Array
  maskSamples: Int32Array // [M]    which of the N samples have a mask; ascending
  maskBits: Int32Array // [M, ceil(V/32)] bit v % 32 of word v / 32: id v may be sampled; bits beyond V do not matter
  /** Rows whose token history (for the penalties) starts anew with this step. Rows without penalties are never named. */
  historyRows: Int32Array // [H]
  historyOffsets: Int32Array // [H+1] or [0]: ids of the row, prompt first
  historyGenerated: Int32Array // [H]   how many of the row's ids, at the end, were generated
  historyIds: Int32Array
  scoreAt: Int32Array // [M]    token index in this step behind which an id is given, to be scored
  scoreIds: Int32Array // [M]    that id
}

/** Columns of `samplingFloats`. */
export const SAMPLING_FLOATS = [
  'temperature',
  'topP',
  'minP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
] as const
/** Columns of `samplingInts`. `logprobs`: -1 none, else how many alternatives. `position`: of the id to be drawn. */
export const SAMPLING_INTS = ['topK', 'logprobs', 'seedLow', 'seedHigh', 'position', 'sampleIndex'] as const

/** In the place of a sampled id: the row's logits hold a NaN or an infinity. */
export const NOT_FINITE = -1
/** In the place of a sampled id: the row's mask allows none. */
export const NOTHING_ALLOWED = -2

export interface StepResult {
  /** [N] the sampled ids, or one of the above. Of such a row nothing else here has a meaning. */
  ids: Int32Array
  /** [N] logprob of the sampled id where asked, from the raw logits; empty when no row asked. */
  logprobs: Float32Array
  /** [N, K], K the largest `logprobs` of the step: the most probable ids and their logprobs; empty when K is 0. */
  topIds: Int32Array
  topLogprobs: Float32Array
  /** [M] logprob of each id to be scored, from the raw logits; NaN where those hold a NaN or an infinity. */
  scores: Float32Array
  /** [L, T, A]: the experts of each token in each layer, best first; empty unless the model keeps routes. */
  routes: Int32Array
  /** When the native step began and ended, in microseconds of one steady clock: what lies between two steps is time that the device waited. */
  startedAt: number
  endedAt: number
}

export interface NativeModel {
  readonly device: string
  readonly description: string
  readonly weightBytes: number
  readonly kvBytes: number
  /** Of one KV page, all layers. */
  readonly pageBytes: number
  /** What decides the bits of a result besides the build: device, architecture and instruction set, as "cpu x86-64 avx512". */
  readonly numerics: string
  /**
   * [L, K|V, Hk]: the largest K and V that a sequence of these ids has, by layer and head; NaN or infinite where one of them is. Computed over a small
   * cache of its own, while no step is in flight.
   */
  measureKv(ids: Int32Array): Promise<Float32Array>
  /** What elements of an FP8 cache are multiples of, [L, K|V, Hk], above 0. Once, and before the first step: without, steps are DEVICE_ERROR. */
  setKvScales(scales: Float32Array): Promise<void>
  /** Runs one step on the model's own thread; steps queue in order. */
  forward(batch: Batch): Promise<StepResult>
  /** Copies whole KV pages, from[i] -> to[i], in order with the steps. */
  copyPages(from: Int32Array, to: Int32Array): Promise<void>
  /** The bytes of whole KV pages, one after another, each [layer][K|V][Hk][S][D], in order with the steps. */
  readPages(pages: Int32Array): Promise<Uint8Array>
  /** Fills whole KV pages with bytes that `readPages` gave, in order with the steps. The bytes are copied at the call. */
  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void>
  /** Idempotent; waits for the steps in flight, then frees everything. */
  close(): Promise<void>
}

/** A byte-level BPE tokenizer as the core takes it; made by lib/text/tokenizer-file from tokenizer.json. */
export interface EncoderOptions {
  tokens: string // one per id, NUL after each; empty where byte-pair encoding has none
  merges: string // "left right" in order of rank, NUL after each
  addedIds: Int32Array
  addedContents: string[]
  pattern: string // the regular expression that cuts text into pieces
  keepUnmatched: boolean // what the pattern does not match is a piece too
  ignoreMerges: boolean // a piece that is a token is that token
}

export interface NativeEncoder {
  /** [V+1] where each token's bytes begin in `bytes`. */
  readonly offsets: Int32Array
  readonly bytes: Uint8Array
  /**
   * `special`: ascending (begin, end) pairs, in UTF-16 units, of the text within which added tokens are recognised. Of more than `most` ids, an unsigned
   * 32-bit integer, the first `most` + 1: the rest of the text is not looked at.
   */
  encode(text: string, special: Int32Array, most: number): Int32Array
}

/** What this build and this machine have of CUDA. */
export interface CudaProbe {
  /** The CUDA sources are in this build. */
  compiled: boolean
  /** The CUDA version that the driver supports: 13000 for 13.0; 0 without a driver. */
  driver: number
  devices: CudaDevice[]
  /** Why there is no device that can be used; absent when there is one. */
  reason?: string
}

export interface CudaDevice {
  /** "cuda:0". */
  device: string
  /** As the driver has it, "NVIDIA H200". */
  name: string
  /** Compute capability, 90 for 9.0. */
  architecture: number
  /** Bytes of memory in all. */
  memory: number
  /** This build can run on it. */
  usable: boolean
}

/** What becomes of a tensor in a quantised checkpoint; the order is csrc/model/shard_writer.h's. */
export const SHARD_ACTIONS = ['copy', 'bf16', 'int4'] as const
export type ShardAction = (typeof SHARD_ACTIONS)[number]

/** A file of a quantised checkpoint: m tensors of a table, in the order in which they are read. */
export interface Shard {
  path: string
  header: Uint8Array // all that comes before the tensors
  sources: Int32Array // [m] index into the table
  actions: Int32Array // [m] index into SHARD_ACTIONS
  offsets: Float64Array // [m, 3] bytes from the start of the file: of the tensor or its codes, their scales, their shape; 0 where there are none
}

export interface ShardWriting {
  /** [q, 4] of each int4 tensor: squared error, squared weights, groups, groups of which weights were clipped. */
  done: Promise<Float64Array>
  /** `done` rejects soon, with CLOSED. */
  cancel(): void
}

export interface NativeModule {
  /** Reads, quantises and writes on a thread of its own, and all processors; `onProgress(done, total)` in bytes read. */
  quantizeShard(table: TensorTable, shard: Shard, onProgress: (done: number, total: number) => void): ShardWriting
  /** Loads on a thread of its own; `onProgress(done, total)` in bytes. */
  loadModel(options: ModelOptions, onProgress: (done: number, total: number) => void): Promise<NativeModel>
  createEncoder(options: EncoderOptions): NativeEncoder
  cudaProbe(): Promise<CudaProbe>
  /** Bytes of a GPU's memory. Rejects with DEVICE_UNAVAILABLE for a device that cannot be used. */
  deviceMemory(device: string): Promise<{ free: number; total: number }>
}

let addon: NativeModule | undefined
let emulatedAddon: NativeModule | undefined

/** The addon that has a device, loaded at first use: build/Release of a checkout, else the prebuilt binary of this platform. */
export function native(device = 'cpu'): NativeModule {
  if (device === 'emulated') {
    emulatedAddon ??= loadEmulated()
    return emulatedAddon
  }
  addon ??= loadAddon()
  return addon
}

const PACKAGE = path.join(__dirname, '..')

/** The file of the addon that `native()` loads; null where there is none for this platform. */
export function addonFile(): string | null {
  try {
    return load.resolve(PACKAGE)
  } catch {
    return null
  }
}

function loadAddon(): NativeModule {
  try {
    return load(PACKAGE) as NativeModule
  } catch (cause) {
    throw new M2Error(
      'DEVICE_UNAVAILABLE',
      `no native core for ${process.platform}-${process.arch}: ${(cause as Error).message.split('\n')[0]}; ` +
        'in a checkout run `npm run build`, in a project `npm rebuild m2-engine` (needs cmake and a C++20 compiler)',
      { cause },
    )
  }
}

/** The CUDA sources over the emulator, an addon of its own for tests. */
function loadEmulated(): NativeModule {
  try {
    return require('../build/emulated/addon.node') as NativeModule
  } catch (cause) {
    throw new M2Error(
      'DEVICE_UNAVAILABLE',
      `device "emulated": ${(cause as Error).message.split('\n')[0]}; it is for tests, and only in a checkout: run \`npm run build\` there`,
      { cause },
    )
  }
}

/** Gives a native error (an Error with a string `code`) the class that users catch. */
export function asM2Error(error: unknown): M2Error {
  if (error instanceof M2Error) return error
  const { code, message } = error as { code?: string; message?: string }
  return new M2Error((code as M2ErrorCode | undefined) ?? 'DEVICE_ERROR', message ?? String(error), { cause: error })
}
