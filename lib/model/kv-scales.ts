/**
 * The file with the scales of a model's FP8 cache, beside the model. All that it says can be found anew: so a file that is missing, broken, of another
 * model or of another method is no error, only one that cannot be used, and the next takes its place.
 */
import { randomUUID } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { isObject } from './json-fields'

const FILE = 'm2-kv-scales.json'
/** Raised whenever scales are found in another way. */
const FILE_KIND = { format: 'm2-engine KV scales', version: 1 }

/** What the scales are of. */
export interface KvScalesOf {
  /** The model's fingerprint. */
  model: string
  layers: number
  kvHeads: number
}

/** [L, K|V, Hk], all above 0; null where the folder has none for this model. */
export async function readKvScales(directory: string, of: KvScalesOf): Promise<Float32Array | null> {
  let file: unknown
  try {
    file = JSON.parse(await readFile(path.join(directory, FILE), 'utf8'))
  } catch {
    return null
  }
  if (!isObject(file) || !Array.isArray(file.scales)) return null
  const expected: Record<string, unknown> = headerOf(of)
  const isOurs = Object.keys(expected).every((name) => file[name] === expected[name])
  const scales = Float32Array.from(file.scales, (scale) => (typeof scale === 'number' ? scale : Number.NaN))
  const isSound = scales.length === of.layers * 2 * of.kvHeads && scales.every((s) => s > 0 && Number.isFinite(s))
  return isOurs && isSound ? scales : null
}

/** Whole or not at all; a folder that cannot be written stays as it is. */
export async function writeKvScales(directory: string, of: KvScalesOf, scales: Float32Array): Promise<void> {
  const file = path.join(directory, FILE)
  const temporary = `${file}.${randomUUID()}.tmp`
  const text = `${JSON.stringify({ ...headerOf(of), scales: Array.from(scales) })}\n`
  try {
    await writeFile(temporary, text, { flag: 'wx' })
    await rename(temporary, file)
  } catch {
    await rm(temporary, { force: true }).catch(() => {})
  }
}

function headerOf({ model, layers, kvHeads }: KvScalesOf) {
  return { ...FILE_KIND, model, layers, kvHeads }
}
