#!/usr/bin/env node
/** The process around the program: its streams, its signals, its exit status. */
import { diagnose, Engine, inspectModel, quantizeModel } from '../index'
import { Terminal, type TerminalSettings } from './chat/terminal'
import { INTERRUPTED, TERMINATED } from './exit-status'
import { run } from './program'

/** One is called, once: whoever asks again, in whatever way, means it. */
let handlers: Partial<Record<NodeJS.Signals, () => void>> = {}
const onSignal = (signal: NodeJS.Signals, status: number) => () => {
  const handler = handlers[signal]
  handlers = {}
  if (handler) handler()
  else process.exit(status)
}
process.on('SIGINT', onSignal('SIGINT', INTERRUPTED))
process.on('SIGTERM', onSignal('SIGTERM', TERMINATED))

/** Lines are typed at a terminal on stdin, and shown on the stream that is one. */
const openTerminal = (settings: TerminalSettings) =>
  new Terminal(process.stdin, process.stdout.isTTY ? process.stdout : process.stderr, settings)

// A reader that has seen enough (`| head`) is no error; an output that cannot be written is one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') process.stderr.write(`m2: cannot write the output: ${error.message}\n`)
  process.exit(error.code === 'EPIPE' ? 0 : 1)
})
process.stderr.on('error', () => {})

async function main(): Promise<void> {
  process.exitCode = await run(process.argv.slice(2), {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    onInterrupt: (handler) => {
      handlers.SIGINT = handler
    },
    onTerminate: (handler) => {
      handlers.SIGTERM = handler
    },
    openTerminal: process.stdin.isTTY ? openTerminal : undefined,
    load: Engine.load,
    inspect: inspectModel,
    diagnose,
    quantize: quantizeModel,
  })
  process.stdin.destroy() // nobody reads on: a pipe that stays open must not keep the process
}

void main()
