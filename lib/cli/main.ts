#!/usr/bin/env node
/** The process around the program: its streams, its signals, its exit status. */
import { diagnose, Engine, inspectModel, quantizeModel } from '../index'
import { INTERRUPTED, TERMINATED } from './exit-status'
import { run } from './program'

let interrupt: (() => void) | undefined
const onSignal = (status: number) => () => {
  const handler = interrupt
  interrupt = undefined
  if (handler) handler()
  else process.exit(status)
}
process.on('SIGINT', onSignal(INTERRUPTED))

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
      interrupt = handler
    },
    onTerminate: (handler) => {
      interrupt = handler
      process.on('SIGTERM', onSignal(TERMINATED))
    },
    load: Engine.load,
    inspect: inspectModel,
    diagnose,
    quantize: quantizeModel,
  })
}

void main()
