import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

export interface Header {
  /** The machine: processor, cores. */
  machine: string
  /** What the core says of its backend: instruction set, threads. */
  device: string
  node: string
  commit: string
  date: string
  /** Load average of the last minute when the bench began: what else the machine was doing. */
  load: number
}

/** Where `npm run pack:gpu` keeps the commit for a machine that has no repository. */
export const COMMIT_FILE = path.join(__dirname, '..', 'build', 'commit')

/** With a "+" when the working tree differs from it. */
export function commit(): string {
  if (existsSync(COMMIT_FILE)) return readFileSync(COMMIT_FILE, 'utf8').trim()
  const git = (...args: string[]) => execFileSync('git', args, { cwd: __dirname, encoding: 'utf8' }).trim()
  const changed = git('status', '--porcelain', '--untracked-files=no') !== ''
  return git('rev-parse', '--short', 'HEAD') + (changed ? '+' : '')
}

export function header(device: string): Header {
  return {
    machine: `${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, last-level cache ${lastLevelCache() / 2 ** 20} MiB`,
    device,
    node: process.version,
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
    load: os.loadavg()[0]!,
  }
}

/** Bytes of the largest cache of the first core; 64 MiB where the system does not say. */
export function lastLevelCache(): number {
  const folder = '/sys/devices/system/cpu/cpu0/cache'
  try {
    const sizes = readdirSync(folder)
      .filter((name) => name.startsWith('index'))
      .map((name) => Number.parseInt(readFileSync(`${folder}/${name}/size`, 'utf8'), 10) * 1024)
    return Math.max(...sizes)
  } catch {
    return 64 * 2 ** 20
  }
}
