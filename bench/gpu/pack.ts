/**
 * `npm run pack:gpu`: one folder, build/gpu, with all that a machine with a GPU needs to run run.sh, be it without Node.js and without a network: Node.js
 * itself, the built addons, the tests with what runs them, the kernels' programs, the benches.
 */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { COMMIT_FILE, commit } from '../header'

const ROOT = path.join(__dirname, '..', '..')
const FOLDER = path.join(ROOT, 'build', 'gpu')
const BUILD = path.join(ROOT, 'build-cmake', 'gpu')
const MOST_BYTES = 60e6

const CONTENT = [
  'package.json',
  'tsconfig.json',
  'vitest.config.mts',
  'dist',
  'lib',
  'test',
  'bench',
  'models',
  'node_modules',
  'build/Release',
  'build/emulated',
]
/** Development packages that neither tests nor benches load. */
const LEFT_OUT = [
  'node_modules/@biomejs',
  'node_modules/node-gyp',
  'node_modules/prebuildify',
  'node_modules/.cache',
  'bench/results',
]
/** Programs of the kernels' cases and of the conformance of instructions, for a GPU. */
const PROGRAMS = ['kernels_cuda', 'conformance_cuda']

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] })

function main(): void {
  run('npm', 'run', 'build')
  run(
    'npx',
    'cmake-js',
    'configure',
    '-O',
    BUILD,
    '--CDM2_NATIVE_TESTS=ON',
    `--CDM2_OUTPUT=${path.join(BUILD, 'addon')}`,
  )
  run('cmake', '--build', BUILD, '--target', ...PROGRAMS)

  rmSync(FOLDER, { recursive: true, force: true })
  mkdirSync(FOLDER, { recursive: true })
  const stage = mkdtempSync(path.join(os.tmpdir(), 'm2-gpu-'))
  try {
    for (const item of CONTENT) {
      cpSync(path.join(ROOT, item), path.join(stage, item), {
        recursive: true,
        verbatimSymlinks: true,
        filter: isTaken,
      })
    }
    for (const program of PROGRAMS) copyFileSync(find(BUILD, program), path.join(stage, 'build', program))
    writeFileSync(path.join(stage, path.relative(ROOT, COMMIT_FILE)), commit())
    compress('m2.tar.xz', ['tar', '-C', stage, '-cf', '-', '.'])
    compress('node.xz', ['cat', process.execPath])
  } finally {
    rmSync(stage, { recursive: true, force: true })
  }
  copyFileSync(path.join(__dirname, 'run.sh'), path.join(FOLDER, 'run.sh'))
  report()
}

const isTaken = (file: string): boolean => !LEFT_OUT.includes(path.relative(ROOT, file))

function find(folder: string, name: string): string {
  const found = readdirSync(folder, { recursive: true, encoding: 'utf8' }).find((file) => path.basename(file) === name)
  if (!found || !existsSync(path.join(folder, found))) throw new Error(`${name} was not built: is nvcc there?`)
  return path.join(folder, found)
}

/** The output of a command, compressed into a file of the folder. */
function compress(name: string, command: string[]): void {
  const quoted = command.map((part) => `'${part}'`).join(' ')
  run('bash', '-c', `set -o pipefail; ${quoted} | xz -T0 -7 > '${path.join(FOLDER, name)}'`)
}

function report(): void {
  const files = readdirSync(FOLDER).map((name) => ({ name, bytes: statSync(path.join(FOLDER, name)).size }))
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  for (const { name, bytes } of files) console.log(`${(bytes / 1e6).toFixed(1).padStart(6)} MB  ${name}`)
  console.log(`${(total / 1e6).toFixed(1).padStart(6)} MB  build/gpu`)
  if (total > MOST_BYTES) throw new Error(`build/gpu has ${total} bytes, expected at most ${MOST_BYTES}`)
}

main()
