/**
 * Every kernel without a GPU: what the compiler gave it (registers, spills, shared memory), who calls it, and the bytes that it must move and moves,
 * counted in a traced build of the emulated device. Fails where a kernel spills or nothing calls it.
 */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { digits, type Table } from '../tables'

const ROOT = path.join(__dirname, '..', '..')
const CUDA = path.join(ROOT, 'csrc', 'cuda')
const BUILD = path.join(ROOT, 'build-cmake', 'traced')
const ARCHITECTURES = ['80', '90a']
/** Of one multiprocessor of compute capability 9.0, and what the system keeps of the shared memory for each block. */
const MULTIPROCESSOR = { threads: 2048, registers: 65_536, shared: 228 << 10, sharedOfSystem: 1 << 10, blocks: 32 }
/** Bytes a second that a copy within an H200 reaches: NVIDIA names 4.8 TB/s for its memory, public measurements 4.3. */
const BANDWIDTH = 4.3e12

interface Resources {
  registers: number
  /** Bytes of a thread that did not fit, stores and loads. */
  spills: number
  /** Bytes of static shared memory. */
  shared: number
}

interface Traffic {
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

export async function benchKernels(): Promise<Table[]> {
  const resources = await compile()
  const [small, m2] = trafficOf()
  const calls = [...m2!, ...small!]
  const names = [...resources.keys()].sort()
  const rows = names.map((name) => describe(name, resources.get(name)!, calls))
  const unreached = names.filter((name) => !calls.some(({ kernels }) => kernels.some(({ kernel }) => kernel === name)))
  if (unreached.length > 0) throw new Error(`no case reaches ${unreached.join(', ')}`)
  const spilling = names.filter((name) => ARCHITECTURES.some((one) => resources.get(name)!.get(one)!.spills > 0))
  if (spilling.length > 0) throw new Error(`registers are spilled in ${spilling.join(', ')}`)
  return [
    {
      title: 'Kernels',
      note: `What ptxas reports for sm_${ARCHITECTURES.join(' and sm_')}; no kernel spills. Shared memory: static + dynamic, bytes of the largest launch that was counted. Blocks: that a multiprocessor of sm_90 holds at once, by threads, registers and shared memory.`,
      columns: [
        'kernel',
        ...ARCHITECTURES.map((one) => `registers, sm_${one}`),
        'spills',
        'shared',
        'threads',
        'blocks',
        'called by',
      ],
      rows,
    },
    {
      title: 'Bytes',
      note: `At MiniMax-M2's sizes, cut down in count where the emulator would take long. Must: each input that is needed read once, each output written once. Moved: different 32-byte sectors of each launch; asked for: with repetitions, which caches may serve. Floor: what must move at ${BANDWIDTH / 1e12} TB/s; prefill is bound by operations instead. Times need a GPU: not measured.`,
      columns: [
        'op',
        'shape',
        'kernels',
        'must, KiB',
        'moved, KiB',
        'moved / must',
        'asked for, KiB',
        'floor, us',
        'time',
      ],
      rows: m2!.map(bytesOf),
    },
  ]
}

/** Resources by kernel and architecture. */
async function compile(): Promise<Map<string, Map<string, Resources>>> {
  const all = new Map<string, Map<string, Resources>>()
  const nvcc = ['nvcc', '/usr/local/cuda/bin/nvcc'].find(works)
  if (!nvcc) throw new Error('nvcc was not found: what the compiler gives a kernel is not known without it')
  const files = readdirSync(CUDA, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.cu'))
  const work = files.flatMap((file) => ARCHITECTURES.map((architecture) => ({ file, architecture })))
  const compileSome = async () => {
    for (let next = work.pop(); next; next = work.pop()) {
      const { file, architecture } = next
      const flags = ['-std=c++20', '-O3', '-fmad=false', '--expt-relaxed-constexpr', '-I', path.join(ROOT, 'csrc')]
      const target = ['-Xptxas', '-v', `-arch=sm_${architecture}`, '-cubin', '-o', '/dev/null']
      const { stderr } = await promisify(execFile)(nvcc, [...flags, ...target, path.join(CUDA, file)])
      for (const [name, found] of parse(stderr)) {
        const ofKernel = all.get(name) ?? new Map<string, Resources>()
        all.set(name, ofKernel.set(architecture, found))
      }
    }
  }
  await Promise.all([compileSome(), compileSome()])
  return all
}

function works(command: string): boolean {
  try {
    execFileSync(command, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** What ptxas says of each entry function: its name, then spills, then registers and shared memory. */
function parse(report: string): [string, Resources][] {
  const entries = report.split("Compiling entry function '").slice(1)
  const number = (text: string, pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? 0)
  return entries.map((text) => {
    const spills = number(text, /(\d+) bytes spill stores/) + number(text, /(\d+) bytes spill loads/)
    const registers = number(text, /Used (\d+) registers/)
    if (registers === 0) throw new Error(`ptxas does not say how many registers are used: ${text}`)
    return [plain(text.slice(0, text.indexOf("'"))), { registers, spills, shared: number(text, /(\d+) bytes smem/) }]
  })
}

/** As csrc/cuda/launch.h names a kernel: without namespaces, casts of template arguments and parameters. */
function plain(mangled: string): string {
  const name = execFileSync('c++filt', [mangled], { encoding: 'utf8' }).trim()
  const bare = name
    .replace(/\(anonymous namespace\)::/g, '')
    .replace(/^void /, '')
    .replace(/\((int|bool|unsigned int)\)/g, '')
  const arguments_ = bare.indexOf('<')
  const end = arguments_ < 0 ? bare.indexOf('(') : bare.lastIndexOf('>', bare.indexOf('(')) + 1
  const full = bare.slice(0, end)
  return full.slice(full.lastIndexOf('::', arguments_ < 0 ? undefined : arguments_) + 1).replace(/^:/, '')
}

/** The cases of test/kernels in a traced build: the small ones, and those at M2's sizes. */
function trafficOf(): Traffic[][] {
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
    })
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
  return [[], ['--m2']].map((which) =>
    run(program, 'emulated', '--traffic', ...which)
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  )
}

function describe(name: string, resources: Map<string, Resources>, calls: Traffic[]): string[] {
  const callers = calls.filter(({ kernels }) => kernels.some(({ kernel }) => kernel === name))
  const launches = callers.flatMap(({ kernels }) => kernels.filter(({ kernel }) => kernel === name))
  const most = (values: number[]) => Math.max(0, ...values)
  const [threads, dynamic] = [most(launches.map((one) => one.threads)), most(launches.map((one) => one.shared))]
  const newest = resources.get(ARCHITECTURES.at(-1)!)!
  const shared = newest.shared + dynamic
  const { registers, sharedOfSystem } = MULTIPROCESSOR
  const blocks = Math.min(
    MULTIPROCESSOR.blocks,
    Math.floor(MULTIPROCESSOR.threads / threads),
    Math.floor(registers / (Math.ceil(newest.registers / 8) * 8 * Math.ceil(threads / 32) * 32)),
    Math.floor(MULTIPROCESSOR.shared / (shared + sharedOfSystem)),
  )
  const first = callers[0]
  return [
    name,
    ...ARCHITECTURES.map((one) => String(resources.get(one)!.registers)),
    ARCHITECTURES.map((one) => resources.get(one)!.spills).join(' / '),
    `${newest.shared} + ${dynamic}`,
    String(threads),
    String(blocks),
    first ? `${first.op}: ${first.shape}` : 'nobody',
  ]
}

function bytesOf({ op, shape, bytes, kernels }: Traffic): string[] {
  const sum = (of: (one: Traffic['kernels'][number]) => number) => kernels.reduce((total, one) => total + of(one), 0)
  const moved = sum((one) => one.distinctRead + one.distinctWritten)
  const names = kernels.map(({ kernel, launches }) => (launches > 1 ? `${kernel} x ${launches}` : kernel))
  return [
    op,
    shape,
    names.join(', '),
    digits(bytes / 1024),
    digits(moved / 1024),
    digits(moved / bytes),
    digits(sum((one) => one.read + one.written) / 1024),
    digits((bytes / BANDWIDTH) * 1e6),
    'not measured',
  ]
}
