/** Which model this is: a hash that tells apart models whose KV must not be mixed, fine-tunes of one config included. */
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { M2Error } from '../errors'
import { DTYPES, type ModelGeometry, TENSOR_KINDS, type WeightPlan } from '../native'
import { DTYPE_BYTES, readFully } from './safetensors'

/** Bytes of a checkpoint that go into its fingerprint. */
export interface WeightSample {
  /** Index into the plan's files. */
  file: number
  offset: number
  bytes: number
}

/** Of one tensor: 2048 weights in bf16, more than any training leaves as they were, and one page of a disk cache. */
const SAMPLE_BYTES = 4096

/**
 * Sha256, in hex, over the geometry, the plan's table of tensors, and samples of the weights. How the tensors are cut into files does not matter.
 * A few MiB are read. It is no proof: a change confined to experts that are not sampled goes unnoticed.
 * @throws {M2Error} BAD_CHECKPOINT when a file cannot be read any more.
 */
export async function fingerprintModel(geometry: ModelGeometry, plan: WeightPlan): Promise<string> {
  const hash = createHash('sha256')
  hash.update(JSON.stringify(numbersOf(geometry)))
  hash.update(JSON.stringify(plan.names.map((_, i) => tensorRow(plan, i))))
  for (const bytes of await readSamples(plan.files, weightSamples(plan))) hash.update(bytes)
  return hash.digest('hex')
}

/** The middle of every tensor outside the experts, and of one expert per layer: a merged adapter touches all tensors of a kind, or all of a layer. */
export function weightSamples(plan: WeightPlan): WeightSample[] {
  const experts = 1 + plan.expert.reduce((most, expert) => Math.max(most, expert), -1)
  const samples: WeightSample[] = []
  for (const [i, expert] of plan.expert.entries()) {
    if (expert >= 0 && expert !== plan.layer[i]! % experts) continue
    const tensorBytes = plan.rows[i]! * plan.cols[i]! * DTYPE_BYTES.get(dtypeOf(plan, i))!
    const bytes = Math.min(SAMPLE_BYTES, tensorBytes)
    samples.push({ file: plan.file[i]!, offset: plan.offset[i]! + Math.floor((tensorBytes - bytes) / 2), bytes })
    if (plan.scaleFile[i]! >= 0) samples.push({ file: plan.scaleFile[i]!, offset: plan.scaleOffset[i]!, bytes: 4 })
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

function tensorRow(plan: WeightPlan, i: number): unknown[] {
  const { kind, layer, expert, rows, cols } = plan
  return [TENSOR_KINDS[kind[i]!], layer[i], expert[i], dtypeOf(plan, i), rows[i], cols[i]]
}

function dtypeOf(plan: WeightPlan, i: number): string {
  return DTYPES[plan.dtype[i]!]!
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
