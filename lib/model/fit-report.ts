/** What a model finds room for on a device, in numbers, and which options would change it: each is the same fit asked again with another option. */
import { M2Error } from '../errors'
import { KV_DTYPES } from '../native'
import { formatBytes } from './byte-size'
import type { ModelConfig } from './config'
import {
  fitMemory,
  fitRequest,
  largestKvBytes,
  type MemoryFit,
  type MemoryOptions,
  memoryNeeded,
  type Placement,
} from './fit'

export interface FitReport {
  fits: boolean
  /** Why it does not fit, with the bytes needed and free; null: it does. */
  problem: string | null
  /** Bytes that must be free for the model to load: weights, what steps work in, the least KV cache. */
  needed: number
  /** The KV cache that the model gets; null: it does not fit. */
  kv: KvRoom | null
  /** What would let it fit, or give it more room. */
  advice: string[]
}

export interface KvRoom {
  bytes: number
  /** Of all sequences together. */
  tokens: number
  /** Of one sequence: less than the model's context where there is no room for that. */
  context: number
  /** Sequences of full context that find room at the same time. */
  sequences: number
}

/** @throws {M2Error} BAD_OPTION for a kvMemory that is not a size. */
export function reportFit(config: ModelConfig, placement: Placement, options: MemoryOptions): FitReport {
  const request = fitRequest(config, placement, options)
  const needed = memoryNeeded(request, options.maxContext ?? 1)
  const fit = tryFit(config, placement, options)
  if (fit instanceof M2Error) {
    const advice = [...fittingOptions(config, placement, options), ...moreMemory(needed, placement, 'for it to load')]
    return { fits: false, problem: fit.message, needed, kv: null, advice }
  }
  const kv = roomOf(fit, config, options)
  return { fits: true, problem: null, needed, kv, advice: roomier(kv, config, placement, options) }
}

function tryFit(config: ModelConfig, placement: Placement, options: MemoryOptions): MemoryFit | M2Error {
  try {
    return fitMemory(fitRequest(config, placement, options))
  } catch (error) {
    if (error instanceof M2Error && error.code === 'OUT_OF_MEMORY') return error
    throw error
  }
}

function roomOf(fit: MemoryFit, config: ModelConfig, options: MemoryOptions): KvRoom {
  const fullPages = Math.ceil((options.maxContext ?? config.maxPositionEmbeddings) / options.pageSize)
  return {
    bytes: fit.kvBytes,
    tokens: fit.pages * options.pageSize,
    context: fit.maxContext,
    sequences: Math.floor(fit.pages / fullPages),
  }
}

/** Options with which a model that does not fit does. */
function fittingOptions(config: ModelConfig, placement: Placement, options: MemoryOptions): string[] {
  const context = (other: MemoryOptions) => {
    const fit = tryFit(config, placement, other)
    return fit instanceof M2Error ? undefined : fit.maxContext
  }
  const found: string[] = []
  if (options.kvMemory !== undefined) {
    const room = context({ ...options, kvMemory: undefined })
    if (room) found.push(`without kvMemory it fits, with a context of ${count(room)} tokens`)
  }
  const kvDtype = narrower(options).find((kvDtype) => context({ ...options, kvDtype }))
  if (kvDtype) found.push(`kvDtype: "${kvDtype}" makes it fit`)
  if (options.maxContext !== undefined) {
    const room = context({ ...options, maxContext: undefined })
    if (room) found.push(`maxContext: ${room} makes it fit`)
  }
  if (!placement.dedicated) return found // only there steps take memory of their own
  const { maxSequences, stepTokens } = fitRequest(config, placement, options)
  for (const [name, most] of [
    ['maxStepTokens', stepTokens],
    ['maxSequences', maxSequences],
  ] as const) {
    for (let value = most >> 1; value >= 1; value >>= 1) {
      const room = context({ ...options, [name]: value })
      if (!room) continue
      found.push(`${name}: ${value} makes it fit, with a context of ${count(room)} tokens`)
      break
    }
  }
  return found
}

/** What gives a model that fits more room, where it has less than its options could use. */
function roomier(kv: KvRoom, config: ModelConfig, placement: Placement, options: MemoryOptions): string[] {
  const request = fitRequest(config, placement, options)
  if (kv.sequences === 0) {
    const whole = `for the whole context of ${count(request.maxContext)} tokens`
    return [
      ...narrower(options).flatMap((kvDtype) => {
        const compact = tryFit(config, placement, { ...options, kvDtype })
        const better = !(compact instanceof M2Error) && compact.maxContext > kv.context
        return better ? [`kvDtype: "${kvDtype}" gives a context of ${count(compact.maxContext)} tokens`] : []
      }),
      ...moreMemory(memoryNeeded(request, request.maxContext), placement, whole),
    ]
  }
  if (kv.sequences >= request.maxSequences || options.kvMemory !== undefined || placement.dedicated) return []
  const kvMemory = `${Math.floor(largestKvBytes(request) / 2 ** 20)}MiB`
  const most = tryFit(config, placement, { ...options, kvMemory })
  if (most instanceof M2Error || most.kvBytes <= kv.bytes) return []
  const { tokens, sequences } = roomOf(most, config, options)
  return [
    `kvMemory: up to "${kvMemory}" holds ${count(tokens)} tokens, ${count(sequences)} sequences of full context: ` +
      'by itself an engine leaves half of the memory to others',
  ]
}

/** The element types of a smaller cache, the one that costs least accuracy first. */
const narrower = ({ kvDtype }: MemoryOptions) => KV_DTYPES.slice(KV_DTYPES.indexOf(kvDtype) + 1)

function moreMemory(needed: number, { available }: Placement, purpose: string): string[] {
  const more = needed - available
  return more > 0 ? [`${formatBytes(needed)} must be free ${purpose}: ${formatBytes(more)} more than there is`] : []
}

const count = (n: number): string => n.toLocaleString('en-US')
