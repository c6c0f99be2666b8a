/** Which model this is: a hash that tells apart models whose KV must not be mixed, fine-tunes of one config included. */
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { M2Error } from '../errors'
import { FORMS, type ModelGeometry, PARTS, TENSOR_KINDS, type TensorTable } from '../native'
import { DTYPE_BYTES, readFully } from './safetensors'

/** Bytes of a checkpoint that go into its fingerprint. */
export interface WeightSample {
  /** Index into the table's files. */
  file: number
  offset: number
  bytes: number
}

/** Of one tensor: 2048 weights in bf16, more than any training leaves as they were, and one page of a disk cache. */
const SAMPLE_BYTES = 4096

/**
 * Sha256, in hex, over the geometry, the table of tensors, and samples of the weights. How the tensors are cut into files does not matter.
 * A few MiB are read. It is no proof: a change confined to experts that are not sampled goes unnoticed.
 * @throws {M2Error} BAD_CHECKPOINT when a file cannot be read any more.
 */
export async function fingerprintModel(geometry: ModelGeometry, table: TensorTable): Promise<string> {
  const hash = createHash('sha256')
  hash.update(JSON.stringify(numbersOf(geometry)))
  hash.update(JSON.stringify(table.names.map((_, i) => tensorRow(table, i))))
  for (const bytes of await readSamples(table.files, weightSamples(table))) hash.update(bytes)
  return hash.digest('hex')
}

/**
 * The middle of every tensor outside the experts, and of one expert per layer: a merged adapter touches all tensors of a kind, or all of a layer. Of
 * quantised ones the first scales too.
 */
export function weightSamples(table: TensorTable): WeightSample[] {
  const experts = 1 + table.expert.reduce((most, expert) => Math.max(most, expert), -1)
  const samples: WeightSample[] = []
  for (const [i, expert] of table.expert.entries()) {
    if (expert >= 0 && expert !== table.layer[i]! % experts) continue
    const tensorBytes = Math.ceil(table.rows[i]! * table.cols[i]! * weightBytesOf(table, i))
    const bytes = Math.min(SAMPLE_BYTES, tensorBytes)
    const [values, scales] = PARTS.map((_, part) => i * PARTS.length + part) as [number, number]
    const offset = table.offset[values]! + Math.floor((tensorBytes - bytes) / 2)
    samples.push({ file: table.file[values]!, offset, bytes })
    if (table.file[scales]! >= 0) samples.push({ file: table.file[scales]!, offset: table.offset[scales]!, bytes: 4 })
  }
  return samples
}

/** In one order, and without what a ModelConfig has beside the geometry. */
function numbersOf(g: ModelGeometry): ModelGeometry {
  return {
    vocabSize: g.vocabSize,
    hiddenSize: g.hiddenSize,
    layers: g.layers,
    heads: g.heads,
    kvHeads: g.kvHeads,
    headDim: g.headDim,
    rotaryDim: g.rotaryDim,
    ropeTheta: g.ropeTheta,
    experts: g.experts,
    expertsPerToken: g.expertsPerToken,
    expertHidden: g.expertHidden,
    rmsNormEps: g.rmsNormEps,
  }
}

function tensorRow(table: TensorTable, i: number): unknown[] {
  const { kind, layer, expert, rows, cols, group, symmetric } = table
  const packing = group[i]! > 0 ? [group[i], symmetric[i]] : []
  return [TENSOR_KINDS[kind[i]!], layer[i], expert[i], FORMS[table.form[i]!], rows[i], cols[i], ...packing]
}

/** Of one weight as it is stored: half of one where it is a code. */
function weightBytesOf(table: TensorTable, i: number): number {
  return DTYPE_BYTES.get(FORMS[table.form[i]!]!) ?? 0.5
}

/** The bytes of the samples, in their order. One file is open at a time. */
async function readSamples(files: readonly string[], samples: readonly WeightSample[]): Promise<Uint8Array[]> {
  const contents = samples.map(({ bytes }) => new Uint8Array(bytes))
  for (const [file, name] of files.entries()) {
    const own = samples.flatMap((sample, i) => (sample.file === file ? { ...sample, into: contents[i]! } : []))
    if (own.length > 0) await readFile(name, own)
  }
  return contents
}

async function readFile(name: string, samples: readonly (WeightSample & { into: Uint8Array })[]): Promise<void> {
  const handle = await open(name).catch((cause: NodeJS.ErrnoException) => {
    throw new M2Error('BAD_CHECKPOINT', `${name}: expected a readable file, found ${cause.code}`, { cause })
  })
  try {
    for (const { into, offset, bytes } of samples) {
      if ((await readFully(handle, into, offset)) === bytes) continue
      throw new M2Error(
        'BAD_CHECKPOINT',
        `${name}: expected ${bytes} bytes at byte ${offset}, found the end of the file`,
      )
    }
  } finally {
    await handle.close()
  }
}
