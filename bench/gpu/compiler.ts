/** What the compiler gives each kernel: registers, spills, shared memory. */
import { execFile, execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'

const ROOT = path.join(__dirname, '..', '..')
const CUDA = path.join(ROOT, 'csrc', 'cuda')
export const ARCHITECTURES = ['80', '90a']

export interface Resources {
  registers: number
  /** Bytes of a thread that did not fit, stores and loads. */
  spills: number
  /** Bytes of static shared memory. */
  shared: number
}

/** Resources by kernel and architecture. */
export async function compile(): Promise<Map<string, Map<string, Resources>>> {
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
