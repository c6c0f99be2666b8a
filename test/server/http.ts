/** A server on a port of its own, and ways to talk to it. */
import type { AddressInfo } from 'node:net'
import type { Engine } from '../../lib/engine'
import type { RequestLog, ServerOptions } from '../../lib/server/options'
import { createServer } from '../../lib/server/server'

export async function serve(engine: Engine | Promise<Engine>, options: ServerOptions = {}) {
  const log: RequestLog[] = []
  const server = createServer(engine, { onRequest: (entry) => log.push(entry), ...options })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  return {
    server,
    url,
    port,
    log,
    post: (path: string, body: unknown, headers: Record<string, string> = {}) =>
      fetch(url + path, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        headers: { 'content-type': 'application/json', ...headers },
      }),
    /** At once, whatever runs. */
    stop: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Until the condition holds: at most as long as a test may take. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Nothing runs, and no page is lost. */
export async function idle(engine: Engine): Promise<void> {
  await until(() => {
    const { pages, sequences } = engine.stats()
    return sequences.running + sequences.waiting === 0 && pages.free + pages.cached === pages.total
  })
}
