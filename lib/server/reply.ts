import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ServerEvent } from './face'

/** Milliseconds for which a client that was answered may go on sending: a connection that is closed at once may take the answer with it. */
export const LINGER = 1000

/** An answer to one request, and whether anybody still waits for it. */
export class Reply {
  private readonly left = new AbortController()

  constructor(
    readonly req: IncomingMessage,
    readonly res: ServerResponse,
  ) {
    res.on('error', () => {}) // of a connection that is gone, which its closing says as well
    res.on('finish', () => {
      if (!req.complete) setTimeout(() => req.complete || req.socket.destroy(), LINGER).unref()
    })
  }

  /** Aborts when the client has gone. */
  get signal(): AbortSignal {
    return this.left.signal
  }

  /** The connection has closed. */
  leave(): void {
    if (!this.res.writableFinished) this.left.abort()
  }

  json(status: number, body: object, headers: Record<string, string> = {}): void {
    this.send(status, 'application/json', JSON.stringify(body), headers)
  }

  send(status: number, type: string, text: string, headers: Record<string, string> = {}): void {
    if (this.signal.aborted) return
    const bytes = Buffer.from(text)
    this.res.writeHead(status, { ...headers, 'content-type': type, 'content-length': bytes.length })
    this.res.end(bytes)
  }

  /** @param pingMs a comment is sent whenever nothing else was for so many milliseconds. */
  events(pingMs: number): EventStream {
    return new EventStream(this.res, this.signal, pingMs)
  }
}

/** Server-sent events, no faster than the client reads them. */
export class EventStream {
  private readonly pings: NodeJS.Timeout

  constructor(
    private readonly res: ServerResponse,
    private readonly signal: AbortSignal,
    pingMs: number,
  ) {
    res.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no', // a proxy in between must not collect them
    })
    res.flushHeaders()
    this.pings = setInterval(() => this.ping(), pingMs).unref()
    signal.addEventListener('abort', () => clearInterval(this.pings), { once: true })
  }

  /** Resolves when the client has read on, or has gone. */
  async send(events: readonly ServerEvent[]): Promise<void> {
    if (events.length === 0 || this.signal.aborted) return
    this.pings.refresh()
    if (this.res.write(events.map(frame).join(''))) return
    await once(this.res, 'drain', { signal: this.signal }).catch(() => {})
  }

  end(): void {
    clearInterval(this.pings)
    this.res.end()
  }

  private ping(): void {
    if (!this.res.writableNeedDrain) this.res.write(': ping\n\n')
  }
}

function frame({ event, data }: ServerEvent): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  return `${event === undefined ? '' : `event: ${event}\n`}data: ${text}\n\n`
}
