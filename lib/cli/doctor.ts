/** `m2 doctor`: whether models run on this machine, and what to do about what is missing. */
import type { Command } from 'commander'
import type { CudaState, Diagnosis } from '../index'
import { formatBytes } from '../model/byte-size'
import type { Shell } from './shell'
import { type Row, table } from './table'

const EXAMPLES = `
Examples:
  m2 doctor
  m2 doctor --json`

/** Adds the command; `done` receives its exit status: 0 where models run on the CPU. */
export function addDoctor(program: Command, shell: Shell, done: (status: number) => void): void {
  program
    .command('doctor')
    .description('whether models run on this machine, and what to do about what is missing')
    .option('--json', 'print one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(async ({ json }: { json?: boolean }) => {
      const diagnosis = await shell.diagnose()
      shell.stdout.write(json ? `${JSON.stringify(diagnosis)}\n` : table(rows(diagnosis)))
      done(diagnosis.works ? 0 : 1)
    })
}

function rows({ version, node, platform, processor, memory, core, cuda, embeddedModel, todo }: Diagnosis): Row[] {
  const { has, lacks } = processor.instructions ?? { has: [], lacks: [] }
  return [
    ['m2-engine', version],
    ['node', `${node.version}${node.supported ? '' : `: expected ${node.least} or newer`}`],
    ['platform', [platform.os, platform.arch, platform.cLibrary].filter(Boolean).join(' ')],
    [
      'cpu',
      `${processor.name}, ${processor.threads} threads`,
      ...(has.length > 0 ? [`has ${has.join(', ')}`] : []),
      ...(lacks.length > 0 ? [`lacks ${lacks.join(', ')}`] : []),
    ],
    ['memory', `${formatBytes(memory.total)}, ${formatBytes(memory.free)} free`],
    ['core', `${core.file ?? 'no binary'}${core.problem === null ? '' : ': does not load'}`, ...core.others],
    ['cuda', ...(cuda ? cudaLines(cuda) : ['no core to ask'])],
    [
      'model',
      embeddedModel.problem === null
        ? `the embedded model answers: ${embeddedModel.tokens} tokens in ${embeddedModel.milliseconds.toFixed(0)} ms on ${embeddedModel.ran}`
        : 'the embedded model does not answer',
    ],
    ['to do', ...(todo.length > 0 ? todo : ['nothing'])],
  ]
}

function cudaLines({ compiled, supported, driver, gpus, problem }: CudaState): string[] {
  const versions = `driver${driver === null ? '' : ` ${driver}`} for CUDA up to ${supported}`
  return [
    compiled ? `compiled in; ${supported === null ? problem : versions}` : `${problem}`,
    ...gpus.map(
      (gpu) =>
        `${gpu.device}: ${gpu.name}, compute capability ${gpu.computeCapability}, ${formatBytes(gpu.total)}` +
        (gpu.problem === null ? `, ${formatBytes(gpu.free)} free` : `: ${gpu.problem}`),
    ),
    ...(compiled && supported !== null && gpus.length === 0 && problem !== null ? [problem] : []),
  ]
}
