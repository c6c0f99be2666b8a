/** What a model folder holds and whether it would run here, from its configuration and the headers of its files: no weight is read. */
import { stat } from 'node:fs/promises'
import { type Device, listDevices } from './devices'
import { EMBEDDED_MODEL } from './embedded-model'
import { checkEngineOptions, type EngineSettings } from './engine-settings'
import { M2Error } from './errors'
import { findModel } from './hub/find-model'
import { loadText } from './loaded-model'
import { formatBytes } from './model/byte-size'
import { type Checkpoint, readCheckpoint } from './model/checkpoint'
import { type ConfigFiles, type ModelConfig, parseConfig, readConfigFiles } from './model/config'
import type { DeviceMemory } from './model/fit'
import { type FitReport, reportFit } from './model/fit-report'
import { type HeldWeights, holdWeights } from './model/held-weights'
import {
  BF16,
  countParameters,
  kvBytesPerToken,
  type ParameterCounts,
  type WeightType,
  weightShapes,
} from './model/parameters'
import { type Quantization, readPacking, readQuantization } from './model/quantization'
import { planWeights } from './model/weights'
import type { KvDtype } from './native'
import { checkKeys } from './option-values'
import type { EngineOptions } from './options'

/** Tensors that are stored in one element type. */
export interface StoredTensors {
  /** As the files write it: "BF16", "F32", "F8_E4M3". */
  dtype: string
  tensors: number
  bytes: number
  /** Their names, each once, with * for the numbers of layers and experts. */
  names: string[]
}

/** A device, and whether the model fits there. */
export interface DeviceReport extends Device, FitReport {
  /** As what the weights are held there, and their bytes. */
  weights: HeldWeights
}

/** What `inspectModel` finds. */
export interface ModelReport {
  /** Absolute path of the model's folder. */
  directory: string
  config: ModelConfig
  parameters: ParameterCounts
  files: { count: number; bytes: number }
  /** By element type, the one with the most bytes first. */
  stored: StoredTensors[]
  quantization: Quantization | null
  /** Tensors in the files that are no part of the model. */
  skippedTensors: string[]
  /** The folder has a tokenizer.json. */
  tokenizer: boolean
  /** Why this version cannot load the model, though it is sound; null: it can. The devices then are judged by its weights as bf16. */
  unsupported: string | null
  /** Bytes of the KV cache per token. */
  kv: { dtype: KvDtype; bytesPerToken: number }
  devices: DeviceReport[]
}

/** Options of `inspectModel`: those of `Engine.load` that decide how much memory a model takes. */
export type InspectOptions = Pick<
  EngineOptions,
  | 'kvDtype'
  | 'weightDtype'
  | 'activationDtype'
  | 'pageSize'
  | 'kvMemory'
  | 'maxContext'
  | 'maxSequences'
  | 'maxStepTokens'
>

// A record, so that a key that is missing here does not compile.
const INSPECT_KEYS: Record<keyof InspectOptions, true> = {
  kvDtype: true,
  weightDtype: true,
  activationDtype: true,
  pageSize: true,
  kvMemory: true,
  maxContext: true,
  maxSequences: true,
  maxStepTokens: true,
}

/**
 * Says what a model is and whether it would run on each device of this machine, before anything is loaded.
 * @param model a folder in Hugging Face's layout, or `owner/name` of a downloaded one. Default: the embedded model.
 * @throws {M2Error} MODEL_NOT_FOUND, BAD_CHECKPOINT, UNSUPPORTED_MODEL for a model of another architecture, BAD_OPTION
 * @example
 * const { devices } = await inspectModel('models/MiniMax-M2')
 * console.log(devices.filter(({ fits }) => fits).map(({ device }) => device))
 */
export async function inspectModel(model: string = EMBEDDED_MODEL, options: InspectOptions = {}): Promise<ModelReport> {
  checkKeys('inspectModel', options, INSPECT_KEYS)
  return reportModel(model, checkEngineOptions(options), listDevices)
}

export async function reportModel(
  model: string,
  settings: EngineSettings,
  devices: () => Promise<Device[]>,
): Promise<ModelReport> {
  const directory = await findModel(model, process.env)
  const files = await readConfigFiles(directory)
  const config = parseConfig(files)
  const quantization = readQuantization(files.config)
  const checkpoint = await readCheckpoint(directory)
  const { stored, ...weights } = checkWeights(files, config, checkpoint)
  const { tokenizer } = await loadText(directory, config.vocabSize)
  const { kvDtype } = settings
  return {
    directory,
    config,
    parameters: countParameters(config),
    files: { count: checkpoint.files.length, bytes: await bytesOnDisk(checkpoint) },
    stored: storedTensors(checkpoint),
    quantization,
    ...weights,
    tokenizer: tokenizer !== null,
    kv: { dtype: kvDtype, bytesPerToken: kvBytesPerToken(config, kvDtype) },
    devices: (await devices()).map((device) => reportDevice(device, config, stored, settings)),
  }
}

/** Sound weights that this version cannot load are no error here. */
function checkWeights(
  files: ConfigFiles,
  config: ModelConfig,
  checkpoint: Checkpoint,
): Pick<ModelReport, 'skippedTensors' | 'unsupported'> & { stored: WeightType[] } {
  try {
    const { skipped, stored } = planWeights({ ...config, packing: readPacking(files.config) }, checkpoint)
    return { skippedTensors: skipped, unsupported: null, stored }
  } catch (error) {
    if (!(error instanceof M2Error && error.code === 'UNSUPPORTED_MODEL')) throw error
    return { skippedTensors: [], unsupported: error.message, stored: weightShapes(config).map(() => BF16) }
  }
}

async function bytesOnDisk({ files }: Checkpoint): Promise<number> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

function storedTensors({ tensors }: Checkpoint): StoredTensors[] {
  const byDtype = new Map<string, Omit<StoredTensors, 'names'> & { names: Set<string> }>()
  for (const { dtype, name, bytes } of tensors.values()) {
    const group = byDtype.get(dtype) ?? { dtype, tensors: 0, bytes: 0, names: new Set() }
    byDtype.set(dtype, group)
    group.tensors++
    group.bytes += bytes
    group.names.add(name.replace(/\.\d+(?=\.)/g, '.*'))
  }
  const groups = Array.from(byDtype.values(), (group) => ({ ...group, names: [...group.names] }))
  return groups.sort((a, b) => b.bytes - a.bytes)
}

function reportDevice(
  device: Device,
  config: ModelConfig,
  stored: readonly WeightType[],
  settings: EngineSettings,
): DeviceReport {
  const place = { available: device.free, dedicated: device.device !== 'cpu' }
  const { format, bytes } = holdWeights(config, stored, device.device, settings)
  const fit = reportFit(config, { ...place, weights: bytes }, settings)
  const report = { weights: { format, bytes }, ...fit }
  // No option helps on a device on which nothing runs.
  if (device.problem !== null) return { ...report, ...device, advice: [] }
  const advice = fit.fits ? [] : quantising(config, place, bytes, stored, device.device, settings)
  return { ...device, ...report, advice: [...advice, ...fit.advice] }
}

/** Whether the model fits with its experts in 4 bits. */
function quantising(
  config: ModelConfig,
  place: DeviceMemory,
  bytes: number,
  stored: readonly WeightType[],
  device: string,
  settings: EngineSettings,
): string[] {
  const quantised = holdWeights(config, stored, device, { ...settings, weightDtype: 'int4' })
  const { kv } = reportFit(config, { ...place, weights: quantised.bytes }, settings)
  if (!kv || quantised.bytes >= bytes) return []
  const room = `${formatBytes(quantised.bytes)} of weights and a context of ${kv.context.toLocaleString('en-US')} tokens`
  return [`weightDtype: "int4" makes it fit, with ${room}, for some quality`]
}
