import { type Server, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { LINGER, type Reply } from './reply'

const STATUS_OF: Record<string, number> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }

/** The open connections of a server and the requests on each: who has gone, and who may be sent away. */
export class Connections {
  private readonly open = new Map<Socket, Set<Reply>>()

  constructor(private readonly server: Server) {
    server.on('connection', (socket: Socket) => {
      const replies = new Set<Reply>()
      this.open.set(socket, replies)
      socket.on('close', () => {
        this.open.delete(socket)
        for (const reply of replies) reply.leave()
      })
    })
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.refuse(error, socket as Socket))
  }

  add(reply: Reply): void {
    const { socket } = reply.req
    const replies = this.open.get(socket)
    replies?.add(reply)
    reply.res.on('close', () => {
      reply.leave()
      replies?.delete(reply)
      if (!this.server.listening && replies?.size === 0) farewell(socket)
    })
  }

  /** Closes those that wait for no answer, silent ones and half a head included. */
  closeIdle(): void {
    for (const [socket, replies] of this.open) if (replies.size === 0) socket.destroy()
  }

  /** What came is not HTTP, or came too slowly. */
  private refuse(error: NodeJS.ErrnoException, socket: Socket): void {
    const hasBegun = [...(this.open.get(socket) ?? [])].some(({ res }) => res.headersSent)
    if (!socket.writable || hasBegun) {
      socket.destroy()
      return
    }
    const status = STATUS_OF[error.code ?? ''] ?? 400
    const reason = STATUS_CODES[status]!
    const body = JSON.stringify({ error: { message: reason, type: 'invalid_request_error', param: null, code: null } })
    const head = [`HTTP/1.1 ${status} ${reason}`, 'connection: close', 'content-type: application/json']
    farewell(socket, `${[...head, `content-length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`)
  }
}

function farewell(socket: Socket, words?: string): void {
  if (words === undefined) socket.end()
  else socket.end(words)
  setTimeout(() => socket.destroy(), LINGER).unref()
}
