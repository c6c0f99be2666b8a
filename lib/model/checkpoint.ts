/** The files of a checkpoint folder and the tensors in them: a single model.safetensors, or shards with their index. */
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import { isObject, JsonFields, shown } from './json-fields'
import { readTensorEntries, type TensorEntry } from './safetensors'

export interface CheckpointTensor extends TensorEntry {
  /** Index into the checkpoint's files. */
  file: number
}

export interface Checkpoint {
  files: string[]
  tensors: Map<string, CheckpointTensor>
}

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
/** Headers read at the same time: enough to hide latency, few enough file handles. */
const PARALLEL_READS = 16

/**
 * Reads the headers of all weight files of a folder.
 * @throws {M2Error} MODEL_NOT_FOUND without weights; BAD_CHECKPOINT for files that are broken or do not fit together.
 */
export async function readCheckpoint(dir: string): Promise<Checkpoint> {
  const indexFile = path.join(dir, INDEX)
  const index = await JsonFields.readFile(indexFile)
  const weightMap = index && readWeightMap(index)
  const present = new Set(await readdir(dir))
  const names = weightMap ? [...new Set(weightMap.values())].sort() : [SINGLE]
  if (!weightMap && !present.has(SINGLE)) refuseWithoutWeights(dir, present)
  const absent = names.filter((name) => !present.has(name))
  if (absent.length > 0) {
    const found = absent.length === 1 ? 'no such file' : `${absent.length} of ${names.length} shards missing`
    throw new M2Error('BAD_CHECKPOINT', `${indexFile}: expected the shard ${absent[0]} beside it, found ${found}`)
  }

  const files = names.map((name) => path.join(dir, name))
  const tensors = merge(files, await readHeaders(files))
  for (const [name, shard] of weightMap ?? []) {
    const tensor = tensors.get(name)
    if (tensor && names[tensor.file] === shard) continue
    const found = tensor ? `it in ${names[tensor.file]}` : 'no such tensor'
    throw new M2Error('BAD_CHECKPOINT', `${indexFile}: ${name}: expected in ${shard}, found ${found}`)
  }
  return { files, tensors }
}

/**
 * What a folder lacks to be a model: config.json, and the weights that its index names.
 * @throws {M2Error} BAD_CHECKPOINT when the index cannot be read.
 */
export async function missingFiles(dir: string): Promise<string[]> {
  const index = await JsonFields.readFile(path.join(dir, INDEX))
  const names = ['config.json', ...(index ? new Set(readWeightMap(index).values()) : [SINGLE])]
  const there = await Promise.all(names.map((name) => stat(path.join(dir, name)).catch(() => null)))
  return names.filter((_, i) => !there[i])
}

function readWeightMap(index: JsonFields): Map<string, string> {
  const map = index.raw('weight_map')
  if (!isObject(map)) return index.fail('BAD_CHECKPOINT', 'weight_map', 'an object of tensor name to file name')
  for (const [tensor, shard] of Object.entries(map)) {
    const isFileName = typeof shard === 'string' && /^[^/\\\0]+$/.test(shard) && shard !== '.' && shard !== '..'
    if (!isFileName) {
      index.fail('BAD_CHECKPOINT', `weight_map.${tensor}`, 'the name of a file in the same folder', shown(shard))
    }
  }
  return new Map(Object.entries(map as Record<string, string>))
}

function refuseWithoutWeights(dir: string, present: ReadonlySet<string>): never {
  const others = [...present].filter((name) => /\.(safetensors|bin|gguf|pt|pth)$/.test(name)).sort()
  const found = others.length > 0 ? others.slice(0, 3).join(', ') : 'no weights'
  throw new M2Error('MODEL_NOT_FOUND', `${dir}: expected ${SINGLE} or ${INDEX}, found ${found}`)
}

async function readHeaders(files: readonly string[]): Promise<TensorEntry[][]> {
  const headers: TensorEntry[][] = new Array(files.length)
  let next = 0
  const reader = async () => {
    for (let i = next++; i < files.length; i = next++) headers[i] = await readTensorEntries(files[i]!)
  }
  await Promise.all(Array.from({ length: PARALLEL_READS }, reader))
  return headers
}

function merge(files: readonly string[], headers: readonly TensorEntry[][]): Map<string, CheckpointTensor> {
  const tensors = new Map<string, CheckpointTensor>()
  for (const [file, entries] of headers.entries()) {
    for (const entry of entries) {
      const other = tensors.get(entry.name)
      if (other) {
        const where = `${files[other.file]} and ${files[file]}`
        throw new M2Error('BAD_CHECKPOINT', `${entry.name}: expected in one file, found in ${where}`)
      }
      tensors.set(entry.name, { ...entry, file })
    }
  }
  return tensors
}
