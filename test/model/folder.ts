/** Small checkpoint folders for the tests of lib/model, right but for what a test breaks. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import type { M2Error } from '../../lib/errors'
import type { ModelShape } from '../../lib/model/config'
import type { ModelGeometry } from '../../lib/native'
import {
  type RandomModel,
  safetensorsBytes,
  type TensorToWrite,
  writeRandomModel,
} from '../reference/checkpoint-writer'

export const TINY: ModelGeometry = {
  vocabSize: 40,
  hiddenSize: 32,
  layers: 2,
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  rotaryDim: 16,
  ropeTheta: 10_000,
  experts: 4,
  expertsPerToken: 2,
  expertHidden: 32,
  rmsNormEps: 1e-6,
}

/** MiniMax-M2 itself. */
export const M2: ModelShape = {
  vocabSize: 200_064,
  hiddenSize: 3072,
  layers: 62,
  heads: 48,
  kvHeads: 8,
  headDim: 128,
  rotaryDim: 64,
  ropeTheta: 5e6,
  experts: 256,
  expertsPerToken: 8,
  expertHidden: 1536,
  rmsNormEps: 1e-6,
  tieWordEmbeddings: false,
  useRoutingBias: true,
}

/** An empty folder that goes when the test ends. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'm2-model-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export function modelFolder(model: Partial<RandomModel> = {}): string {
  const dir = temporaryFolder()
  writeRandomModel(dir, { geometry: TINY, seed: 1, ...model })
  return dir
}

/** The tensors of the folder's one file, by name, changed and written again. */
export function rewrite(dir: string, change: (tensors: Map<string, TensorToWrite>) => void): void {
  const bytes = readFileSync(path.join(dir, 'model.safetensors'))
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const { __metadata__, ...header } = JSON.parse(bytes.toString('utf8', 8, start))
  const tensors = new Map<string, TensorToWrite>()
  for (const [name, { dtype, shape, data_offsets: range }] of Object.entries<{ [key: string]: never }>(header)) {
    const data = new Uint8Array(bytes.subarray(start + range![0], start + range![1]))
    tensors.set(name, { name, dtype: dtype!, shape: shape!, data })
  }
  change(tensors)
  writeFileSync(path.join(dir, 'model.safetensors'), safetensorsBytes([...tensors.values()]))
}

/** Overwrites a bf16 tensor of the folder's one file with NaN, from element `from` on. */
export function spoil(dir: string, tensor: string, from: number, count: number): void {
  const file = path.join(dir, 'model.safetensors')
  const bytes = readFileSync(file)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const [begin] = JSON.parse(bytes.toString('utf8', 8, start))[tensor].data_offsets
  for (let i = from; i < from + count; i++) bytes.writeUInt16LE(0x7fc0, start + begin + 2 * i)
  writeFileSync(file, bytes)
}

export function writeJson(dir: string, name: string, value: unknown): void {
  writeFileSync(path.join(dir, name), typeof value === 'string' ? value : JSON.stringify(value))
}

/** The error's code and message as one line; a message of several lines stays several and fails what compares it. */
export async function failure(work: () => unknown): Promise<string> {
  try {
    await work()
  } catch (error) {
    const { code, message } = error as M2Error
    return `${code} ${message}`
  }
  return 'no error'
}
