/** Engine options with everything checked and every default filled in. */

import { KV_DTYPES, type KvDtype, type WeightFormat } from './native'
import {
  badOption,
  checkKeys,
  optionalBoolean,
  optionalChoice,
  optionalFunction,
  optionalInteger,
} from './option-values'
import type { EngineOptions, LoadProgress } from './options'

export interface EngineSettings {
  /** "auto" is still to be decided. */
  device: string
  /** 0: physical cores. */
  threads: number
  kvDtype: KvDtype
  weightDtype: 'auto' | WeightFormat
  activationDtype: 'auto' | 'fp8'
  pageSize: number
  kvMemory: number | string | undefined
  maxContext: number | undefined
  maxSequences: number
  maxStepTokens: number | undefined
  maxQueue: number
  prefixCache: boolean
  onProgress: (progress: LoadProgress) => void
}

// A record, so that a key that is missing here does not compile.
const ENGINE_KEYS: Record<keyof EngineOptions, true> = {
  device: true,
  threads: true,
  kvDtype: true,
  weightDtype: true,
  activationDtype: true,
  pageSize: true,
  kvMemory: true,
  maxContext: true,
  maxSequences: true,
  maxStepTokens: true,
  maxQueue: true,
  prefixCache: true,
  onProgress: true,
}
/** @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found. */
export function checkEngineOptions(options: EngineOptions = {}): EngineSettings {
  checkKeys('Engine.load', options, ENGINE_KEYS)
  const device = options.device ?? 'auto'
  if (typeof device !== 'string' || !/^(auto|cpu|cuda|cuda:\d+|emulated)$/.test(device)) {
    throw badOption('device', '"auto", "cpu", "cuda", "cuda:0" or "emulated"', device)
  }
  const kvDtype = optionalChoice('kvDtype', options.kvDtype, ['auto', ...KV_DTYPES]) ?? 'auto'
  optionalChoice('weightDtype', options.weightDtype, ['auto', 'bf16', 'fp8', 'int4'])
  optionalChoice('activationDtype', options.activationDtype, ['auto', 'fp8'])
  return {
    device,
    threads: optionalInteger('threads', options.threads, { least: 1, most: 1024 }) ?? 0,
    kvDtype: kvDtype === 'auto' ? 'bf16' : kvDtype,
    weightDtype: options.weightDtype ?? 'auto',
    activationDtype: options.activationDtype ?? 'auto',
    pageSize: optionalInteger('pageSize', options.pageSize, { least: 1, most: 65_536 }) ?? 64,
    kvMemory: options.kvMemory,
    maxContext: optionalInteger('maxContext', options.maxContext, { least: 2, most: 2 ** 30 }),
    maxSequences: optionalInteger('maxSequences', options.maxSequences, { least: 1, most: 65_536 }) ?? 64,
    maxStepTokens: optionalInteger('maxStepTokens', options.maxStepTokens, { least: 1, most: 1_048_576 }),
    maxQueue: optionalInteger('maxQueue', options.maxQueue, { least: 0 }) ?? 10_000,
    prefixCache: optionalBoolean('prefixCache', options.prefixCache) ?? true,
    onProgress: optionalFunction('onProgress', options.onProgress) ?? (() => {}),
  }
}
