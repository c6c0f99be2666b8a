/** What this package was installed as and on: the binary of its core, Node.js, the platform, the processor. Loads nothing. */
import { readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { addonFile } from './native'

const PACKAGE = path.join(__dirname, '..')

/** The binary of the core. */
export interface CoreBinary {
  /** Null: there is none for this platform. */
  file: string | null
  /** The other places where one is looked for, and why none of there is taken: "build/Release: no binary". */
  others: string[]
}

export function findCore(): CoreBinary {
  const file = addonFile()
  const prebuilds = `prebuilds/${process.platform}-${process.arch}`
  const places = ['build/Release', prebuilds].filter((place) => file === null || !file.startsWith(inPackage(place)))
  const there = file === null ? 'none for this system' : 'not taken, the one above comes first'
  return { file, others: places.map((place) => `${place}: ${hasBinary(place) ? there : 'no binary'}`) }
}

const inPackage = (place: string): string => path.join(PACKAGE, place, path.sep)

function hasBinary(place: string): boolean {
  try {
    return readdirSync(path.join(PACKAGE, place)).some((name) => name.endsWith('.node'))
  } catch {
    return false // no such folder
  }
}

export interface NodeVersion {
  /** "20.17.0" */
  version: string
  /** The least that the package runs on: "20.17". */
  least: string
  supported: boolean
}

export function nodeVersion(version = process.versions.node): NodeVersion {
  const { engines } = JSON.parse(readFileSync(path.join(PACKAGE, 'package.json'), 'utf8'))
  const least = String(engines.node).replace('>=', '')
  return { version, least, supported: version.localeCompare(least, 'en', { numeric: true }) >= 0 }
}

/** "glibc 2.36"; null on systems that have another C library, or do not say. */
export function cLibrary(): string | null {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return header.glibcVersionRuntime ? `glibc ${header.glibcVersionRuntime}` : null
}

/** What the core's choice of instructions on x86-64 depends on (csrc/cpu/kernels.cc), as Linux names it. */
const INSTRUCTIONS = ['avx2', 'fma', 'avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512_bf16']

export interface Processor {
  name: string
  /** Hardware threads. */
  threads: number
  /** Instructions that the core can make use of; null where the system does not tell. */
  instructions: { has: string[]; lacks: string[] } | null
}

export function processor(): Processor {
  const cpus = os.cpus()
  return { name: cpus[0]?.model.trim() ?? 'unknown', threads: cpus.length, instructions: instructions() }
}

function instructions(): Processor['instructions'] {
  const flags = process.arch === 'x64' ? /^flags\s*:(.*)$/m.exec(readSystemFile('/proc/cpuinfo') ?? '')?.[1] : undefined
  if (flags === undefined) return null
  const present = new Set(flags.trim().split(/\s+/))
  const has = INSTRUCTIONS.filter((name) => present.has(name))
  return { has, lacks: INSTRUCTIONS.filter((name) => !present.has(name)) }
}

/** The version of NVIDIA's kernel driver, "580.82.07"; null where there is none, or the system does not tell. */
export function nvidiaDriver(): string | null {
  return /\s(\d+(?:\.\d+)+)\s/.exec(readSystemFile('/proc/driver/nvidia/version') ?? '')?.[1] ?? null
}

function readSystemFile(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null // not on this system
  }
}
