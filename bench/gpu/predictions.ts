/**
 * What is expected of each op on an H200, for a run to confirm or refute: first what waits for what, then the bytes at the rate of the memory or that those
 * under way allow, or the operations at a share of their unit's rate. Data and one formula; an op without data has no prediction yet.
 */
import { floor, type Sizes, type Spec } from './specs'

/** Bytes and operations a second as measured in public; what is read arrives so many microseconds after it was asked for, out of memory. */
export const H200 = { multiprocessors: 132, bandwidth: 4.3e12, tensor: 790e12, f32: 60e12, latency: 0.7 }

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
  because: string
}

/** Bytes under way in all. */
type Bytes = Pick<Expected, 'inFlight' | 'multiprocessors'>

/** `blocks` of `bytes` under way each, of which a multiprocessor holds `most`. */
function inFlight(blocks: number, bytes: number, most: number): Bytes {
  const multiprocessors = Math.min(blocks, H200.multiprocessors)
  return { multiprocessors, inFlight: bytes * Math.min(most, Math.ceil(blocks / multiprocessors)) }
}

function expected(spec: Spec): Expected | undefined {
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
    case 'sample':
      return {
        ...{ kernels: 'sample_prepare_kernel, sample_draw_kernel', rate: 0 },
        waits: 2 * WAIT.kernel + 3 * WAIT.memory + 6 * WAIT.sum,
        read: 4 * spec.rows * spec.sizes.vocabSize,
        ...inFlight(98 * spec.rows, 8 * 2 * 512, 8),
        because: 'two kernels; the second is one block a row, and reads keys, then groups, then draws',
      }
    default:
      return undefined
  }
}

function expectedOfRoute(rows: number, { hiddenSize: C, experts: E, expertsPerToken: A }: Sizes): Expected {
  const choice = 0.1 * A // of a warp, for a token
  if (rows <= 16) {
    const groups = rows === 1 ? 1 : Math.ceil(rows / 4)
    const arrivals = groups === 1 ? 1 : 2
    return {
      kernels: rows === 1 ? 'route_kernel<1, 1, 24, true>' : 'route_kernel<4, 1, 24, true>',
      waits: WAIT.kernel + 2 * WAIT.sum + WAIT.cache + arrivals * WAIT.arrival + choice + 0.4,
      ...{ read: 4 * groups * E * C, ...inFlight((groups * E) / 4, 4 * 4 * C, 2), rate: 0 },
      because: 'the gate is under way before x is there; then norm, sums, the last block, the choice, the sort',
    }
  }
  return {
    kernels: 'rms_norm_kernel, route_scores_kernel<8, 8>, route_choose_kernel, route_sort_kernel',
    waits: 4 * WAIT.kernel + 8 * choice + 2,
    ...{ read: 4 * rows * C, ...inFlight((rows / 8) * (E / 32), 4 * 16 * 512, 3) }, // the gate stays in L2
    rate: 0.4 * H200.f32,
    because: 'float32 on the plain units, where 256 products of a lane need 16 loads of 16 bytes',
  }
}

export interface Prediction extends Expected {
  us: number
}

/** Operations of an op that the matrix units do not do, beside those that its floor counts. */
const plainOperations = (spec: Spec): number =>
  spec.op === 'route' ? 2 * spec.rows * spec.sizes.experts * spec.sizes.hiddenSize : 0

/** Microseconds of bytes and operations at the rates that are known. */
export function floorOnH200(spec: Spec): number {
  const { bytes, operations } = floor(spec)
  return 1e6 * Math.max(bytes / H200.bandwidth, operations / H200.tensor, plainOperations(spec) / H200.f32)
}

export function predict(spec: Spec): Prediction | undefined {
  const known = expected(spec)
  if (!known) return undefined
  const { bytes, operations } = floor(spec)
  const asked = (known.read / (known.inFlight * known.multiprocessors)) * 1e-6 * H200.latency
  const work = known.rate > 0 ? Math.max(operations, plainOperations(spec)) / known.rate : 0
  return { ...known, us: known.waits + 1e6 * Math.max(bytes / H200.bandwidth, asked, work) }
}
