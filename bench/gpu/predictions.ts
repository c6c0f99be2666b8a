/**
 * What is expected of each op on an H200, for a run to confirm or refute: first what waits for what, then the bytes at the rate of the memory or that those
 * under way allow, or the operations at a share of their unit's rate. Data and one formula.
 */
import { FORMATS, type Format } from '../tensors'
import { floorOf, total } from './cells'
import { type AttentionSpec, floor, type Sizes, type Spec, usedExperts } from './specs'

/** Bytes and operations a second as measured in public; what is read arrives so many microseconds after it was asked for, out of memory. */
export const H200 = {
  multiprocessors: 132,
  bandwidth: 4.3e12,
  /** A product of float32 is six of bf16. */
  rates: { f32: 790e12 / 6, bf16: 790e12, e4m3: 1580e12 },
  latency: 0.7,
  clock: 1.755e9,
}

/** Microseconds of what a kernel of few blocks waits for. */
const WAIT = {
  /** The kernel in front has ended, and what it wrote can be seen. */
  kernel: 1,
  memory: H200.latency,
  cache: 0.3,
  /** A sum over a block, with its barrier. */
  sum: 0.2,
  /** All blocks of a launch have told the last one. */
  arrival: 0.7,
}

interface Expected {
  kernels: string
  /** Microseconds that pass whatever the size, but for the first load. */
  waits: number
  /** Bytes that are loaded. */
  read: number
  /** Bytes under way on one multiprocessor, and on how many there are any. */
  inFlight: number
  multiprocessors: number
  /** Operations a second; 0: they do not count. */
  rate: number
  /** Of the bandwidth, that it comes to where the work is not shared out evenly. Default 1. */
  shareOfMemory?: number
  because: string
}

/** Bytes under way in all. */
type Bytes = Pick<Expected, 'inFlight' | 'multiprocessors'>

/** `blocks` of `bytes` under way each, of which a multiprocessor holds `most`. */
function inFlight(blocks: number, bytes: number, most: number): Bytes {
  const multiprocessors = Math.min(blocks, H200.multiprocessors)
  return { multiprocessors, inFlight: bytes * Math.min(most, Math.ceil(blocks / multiprocessors)) }
}

function expected(spec: Spec): Expected {
  switch (spec.op) {
    case 'rmsNorm':
      return {
        ...{ kernels: 'rms_norm_kernel', waits: WAIT.kernel + WAIT.sum, rate: 0 },
        read: 4 * spec.rows * spec.sizes.hiddenSize,
        ...inFlight(spec.rows, 4 * spec.sizes.hiddenSize, 4),
        because: 'a block a row, all of it under way; the weight is there before',
      }
    case 'qkNormRopeStore': {
      const row = 2 * (spec.sizes.heads + 2 * spec.sizes.kvHeads) * spec.sizes.headDim
      return {
        ...{ kernels: 'qk_norm_rope_store_kernel', waits: WAIT.kernel + WAIT.sum + WAIT.cache, rate: 0 },
        ...{ read: row * spec.rows, ...inFlight(spec.rows, row, 4) },
        because: 'a block a row; weights and rotation come out of L2 behind the sum',
      }
    }
    case 'route':
      return expectedOfRoute(spec.rows, spec.sizes)
    case 'linear':
      return expectedOfProduct({ groups: 1, ...spec }, spec)
    case 'gateUp':
    case 'expertsDown': {
      const { hiddenSize: C, expertHidden: F } = spec.sizes
      const [n, k] = spec.op === 'gateUp' ? [2 * F, C] : [C, F]
      const product = expectedOfProduct({ groups: usedExperts(spec.sizes, spec.rows), n, k, ...spec }, spec)
      return spec.op === 'gateUp' ? product : withSum(product, spec.rows, spec.sizes)
    }
    case 'attention':
      return spec.queries === 1 ? expectedOfDecode(spec) : expectedOfPrompt(spec)
    case 'sample':
      return {
        ...{ kernels: 'sample_prepare_kernel, sample_draw_kernel', rate: 0 },
        waits: 2 * WAIT.kernel + 3 * WAIT.memory + 6 * WAIT.sum,
        read: 4 * spec.rows * spec.sizes.vocabSize,
        ...inFlight(98 * spec.rows, 8 * 2 * 512, 8),
        because: 'two kernels; the second is one block a row, and reads keys, then groups, then draws',
      }
  }
}

/** Of k in a segment, and of experts and tokens in the tiles of a block: csrc/cuda/experts. */
const ROUTE = { segment: 768, experts: 16, tokens: 8, largeExperts: 256, largeTokens: 64 }

function expectedOfRoute(rows: number, { hiddenSize: C, experts: E, expertsPerToken: A }: Sizes): Expected {
  const choice = 0.1 * A // of a warp, for a token
  const segments = Math.ceil(C / ROUTE.segment)
  if (rows <= 64) {
    const groups = Math.ceil(rows / ROUTE.tokens)
    const blocks = groups * segments * Math.ceil(E / ROUTE.experts)
    const arrivals = groups === 1 ? 1 : 2
    const normed = rows === 1 ? 1 : rows <= 4 ? 4 : rows <= 16 ? 8 : 0
    const inSteps = normed === 0 ? WAIT.kernel + WAIT.sum : 0 // rms_norm
    const more = Math.ceil(blocks / H200.multiprocessors) - 1 // blocks of a multiprocessor: each reads and splits its gate
    const products = 0.25 + 0.9 * more // 72 mma of each scheduler; L2
    return {
      kernels: `${normed === 0 ? 'rms_norm_kernel, ' : ''}route_kernel<${normed}>`,
      waits: inSteps + WAIT.kernel + 3 * WAIT.sum + WAIT.cache + products + arrivals * WAIT.arrival + choice + 0.4,
      ...{ read: 4 * groups * E * C, ...inFlight(blocks, 4 * ROUTE.experts * ROUTE.segment, 2), rate: 0 },
      because: 'the gate is under way before x is there; then norm, products, the last block, the choice, the sort',
    }
  }
  const large = segments * Math.ceil(E / ROUTE.largeExperts) * Math.ceil(rows / ROUTE.largeTokens)
  const isLarge = large >= H200.multiprocessors
  const blocks = isLarge ? large : 4 * large // half as many experts, half as many tokens
  const norm = (1e6 * 10 * rows * C) / H200.bandwidth
  return {
    kernels: `rms_norm_kernel, route_sums_kernel<${isLarge ? '2, 8' : '1, 4'}>, route_choose_kernel, route_sort_kernel`,
    waits: 4 * WAIT.kernel + norm + 8 * (choice + 2 * WAIT.cache) + 2,
    ...{ read: 4 * rows * C, ...inFlight(blocks, 32 << 10, isLarge ? 1 : 2) }, // the gate stays in L2
    rate: (isLarge ? 0.62 : 0.45) * Math.min(1, blocks / H200.multiprocessors) * H200.rates.f32,
    because: 'six products of bf16 for one of float32, by mma.sync; the norm before them moves its bytes',
  }
}

/** Instructions of a warp for 64 k of 16 outputs, and shares of the matrix units' rate: csrc/cuda/gemm/small.cu, small_fp8.cu and wgmma.cu say where they come from. */
const PRODUCTS: Record<Format, { instructions: number; share: number; bound: string }> = {
  bf16: { instructions: 25, share: 0.55, bound: 'L2' },
  fp8: { instructions: 125, share: 0.85, bound: 'L2' },
  int4: { instructions: 85, share: 0.9, bound: 'matrix units' },
  fp8Fp8: { instructions: 35, share: 0.5, bound: 'L2' },
  int4Fp8: { instructions: 90, share: 0.74, bound: 'L2, making fragments and adding chains close behind' },
}
const SEGMENT = 1536
const RING_BYTES = 190 << 10 // of a multiprocessor
const WARPS = 16 // of a multiprocessor, as registers have it
const ISSUE = 0.65 // of the cycles in which a scheduler could

interface Product {
  /** That have rows. */
  groups: number
  n: number
  k: number
  format: Format
}

function expectedOfProduct({ groups, n, k, format }: Product, spec: Extract<Spec, { rows: number }>): Expected {
  const { instructions, share, bound } = PRODUCTS[format]
  const { bytes, operations } = floor(spec)
  const { unit } = FORMATS[format]
  const roundsRows = unit === 'e4m3'
  if (spec.rows > 16) {
    const fill = groups === 1 ? 1 : 0.97
    const rounded = WAIT.kernel + (1e6 * 3 * roundedNumbers(spec, k)) / H200.bandwidth
    return {
      kernels: roundsRows ? 'round_rows_kernel, gemm_wgmma_fp8_kernel' : 'gemm_wgmma_kernel',
      ...{ waits: WAIT.kernel + WAIT.memory + 2 + (roundsRows ? rounded : 0), rate: fill * share * H200.rates[unit] },
      ...{ read: bytes, inFlight: RING_BYTES, multiprocessors: H200.multiprocessors },
      because: `${bound}; tiles of 256 outputs and up to ${roundsRows ? 96 : 128} rows`,
    }
  }
  // FP8 rows: blocks of 64 outputs, each of which brings no more than 45 bytes a cycle.
  const blocks = roundsRows ? (groups * n) / 64 : Number.POSITIVE_INFINITY
  const warps = (groups * n * Math.ceil(k / SEGMENT)) / 16
  const resident = Math.min(WARPS, Math.ceil(warps / H200.multiprocessors))
  const ofWarp = Math.min(RING_BYTES / resident, 16 * Math.min(k, SEGMENT) * FORMATS[format].bytes)
  const issued = ((groups * n * k) / 1024) * instructions // by all warps
  const seconds = issued / (H200.multiprocessors * 4 * H200.clock * ISSUE)
  return {
    kernels: roundsRows ? 'gemm_small_fp8_kernel' : 'gemm_small_kernel',
    waits: WAIT.kernel + WAIT.cache + WAIT.sum + (groups > 1 ? 2 * WAIT.cache + WAIT.memory : 0),
    ...{
      read: groups * n * k * FORMATS[format].bytes,
      inFlight: resident * ofWarp,
      multiprocessors: Math.min(blocks, H200.multiprocessors),
    },
    shareOfMemory: Math.min(1, (blocks * 45 * H200.clock) / H200.bandwidth),
    rate: total(operations) / seconds,
    because:
      seconds * H200.bandwidth > bytes
        ? 'the schedulers: making fragments'
        : 'memory: a segment of each warp is under way',
  }
}

/** Numbers of x that a product rounds: experts' first one those of the tokens, their second those of all pairs. */
const roundedNumbers = (spec: Extract<Spec, { rows: number }>, k: number): number =>
  spec.rows * k * (spec.op === 'expertsDown' ? spec.sizes.expertsPerToken : 1)

/** Few rows are summed by the last block at a panel of outputs, out of L2; of many all that the product has written is read again, by a kernel of its own. */
function withSum(product: Expected, rows: number, { hiddenSize: C, expertsPerToken: A }: Sizes): Expected {
  if (rows <= 16) return { ...product, waits: product.waits + WAIT.arrival + WAIT.cache }
  const bytes = 2 * rows * A * C + 8 * rows * C
  return {
    ...product,
    kernels: `${product.kernels}, unpermute_kernel`,
    waits: product.waits + WAIT.kernel + (1e6 * bytes) / H200.bandwidth,
    because: `${product.because}; then ${Math.round(bytes / 1e6)} MB for the sum`,
  }
}

/** Shares of the bandwidth that the longest part of the work leaves: csrc/cuda/attention/teams.cu. */
function expectedOfDecode({ sequences, context, kvDtype }: AttentionSpec): Expected {
  const bytes = kvDtype === 'fp8' ? 120 << 10 : 144 << 10 // on their way: five slots of six, three of four, by three teams
  const single = context <= 1024 ? (kvDtype === 'fp8' ? 0.66 : 0.97) : context <= 8192 ? 0.97 : 0.86
  const share = sequences === 1 ? single : sequences < 16 && context > 8192 ? 0.94 : 0.97
  return {
    ...{ kernels: 'attention_kernel, merge_kernel', waits: 2 * WAIT.kernel + WAIT.memory + 2 * WAIT.cache, rate: 0 },
    ...{ read: 0, inFlight: bytes, multiprocessors: H200.multiprocessors, shareOfMemory: share },
    because: 'borders between chunks; then the states of cut tiles are joined',
  }
}

/** Operations a second of long contexts, and what bounds them: csrc/cuda/attention/warpgroups.cu. */
const PROMPT = {
  wide: [610e12, 'matrix units, L2 close behind'],
  widened: [530e12, 'matrix units and shared memory, which widening takes too'],
  codes: [900e12, 'matrix units, exponentials, shared memory and issue slots, each 510 to 560 cycles of 1,090'],
} as const

/** Contexts begin with 1,024 tokens in chunks of 64, at half the speed. */
function expectedOfPrompt({ context, kvDtype, rounds }: AttentionSpec): Expected {
  const [full, because] = PROMPT[rounds ? 'codes' : kvDtype === 'fp8' ? 'widened' : 'wide']
  const slow = Math.min(1, 2048 / context) // of the pairs of a query and a token
  return {
    ...{ kernels: 'warpgroup_attention_kernel, merge_kernel', waits: 2 * WAIT.kernel + 4, rate: full / (1 + slow) },
    ...{ read: 0, inFlight: 128 << 10, multiprocessors: H200.multiprocessors, because },
  }
}

export interface Prediction extends Expected {
  us: number
}

export const floorOnH200 = (spec: Spec): number => floorOf(floor(spec), H200)

export function predict(spec: Spec): Prediction {
  const known = expected(spec)
  const { bytes, operations } = floor(spec)
  const asked = (known.read / (known.inFlight * known.multiprocessors)) * 1e-6 * H200.latency
  const work = known.rate > 0 ? total(operations) / known.rate : 0
  return {
    ...known,
    us: known.waits + 1e6 * Math.max(bytes / (H200.bandwidth * (known.shareOfMemory ?? 1)), asked, work),
  }
}
