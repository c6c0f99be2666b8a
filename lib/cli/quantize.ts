/** `m2 quantize`: a model with int4 experts from another one, whose folder goes to stdout. */
import type { Command } from 'commander'
import type { LayerLoss, QuantizedModel } from '../index'
import { formatBytes } from '../model/byte-size'
import { ByteStatus } from './byte-status'
import { INTERRUPTED } from './exit-status'
import type { Shell } from './shell'

interface Flags {
  json?: boolean
  quiet?: boolean
}

const HELP = `
The experts become int4 (groups of 128 with one bf16 scale, chosen for the least squared error), all else stays as it is; FP8 becomes bf16.
The result is in the format of compressed-tensors. What there is stays when it ends early, and the same command goes on with it.

Example:
  m2 quantize MiniMaxAI/MiniMax-M2 /models/m2-int4 && m2 generate --model /models/m2-int4 "Hello"`

/** Adds the command; `done` receives its exit status. */
export function addQuantize(program: Command, shell: Shell, done: (status: number) => void): void {
  program
    .command('quantize')
    .description('write a model with its experts in 4 bits')
    .argument('<src>', 'folder of a model, or owner/name of a downloaded one')
    .argument('<dst>', 'folder that is not there, empty, or left by an interrupted run')
    .option('--json', 'print one JSON object: folder, bytes, and the error of each layer')
    .option('--quiet', 'say nothing but errors on stderr')
    .addHelpText('after', HELP)
    .action(async (source: string, target: string, flags: Flags) => done(await quantize(source, target, flags, shell)))
}

async function quantize(source: string, target: string, { json, quiet }: Flags, shell: Shell): Promise<number> {
  const status = new ByteStatus(quiet ? { write: () => {} } : shell.stderr, 'quantising')
  const interrupt = new AbortController()
  shell.onInterrupt(() => interrupt.abort())
  try {
    const made = await shell.quantize(source, target, {
      signal: interrupt.signal,
      onProgress: status.report,
      onLayer: (layer) => status.say(layerLine(layer)),
    })
    status.say(summary(made))
    shell.stdout.write(`${json ? JSON.stringify(made) : made.directory}\n`)
    return 0
  } catch (error) {
    if (!interrupt.signal.aborted) throw error
    status.say('stopped; the same command goes on from here')
    return INTERRUPTED
  } finally {
    status.end()
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`

function layerLine({ layer, w1, w3, w2, clipped, worst }: LayerLoss): string {
  const errors = `w1 ${percent(w1)}, w3 ${percent(w3)}, w2 ${percent(w2)}`
  const most = `worst: ${worst.matrix} of expert ${worst.expert}, ${percent(worst.error)}`
  return `layer ${layer}: relative error ${errors}; ${percent(clipped)} of the groups clipped; ${most}`
}

function summary({ bytes, error, skippedTensors }: QuantizedModel): string {
  const skipped =
    skippedTensors.length > 0 ? `; ${skippedTensors.length} tensors that are no part of the model left out` : ''
  return `${formatBytes(bytes.before)} became ${formatBytes(bytes.after)}; relative error of the experts ${percent(error)}${skipped}`
}
