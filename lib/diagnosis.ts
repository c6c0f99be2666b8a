/** Whether models run on this machine, tried and not guessed, and what to do about what is missing. */
import os from 'node:os'
import { computeCapability, type Device, type GpuDoors, listGpus } from './devices'
import { EMBEDDED_MODEL } from './embedded-model'
import { Engine } from './engine'
import { checkEngineOptions } from './engine-settings'
import {
  type CoreBinary,
  cLibrary,
  findCore,
  type NodeVersion,
  nodeVersion,
  nvidiaDriver,
  type Processor,
  processor,
} from './installation'
import { loadModel } from './loaded-model'
import { availableMemory } from './model/fit'
import { asM2Error, native } from './native'
import { packageVersion } from './package-version'

/** A GPU that the driver shows. */
export interface Gpu extends Device {
  /** "9.0" */
  computeCapability: string
}

/** What `diagnose` finds. Problems are null where there are none. */
export interface Diagnosis {
  /** Models run on the CPU: the embedded one has answered. */
  works: boolean
  /** Of this package. */
  version: string
  node: NodeVersion
  platform: { os: string; arch: string; cLibrary: string | null }
  processor: Processor
  /** Bytes. */
  memory: { total: number; free: number }
  core: CoreBinary & { problem: string | null }
  /** Null: there is no core to ask. */
  cuda: CudaState | null
  embeddedModel: EmbeddedAnswer
  /** One line for each thing that is missing. */
  todo: string[]
}

export interface CudaState {
  /** The core has its CUDA part. */
  compiled: boolean
  /** The CUDA version that the driver supports, "13.0"; null without a driver. */
  supported: string | null
  /** The version of NVIDIA's kernel driver. */
  driver: string | null
  gpus: Gpu[]
  /** Why no GPU can be used. */
  problem: string | null
}

/** What the embedded model said on the CPU. */
export interface EmbeddedAnswer {
  /** Generated: 0 where there is a problem. */
  tokens: number
  /** From the call to the last token. */
  milliseconds: number
  /** What it ran on: "CPU, avx512, 8 threads". */
  ran: string | null
  problem: string | null
}

/**
 * Looks at this machine and this installation, and has the embedded model answer. What is wrong is in the result: it does not throw.
 * @example
 * const { works, todo } = await diagnose()
 * if (!works) console.error(todo.join('\n'))
 */
export async function diagnose(): Promise<Diagnosis> {
  return diagnoseWith({ doors: native, answer })
}

/** What `diagnose` tries. */
export interface Trials {
  /** @throws {M2Error} where the core does not load. */
  doors: () => GpuDoors
  answer: () => Promise<EmbeddedAnswer>
}

export async function diagnoseWith({ doors, answer }: Trials): Promise<Diagnosis> {
  const core = { ...findCore(), problem: loadProblem(doors) }
  const cuda = core.problem === null ? await cudaState(doors()) : null
  const embeddedModel = await answer()
  const facts = {
    works: embeddedModel.problem === null,
    version: packageVersion(),
    node: nodeVersion(),
    platform: { os: process.platform, arch: process.arch, cLibrary: cLibrary() },
    processor: processor(),
    memory: { total: os.totalmem(), free: availableMemory() },
    core,
    cuda,
    embeddedModel,
  }
  return { ...facts, todo: whatToDo(facts) }
}

async function cudaState(doors: GpuDoors): Promise<CudaState> {
  const { compiled, driver, devices, reason } = await doors.cudaProbe()
  const gpus = await listGpus(devices, doors)
  return {
    compiled,
    supported: driver === 0 ? null : `${Math.floor(driver / 1000)}.${Math.floor((driver % 1000) / 10)}`,
    driver: nvidiaDriver(),
    gpus: gpus.map((gpu, i) => ({ ...gpu, computeCapability: computeCapability(devices[i]!.architecture) })),
    problem: reason ?? null,
  }
}

const TOKENS = 8

async function answer(): Promise<EmbeddedAnswer> {
  try {
    const loaded = await loadModel(EMBEDDED_MODEL, checkEngineOptions({ device: 'cpu' }))
    await using engine = new Engine(loaded)
    const begin = performance.now()
    const options = { maxTokens: TOKENS, ignoreEos: true, temperature: 0 }
    const { tokenIds } = await engine.chat([{ role: 'user', content: 'What is 47 + 38?' }], options).result()
    const milliseconds = performance.now() - begin
    return { tokens: tokenIds.length, milliseconds, ran: loaded.core.description, problem: null }
  } catch (error) {
    return { tokens: 0, milliseconds: 0, ran: null, problem: asM2Error(error).message }
  }
}

function loadProblem(doors: Trials['doors']): string | null {
  try {
    doors()
    return null
  } catch (error) {
    return asM2Error(error).message
  }
}

function whatToDo({ node, platform, core, cuda, embeddedModel }: Omit<Diagnosis, 'todo'>): string[] {
  const todo: string[] = []
  if (!node.supported) todo.push(`install Node.js ${node.least} or newer`)
  if (platform.os === 'win32') todo.push('use WSL 2: the core does not run on Windows itself')
  if (core.problem !== null) todo.push(core.problem)
  else if (embeddedModel.problem !== null) {
    todo.push(
      `the embedded model does not answer: ${embeddedModel.problem}; install the package anew if its files are damaged`,
    )
  }
  const isa = process.env.M2_CPU_ISA
  if (isa) todo.push(`unset M2_CPU_ISA, which is "${isa}", to let the core choose`)
  return cuda ? [...todo, ...whatToDoForGpus(cuda)] : todo
}

function whatToDoForGpus({ compiled, supported, driver, gpus, problem }: CudaState): string[] {
  if (problem === null) {
    const silent = gpus.filter((gpu) => gpu.problem !== null && Number(gpu.computeCapability) >= 8)
    return silent.map(({ device }) => `for ${device}: see with nvidia-smi what else uses it`)
  }
  if (!compiled && driver !== null) {
    return [
      'for the GPU: install the CUDA toolkit, 12 or newer, and build the core again: this one is built without CUDA',
    ]
  }
  if (!compiled) return []
  if (supported === null) return ['for a GPU: install its NVIDIA driver; without a GPU nothing is missing']
  if (gpus.length > 0) return ['for a GPU: use one of compute capability 8.0 or newer']
  return [`for a GPU: update the driver, which supports CUDA ${supported}, and see what CUDA_VISIBLE_DEVICES says`]
}
