/** What a model folder holds and whether it would run here, from its configuration and the headers of its files: no weight is read. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { type Device, listDevices } from './devices'
import { EMBEDDED_MODEL } from './embedded-model'
import { checkEngineOptions, type EngineSettings } from './engine-settings'
import { M2Error } from './errors'
import { loadText } from './loaded-model'
import { type Checkpoint, readCheckpoint } from './model/checkpoint'
import { type ConfigFiles, type ModelConfig, parseConfig, readConfigFiles } from './model/config'
import { type FitReport, reportFit } from './model/fit-report'
import { countParameters, kvBytesPerToken, type ParameterCounts, weightBytes } from './model/parameters'
import { type Quantization, readQuantization, refuseQuantized } from './model/quantization'
import { planWeights } from './model/weights'
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
export interface DeviceReport extends Device, FitReport {}

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
  /** Why this version cannot load the model, though it is sound; null: it can. Memory and devices then are those of its weights as bf16. */
  unsupported: string | null
  /** Bytes of the weights in memory, and of the KV cache per token. */
  memory: { weights: number; kvDtype: 'bf16' | 'f32'; kvPerToken: number }
  devices: DeviceReport[]
}

/** Options of `inspectModel`: those of `Engine.load` that decide how much memory a model takes. */
export type InspectOptions = Pick<
  EngineOptions,
  'kvDtype' | 'pageSize' | 'kvMemory' | 'maxContext' | 'maxSequences' | 'maxStepTokens'
>

/**
 * Says what a model is and whether it would run on each device of this machine, before anything is loaded.
 * @param modelDir a folder in Hugging Face's layout. Default: the embedded model.
 * @throws {M2Error} MODEL_NOT_FOUND, BAD_CHECKPOINT, UNSUPPORTED_MODEL for a model of another architecture, BAD_OPTION
 * @example
 * const { devices } = await inspectModel('models/MiniMax-M2')
 * console.log(devices.filter(({ fits }) => fits).map(({ device }) => device))
 */
export async function inspectModel(
  modelDir: string = EMBEDDED_MODEL,
  options: InspectOptions = {},
): Promise<ModelReport> {
  return reportModel(modelDir, checkEngineOptions(options), listDevices)
}

export async function reportModel(
  dir: string,
  settings: EngineSettings,
  devices: () => Promise<Device[]>,
): Promise<ModelReport> {
  const directory = path.resolve(dir)
  const files = await readConfigFiles(directory)
  const config = parseConfig(files)
  const quantization = readQuantization(files.config)
  const checkpoint = await readCheckpoint(directory)
  const weights = checkWeights(files, config, checkpoint)
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
    memory: { weights: weightBytes(config), kvDtype, kvPerToken: kvBytesPerToken(config, kvDtype) },
    devices: (await devices()).map((device) => reportDevice(device, config, settings)),
  }
}

/** Sound weights that this version cannot load are no error here. */
function checkWeights(
  files: ConfigFiles,
  config: ModelConfig,
  checkpoint: Checkpoint,
): Pick<ModelReport, 'skippedTensors' | 'unsupported'> {
  try {
    refuseQuantized(files.config)
    return { skippedTensors: planWeights(config, checkpoint).skipped, unsupported: null }
  } catch (error) {
    if (!(error instanceof M2Error && error.code === 'UNSUPPORTED_MODEL')) throw error
    return { skippedTensors: [], unsupported: error.message }
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

function reportDevice(device: Device, config: ModelConfig, settings: EngineSettings): DeviceReport {
  const memory = { available: device.free, dedicated: device.device !== 'cpu' }
  const fit = reportFit(config, memory, settings)
  // No option helps on a device on which nothing runs.
  return device.problem === null ? { ...device, ...fit } : { ...fit, ...device, advice: [] }
}
