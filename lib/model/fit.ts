/** Memory fit: how many KV pages a model gets beside its weights, decided before anything is loaded. */
import os from 'node:os'
import { M2Error } from '../errors'
import type { KvDtype, ModelGeometry } from '../native'
import { formatBytes, parseByteSize } from './byte-size'
import type { ModelConfig } from './config'
import { kvBytesPerToken, workspaceBytes } from './parameters'
import { bestStepTokens } from './step-tokens'

/** The engine's options that decide how much memory a model takes; undefined is what fits. */
export interface MemoryOptions {
  kvDtype: KvDtype
  activationDtype?: 'auto' | 'fp8'
  pageSize: number
  kvMemory: number | string | undefined
  maxContext: number | undefined
  maxSequences: number
  maxStepTokens: number | undefined
}

/** The memory of a device. */
export interface DeviceMemory {
  /** Bytes that a model can still take. */
  available: number
  /** It is the model's own, as a GPU's is: pages take all that is left. */
  dedicated: boolean
}

/** A model on a device. */
export interface Placement extends DeviceMemory {
  /** Bytes that the model's weights take there. */
  weights: number
}

export interface FitRequest extends Placement {
  config: ModelGeometry
  kvDtype: KvDtype
  /** Tokens of a page. */
  pageSize: number
  /** Tokens of a sequence. */
  maxContext: number
  /** Nobody insists on that context: it may be cut to what the pages hold. */
  mayCutContext: boolean
  /** Sequences that run at the same time: all of them can decode in one step. */
  maxSequences: number
  /** Tokens of a step. */
  stepTokens: number
  /** The user's option: bytes or "2GiB". Absent: what fits. */
  kvMemory?: number | string
  /** Bytes of `available` that are neither weights nor KV: 0 on the CPU, whose shares below leave room. */
  workspace: number
}

export interface MemoryFit {
  /** Tokens of a sequence. */
  maxContext: number
  pages: number
  kvBytes: number
}

/** Of the memory that is left beside the weights, pages take this share by themselves: other programs live here too. */
const COMFORTABLE_SHARE = 1 / 2
/** What one sequence of full context, or the user's own number, may take at most; the rest is for a step's own buffers. */
const LARGEST_SHARE = 0.9
/** Slots are numbered in 32 bits. */
const MAX_SLOTS = 0x7fff_ffff

/** What an engine of these options asks of a device. */
export function fitRequest(config: ModelConfig, placement: Placement, options: MemoryOptions): FitRequest {
  const { kvDtype, pageSize, kvMemory } = options
  const maxContext = options.maxContext ?? config.maxPositionEmbeddings
  const stepTokens = options.maxStepTokens ?? bestStepTokens(config, placement.dedicated)
  const rows = Math.min(options.maxSequences, stepTokens)
  return {
    ...placement,
    config,
    kvDtype,
    pageSize,
    maxContext,
    mayCutContext: options.maxContext === undefined,
    maxSequences: rows,
    stepTokens,
    kvMemory,
    workspace: placement.dedicated
      ? workspaceBytes(config, { stepTokens, rows, maxContext, fp8Rows: options.activationDtype === 'fp8' })
      : 0,
  }
}

/** Bytes that a device must have free for one sequence of `context` tokens. */
export function memoryNeeded(request: FitRequest, context: number): number {
  const kvBytes = Math.ceil(context / request.pageSize) * bytesPerPage(request)
  return request.weights + request.workspace + Math.ceil(kvBytes / largestShare(request))
}

/** The most bytes that the KV cache may take. */
export function largestKvBytes(request: FitRequest): number {
  return bytesLeft(request) * largestShare(request)
}

const bytesPerPage = (r: FitRequest): number => r.pageSize * kvBytesPerToken(r.config, r.kvDtype)
const bytesLeft = (r: FitRequest): number => Math.max(0, r.available - r.weights - r.workspace)
const largestShare = (r: FitRequest): number => (r.dedicated ? 1 : LARGEST_SHARE)

/**
 * Plans the KV pages. By default every one of `maxSequences` gets its full context, within half of the memory left
 * beside the weights, but at least one sequence does; where not even one finds room, the context is cut if it may be.
 * @throws {M2Error} OUT_OF_MEMORY with the bytes needed and available; BAD_OPTION for a kvMemory that is not a size.
 */
export function fitMemory(request: FitRequest): MemoryFit {
  const { pageSize, maxSequences, available, weights, workspace, dedicated } = request
  const pageBytes = bytesPerPage(request)
  const left = bytesLeft(request)
  const largest = largestKvBytes(request)
  const asked = request.kvMemory === undefined ? undefined : parseByteSize('kvMemory', request.kvMemory)
  const mostPages = Math.max(1, Math.floor((asked ?? largest) / pageBytes))
  const maxContext = request.mayCutContext ? Math.min(request.maxContext, mostPages * pageSize) : request.maxContext
  const contextBytes = Math.ceil(maxContext / pageSize) * pageBytes
  if (asked !== undefined && asked < contextBytes) {
    const need = `${formatBytes(contextBytes)} for one sequence of ${maxContext} tokens`
    throw new M2Error(
      'OUT_OF_MEMORY',
      `kvMemory: expected at least ${need} (or a lower maxContext), found ${formatBytes(asked)}`,
    )
  }
  const needed = asked ?? contextBytes
  if (needed > largest) {
    const what = asked === undefined ? `the KV of one sequence of ${maxContext} tokens` : 'kvMemory'
    const steps = workspace > 0 ? `, ${formatBytes(workspace)} for steps` : ''
    const parts = `${formatBytes(weights)} of weights${steps} and ${formatBytes(needed)} for ${what}`
    throw new M2Error('OUT_OF_MEMORY', `memory: expected room for ${parts}, found ${formatBytes(available)} available`)
  }
  const comfortable = dedicated ? left : Math.max(left * COMFORTABLE_SHARE, contextBytes)
  const budget = asked ?? Math.min(maxSequences * contextBytes, comfortable)
  const pages = Math.min(Math.floor(budget / pageBytes), Math.floor(MAX_SLOTS / pageSize))
  return { maxContext, pages, kvBytes: pages * pageBytes }
}

/** Bytes that this process can still take: free memory of the machine, within the limit of its container. */
export function availableMemory(): number {
  // What macOS calls free leaves out all that it would give back at once; half of the machine is the better guess.
  const free = process.platform === 'darwin' ? os.totalmem() / 2 : os.freemem()
  const limit = process.constrainedMemory() // 0, or more than there is: no limit
  const constrained = limit > 0 && limit < os.totalmem()
  // Against the container's own figure this does not count cached files as used.
  return constrained ? Math.min(free, Math.max(0, limit - process.memoryUsage.rss())) : free
}
