/** The program `m2`: its commands, and the one place where an error becomes a line on stderr and an exit status. */
import { Command, CommanderError } from 'commander'
import { M2Error } from '../index'
import { packageVersion } from '../package-version'
import { addChat } from './chat'
import { addDoctor } from './doctor'
import { addDownload } from './download'
import { errorLine } from './error-line'
import { EXIT_STATUS, USAGE } from './exit-status'
import { addGenerate } from './generate'
import { addInfo } from './info'
import { addQuantize } from './quantize'
import { addServe } from './serve'
import type { Shell } from './shell'

const NO_COMMAND = 'no command was given: try m2 generate "What is 47 + 38?", or m2 --help'

/** Runs `m2` with `args` (without node and script); returns the exit status and never throws. */
export async function run(args: readonly string[], shell: Shell): Promise<number> {
  let status = 0
  const program = new Command('m2')
    .description('MiniMax-M2 models inside Node.js')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({ writeOut: (text) => shell.stdout.write(text), writeErr: () => {} })
  const done = (result: number) => {
    status = result
  }
  for (const add of [addGenerate, addChat, addInfo, addDoctor, addDownload, addQuantize, addServe])
    add(program, shell, done)
  try {
    await program.parseAsync(args, { from: 'user' })
    return status
  } catch (error) {
    return report(error, shell)
  }
}

function report(error: unknown, shell: Shell): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0 // --help and --version
    const noCommand = error.code === 'commander.help'
    shell.stderr.write(errorLine(noCommand ? NO_COMMAND : error.message.replace(/^error: /, '')))
    return USAGE
  }
  if (error instanceof M2Error) {
    shell.stderr.write(errorLine(error.message))
    return EXIT_STATUS[error.code]
  }
  const stack = error instanceof Error ? error.stack : String(error)
  shell.stderr.write(`m2: this is a bug of m2-engine:\n${stack}\n`)
  return 1
}
