import type { diagnose, Engine, inspectModel, quantizeModel } from '../index'
import type { Lines } from './chat/lines'
import type { TerminalSettings } from './chat/terminal'

/** A stream that may be a terminal. */
export interface Output {
  write(text: string): unknown
  isTTY?: boolean
}

/** Everything of the process that a command touches: the streams, the environment, Ctrl-C, and the ways into the library. */
export interface Shell {
  stdin: AsyncIterable<Uint8Array>
  stdout: Output
  stderr: Output
  env: Record<string, string | undefined>
  /** The first Ctrl-C from now on calls `handler` instead of ending the process; the next one ends it. */
  onInterrupt(handler: () => void): void
  /** The first SIGTERM from now on calls `handler` instead of ending the process; the next one ends it. */
  onTerminate(handler: () => void): void
  /** Where lines are typed; undefined where stdin is no terminal. */
  openTerminal?: (settings: TerminalSettings) => Lines
  load: typeof Engine.load
  inspect: typeof inspectModel
  diagnose: typeof diagnose
  quantize: typeof quantizeModel
}
