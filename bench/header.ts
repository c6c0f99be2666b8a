import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'

export interface Header {
  /** The machine: processor, cores. */
  machine: string
  /** What the core says of its backend: instruction set, threads. */
  device: string
  node: string
  /** With a "+" when the working tree differs from it. */
  commit: string
  date: string
  /** Load average of the last minute when the bench began: what else the machine was doing. */
  load: number
}

export function header(device: string): Header {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: __dirname, encoding: 'utf8' }).trim()
  const changed = git('status', '--porcelain', '--untracked-files=no') !== ''
  return {
    machine: `${os.cpus()[0]?.model.trim()}, ${os.cpus().length} cores, last-level cache ${lastLevelCache() / 2 ** 20} MiB`,
    device,
    node: process.version,
    commit: git('rev-parse', '--short', 'HEAD') + (changed ? '+' : ''),
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
