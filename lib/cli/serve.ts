/** `m2 serve`: a model behind HTTP. Everything it says goes to stderr: where it is, and a line for each request. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import type { Command } from 'commander'
import { createServer, type Engine, type EngineOptions, type RequestLog } from '../index'
import { addModelOptions, loadEngine, type ModelFlags } from './model-flags'
import type { Shell } from './shell'
import { whole } from './values'

interface Flags extends ModelFlags, Pick<EngineOptions, 'kvMemory' | 'maxContext' | 'maxSequences'> {
  host: string
  port: number
  apiKey?: string
  cors?: string
  servedName?: string
  grace: number
  quiet?: boolean
}

const EXAMPLES = `
Examples:
  m2 serve
  m2 serve --model MiniMaxAI/MiniMax-M2 --host 0.0.0.0 --api-key "$KEY"`

/** Milliseconds in which clients may take what was generated before the end. */
const FAREWELL = 2000

/** Adds the command; `done` receives its exit status. */
export function addServe(program: Command, shell: Shell, done: (status: number) => void): void {
  const command = program.command('serve').description("serve a model over HTTP, with OpenAI's and Anthropic's APIs")
  addModelOptions(command)
    .option('--host <host>', 'the address to listen on', '127.0.0.1')
    .option('--port <port>', 'the port; 0: any that is free', whole({ least: 0, most: 65_535 }), 8000)
    .option('--api-key <key>', 'what clients must present; also M2_API_KEY (default: none)')
    .option('--cors <origin>', 'the origin whose pages may use the server; *: any (default: none)')
    .option('--served-name <name>', "what the model is called (default: its folder's name)")
    .option('--grace <seconds>', 'how long running requests may go on after SIGTERM', whole({ least: 0 }), 30)
    .option('--kv-memory <size>', 'memory of the KV cache, such as 2GiB (default: what fits)')
    .option('--max-context <n>', "tokens of a sequence (default: the model's own limit)", whole({ least: 2 }))
    .option('--max-sequences <n>', 'sequences that run at the same time (default: 64)', whole({ least: 1 }))
    .option('--quiet', 'no progress and no line for each request on stderr')
    .addHelpText('after', EXAMPLES)
    .action(async (flags: Flags) => done(await serve(flags, shell)))
}

async function serve(flags: Flags, shell: Shell): Promise<number> {
  const { kvMemory, maxContext, maxSequences } = flags
  let load!: () => void
  // The port is taken before the model is loaded, which may take minutes: /health answers meanwhile, and a port in use shows at once.
  const loading = new Promise<void>((resolve) => {
    load = resolve
  }).then(() => loadEngine(flags, shell, flags.quiet, { kvMemory, maxContext, maxSequences }))
  const server = createServer(loading, {
    servedName: flags.servedName,
    apiKey: flags.apiKey ?? shell.env.M2_API_KEY,
    cors: flags.cors,
    onRequest: flags.quiet ? undefined : (entry) => shell.stderr.write(`${requestLine(entry)}\n`),
  })
  try {
    await once(server.listen(flags.port, flags.host), 'listening')
  } catch (error) {
    shell.stderr.write(`m2: cannot listen on ${flags.host}, port ${flags.port}: ${(error as Error).message}\n`)
    return 1
  }
  load()
  try {
    const engine = await loading
    const name = flags.servedName ?? path.basename(engine.model.directory)
    shell.stderr.write(`m2: serving ${name} at ${addressOf(server)}\n`)
    await new Promise<void>((resolve) => {
      shell.onInterrupt(resolve)
      shell.onTerminate(resolve)
    })
    await drain(server, engine, flags.grace)
    return 0
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

/** Running requests end, or are ended after `grace` seconds; then the engine is closed. */
async function drain(server: Server, engine: Engine, grace: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve))
  const timers = [
    setTimeout(() => void engine.close(), grace * 1000),
    setTimeout(() => server.closeAllConnections(), grace * 1000 + FAREWELL),
  ]
  await closed
  for (const timer of timers) clearTimeout(timer)
  await engine.close()
}

function addressOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}

/** No line says what was asked or answered, so an error is named only where it is the server's own. */
function requestLine({ id, method, route, status, ms, tokens, error }: RequestLog): string {
  const counts = tokens ? ` prompt=${tokens.prompt} cached=${tokens.cached} completion=${tokens.completion}` : ''
  const line = `${new Date().toISOString()} ${id} ${method} ${route} ${status} ${ms.toFixed(0)}ms${counts}`
  if (!error || (status >= 400 && status < 500)) return line
  return `${line} error=${JSON.stringify(error instanceof Error ? (error.stack ?? error.message) : String(error))}`
}
