/** Quantising a model: a checkpoint into a folder whose experts are int4. Streaming: a piece of one tensor is in memory at a time. */
import { createHash } from 'node:crypto'
import { copyFile, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import { findModel } from '../hub/find-model'
import { readCheckpoint } from '../model/checkpoint'
import { loadConfig } from '../model/config'
import { fingerprintModel } from '../model/fingerprint'
import { DTYPE_BYTES } from '../model/safetensors'
import { planWeights } from '../model/weights'
import { asM2Error, FORMS, native, type Shard, type TensorTable } from '../native'
import { checkKeys, optionalFunction } from '../option-values'
import { packageVersion } from '../package-version'
import { type LayerLoss, type Loss, Losses, relativeError, sumOf } from './losses'
import { indexOf, type OutputFile, planOutput, QUANTIZATION_CONFIG } from './output-plan'
import { ProgressFile, partialOf, writeWhole, writing } from './progress-file'

export interface QuantizeOptions {
  /** Bytes of the source that are done, and in all. */
  onProgress?: (progress: { done: number; total: number }) => void
  /** A layer is done. After an interruption first come those that were done before. */
  onLayer?: (layer: LayerLoss) => void
  /** Stops soon, with the signal's reason; the same call goes on from there. */
  signal?: AbortSignal
}

/** What `quantizeModel` made. */
export interface QuantizedModel {
  /** Absolute path of the folder. */
  directory: string
  /** Of the source's weight files, and of the result's. */
  bytes: { before: number; after: number }
  /** Relative error of all expert weights. */
  error: number
  layers: LayerLoss[]
  /** Tensors of the source that are no part of the model, and of the result neither. */
  skippedTensors: string[]
}

const OPTION_KEYS: Record<keyof QuantizeOptions, true> = { onProgress: true, onLayer: true, signal: true }
/** As Hugging Face cuts checkpoints. */
const SHARD_BYTES = 5e9
/** Files of a model folder that are made anew, or belong to the source's own numbers. */
const OWN_FILES = /^\.|\.(safetensors|bin|pt|pth|gguf)$|^(config|model\.safetensors\.index|m2-kv-scales)\.json$/

/**
 * Quantises the experts of a model to int4, in groups of 128, each with the scale that loses least, into a new folder that this engine and others load.
 * @param source a folder, or `owner/name` of a downloaded model, with weights in bf16, f16, f32 or FP8
 * @param target a folder that is not there or empty, or that an interrupted run left
 * @throws {M2Error} MODEL_NOT_FOUND, BAD_CHECKPOINT, UNSUPPORTED_MODEL for the source; BAD_INPUT for a target that will not do or cannot be written
 * @example
 * const { error, bytes } = await quantizeModel('MiniMaxAI/MiniMax-M2', '/models/m2-int4')
 */
export async function quantizeModel(
  source: string,
  target: string,
  options: QuantizeOptions = {},
): Promise<QuantizedModel> {
  checkKeys('quantizeModel', options, OPTION_KEYS)
  optionalFunction('onProgress', options.onProgress)
  optionalFunction('onLayer', options.onLayer)
  return quantize(source, target, options, SHARD_BYTES)
}

/** @param shardBytes of a file's tensors, at most */
export async function quantize(
  source: string,
  target: string,
  { onProgress, onLayer, signal }: QuantizeOptions,
  shardBytes: number,
): Promise<QuantizedModel> {
  signal?.throwIfAborted()
  const from = await findModel(source, process.env)
  const to = path.resolve(target)
  const config = await loadConfig(from)
  const checkpoint = await readCheckpoint(from)
  const { table, skipped } = planWeights(config, checkpoint)
  refusePacked(from, table)
  const files = planOutput(table, checkpoint, shardBytes)
  const plan = planOf(await fingerprintModel(config, table), files)
  const progress = await ProgressFile.open(to, plan)

  const losses = new Losses(table, (layer) => onLayer?.(layer))
  const all: Loss[] = []
  const total = files.reduce((sum, file) => sum + sourceBytes(table, file), 0)
  let before = 0
  for (const file of files) {
    signal?.throwIfAborted()
    let columns = progress.of(file.name)
    if (!columns || !(await isWhole(path.join(to, file.name), file.bytes))) {
      const partial = partialOf(path.join(to, file.name))
      const shard = { ...file.shard, path: partial }
      const written = await writeShard(table, shard, signal, (done) => onProgress?.({ done: before + done, total }))
      await progress.finish(partial, file.name, written)
      columns = Array.from(written)
    }
    before += sourceBytes(table, file)
    onProgress?.({ done: before, total })
    for (const [i, { source }] of file.tensors.filter(({ action }) => action === 'int4').entries()) {
      const [squaredError, squaredWeights, groups, clipped] = columns.slice(4 * i, 4 * i + 4) as [
        number,
        number,
        number,
        number,
      ]
      const loss = { squaredError, squaredWeights, groups, clipped }
      all.push(loss)
      losses.add(source, loss)
    }
  }
  await copyOthers(from, to)
  await writeConfig(from, to, files)
  await progress.remove()
  const sizes = await Promise.all(checkpoint.files.map(async (file) => (await stat(file)).size))
  return {
    directory: to,
    bytes: { before: sizes.reduce((a, b) => a + b, 0), after: files.reduce((sum, { bytes }) => sum + bytes, 0) },
    error: relativeError(sumOf(all)),
    layers: losses.layers,
    skippedTensors: skipped,
  }
}

function refusePacked(directory: string, table: TensorTable): void {
  const i = table.form.findIndex((form) => form >= FORMS.indexOf('AWQ'))
  if (i < 0) return
  const found = `${table.names[i]} in 4 bits already (${FORMS[table.form[i]!]})`
  throw new M2Error('BAD_INPUT', `${directory}: expected weights in bf16, f16, f32 or FP8, found ${found}`)
}

/** The same source, cut and quantised in the same way. */
function planOf(model: string, files: readonly OutputFile[]): string {
  const hash = createHash('sha256')
  hash.update(JSON.stringify([packageVersion(), model, files.map(({ name, bytes }) => [name, bytes])]))
  for (const { shard } of files) hash.update(shard.header)
  return hash.digest('hex')
}

function sourceBytes(table: TensorTable, { tensors }: OutputFile): number {
  const bytesOf = (i: number) => table.rows[i]! * table.cols[i]! * DTYPE_BYTES.get(FORMS[table.form[i]!]!)!
  return tensors.reduce((sum, { source }) => sum + bytesOf(source), 0)
}

async function isWhole(file: string, bytes: number): Promise<boolean> {
  return (await stat(file).catch(() => null))?.size === bytes
}

async function writeShard(
  table: TensorTable,
  shard: Shard,
  signal: AbortSignal | undefined,
  onDone: (bytes: number) => void,
): Promise<Float64Array> {
  const { done, cancel } = native().quantizeShard(table, shard, onDone)
  signal?.addEventListener('abort', cancel)
  try {
    return await done
  } catch (error) {
    await rm(shard.path, { force: true }).catch(() => {})
    signal?.throwIfAborted()
    throw asM2Error(error)
  } finally {
    signal?.removeEventListener('abort', cancel)
  }
}

/** Tokenizer, template, licence and what else stands beside the weights. */
async function copyOthers(from: string, to: string): Promise<void> {
  for (const entry of await readdir(from)) {
    const file = path.join(from, entry)
    if (OWN_FILES.test(entry) || !(await stat(file)).isFile()) continue
    const partial = partialOf(path.join(to, entry))
    await writing(to, copyFile(file, partial))
    await writing(to, rename(partial, path.join(to, entry)))
  }
}

/** config.json is what makes a folder a model, so it comes last. */
async function writeConfig(from: string, to: string, files: readonly OutputFile[]): Promise<void> {
  const index = indexOf(files)
  if (index !== null) await writeWhole(path.join(to, 'model.safetensors.index.json'), index)
  const config = JSON.parse(await readFile(path.join(from, 'config.json'), 'utf8'))
  const text = JSON.stringify({ ...config, quantization_config: QUANTIZATION_CONFIG }, null, 2)
  await writeWhole(path.join(to, 'config.json'), `${text}\n`)
}
