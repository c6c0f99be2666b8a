/** What each kernel moves, counted in a traced build of the emulated device. */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

const ROOT = path.join(__dirname, '..', '..')
const BUILD = path.join(ROOT, 'build-cmake', 'traced')

export interface Traffic {
  op: string
  shape: string
  /** That the op cannot do without: each input that it needs read once, each output written once. */
  bytes: number
  kernels: {
    kernel: string
    launches: number
    read: number
    written: number
    /** Of different sectors of 32 bytes. */
    distinctRead: number
    distinctWritten: number
    blocks: number
    threads: number
    shared: number
  }[]
}

/** The program of the cases of test/kernels, in a traced build. */
export function buildTraced(): string {
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] })
  run(
    'npx',
    'cmake-js',
    'configure',
    '-O',
    BUILD,
    '--CDM2_CUDA=OFF',
    '--CDM2_NATIVE_TESTS=ON',
    '--CDM2_EMULATOR_TRACED=ON',
    `--CDM2_OUTPUT=${BUILD}`,
  )
  run('cmake', '--build', BUILD, '--target', 'kernels_emulated')
  const program = path.join(BUILD, 'test', 'kernels', 'kernels_emulated')
  if (!existsSync(program)) throw new Error(`${program} was not built`)
  return program
}

/**
 * Of the small cases, or of those at M2's sizes, in their order, on a device of compute capability 8.0 or 9.0. Each is a process of its own, as many at a time as there are cores: a traced
 * device has one.
 */
export async function trafficOf(program: string, architecture: '80' | '90', ...which: '--m2'[]): Promise<Traffic[]> {
  const run = async (...args: string[]) =>
    (
      await promisify(execFile)(program, ['emulated', ...which, ...args], {
        maxBuffer: 2 ** 28,
        env: { ...process.env, M2_EMULATED_ARCH: architecture },
      })
    ).stdout
      .trim()
      .split('\n')
  const names = await run('--list')
  const found = new Map<string, Traffic>()
  const left = names.toReversed()
  const countSome = async () => {
    for (let name = left.pop(); name; name = left.pop()) {
      if (found.has(name)) continue // with one whose name it begins with
      for (const line of await run('--traffic', '--only', name)) {
        const traffic: Traffic = JSON.parse(line)
        found.set(`${traffic.op}, ${traffic.shape}`, traffic)
      }
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, countSome))
  return names.map((name) => found.get(name)!)
}
