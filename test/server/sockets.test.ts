/** Clients that misbehave, on raw sockets. What each of them leaves behind: nothing. */
import { connect, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { Engine } from '../../lib/engine'
import { idle, serve, until } from './http'

const CHAT = '/v1/chat/completions'
const SUM = { messages: [{ role: 'user', content: 'What is 47 + 38?' }] }
/** More than fits between a server and a client that does not read. */
const LONG = { ...SUM, stream: true, ignore_eos: true, max_tokens: 400, n: 32, logprobs: true, top_logprobs: 20 }
const LIMIT = 64 * 1024

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
beforeAll(async () => {
  engine = await Engine.load()
})
afterAll(() => engine.close())
beforeEach(async () => {
  server = await serve(engine, { maxBodyBytes: LIMIT, pingMs: 20 })
})
afterEach(async () => {
  server.stop()
  await idle(engine)
})

interface Client {
  socket: Socket
  /** All that came. */
  text(): string
  /** The connection has closed. */
  closed: Promise<void>
}

function client(...pieces: string[]): Client {
  const socket = connect(server.port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  let text = ''
  socket.setEncoding('utf8').on('data', (piece) => {
    text += piece
  })
  socket.on('error', () => {})
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
  for (const piece of pieces) socket.write(piece)
  return { socket, text: () => text, closed }
}

function head(path: string, ...headers: string[]): string {
  return [`POST ${path} HTTP/1.1`, 'host: here', ...headers, '', ''].join('\r\n')
}

function post(path: string, body: object | string, ...headers: string[]): string {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return head(path, `content-length: ${Buffer.byteLength(text)}`, ...headers) + text
}

const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))
const answered = (one: Client, ...expected: number[]) =>
  until(() => statuses(one.text()).length >= expected.length).then(() => expect(statuses(one.text())).toEqual(expected))

describe('a client that', () => {
  it.each([
    ['speaks no HTTP', 'hello, server\r\n\r\n', 400],
    ['sends a huge head', `GET /health HTTP/1.1\r\nx: ${'x'.repeat(100_000)}`, 431],
    ['sends two lengths', head(CHAT, 'content-length: 3', 'content-length: 4'), 400],
    ['sends a length and chunks', head(CHAT, 'content-length: 3', 'transfer-encoding: chunked'), 400],
    ['sends a chunk without a size', `${head(CHAT, 'transfer-encoding: chunked')}nothing\r\n`, 400],
    ['names no host', 'GET /health HTTP/1.1\r\n\r\n', 400],
  ])('%s hears so and is sent away', async (_, bytes, status) => {
    const one = client(bytes)
    await answered(one, status)
    await one.closed
  })

  it('declares a body beyond the limit hears so before it is sent', async () => {
    const one = client(head(CHAT, `content-length: ${LIMIT + 1}`))
    await answered(one, 413)
  })

  it('sends more than the limit in chunks hears so, and is not read for long', async () => {
    const one = client(head(CHAT, 'transfer-encoding: chunked'))
    const chunk = `1000\r\n${'x'.repeat(0x1000)}\r\n`
    const more = setInterval(() => one.socket.write(chunk), 1)
    onTestFinished(() => clearInterval(more))
    await answered(one, 413)
    await one.closed
  })

  it('is asked for its body once its head has been found good', async () => {
    const body = JSON.stringify({ ...SUM, max_tokens: 1 })
    const one = client(head(CHAT, `content-length: ${body.length}`, 'expect: 100-continue'))
    await answered(one, 100)
    one.socket.write(body)
    await answered(one, 100, 200)
    const other = client(head('/nothing', 'content-length: 5', 'expect: 100-continue'))
    await answered(other, 404)
    const third = client(head(CHAT, 'content-length: 5', 'expect: a miracle'))
    await answered(third, 417)
  })

  it('takes too long for its head is sent away', async () => {
    server.server.headersTimeout = 50
    const one = client('GET /health HTTP/1.1\r\nhost:')
    await answered(one, 408)
    await one.closed
  })

  it('takes too long for its body is sent away', async () => {
    server.server.headersTimeout = 50
    server.server.requestTimeout = 50
    const one = client(post(CHAT, SUM).slice(0, -5))
    await answered(one, 408)
    await one.closed
  })

  it('leaves in the middle of its body starts nothing', async () => {
    const before = engine.stats().promptTokens
    const one = client(post(CHAT, SUM).slice(0, -5))
    await until(() => server.server.listening)
    one.socket.end()
    await until(() => server.log.length === 1)
    expect(server.log[0]).toMatchObject({ status: 499 })
    expect(engine.stats().promptTokens).toBe(before)
  })

  it('pipelines gets all answers, in order', async () => {
    const asks = [post(CHAT, { ...SUM, max_tokens: 1 }), post('/nothing', {}), post('/tokenize', { text: 'a' })]
    const one = client([...asks, 'GET /health HTTP/1.1\r\nhost: here\r\n\r\n'].join(''))
    await answered(one, 200, 404, 200, 200)
  })

  it('pipelines and leaves ends all that it began', async () => {
    const one = client(post(CHAT, LONG).repeat(3))
    await until(() => engine.stats().sequences.running > 0)
    one.socket.destroy()
    await idle(engine)
    await until(() => server.log.length === 3)
    expect(server.log.map(({ status }) => status)).toEqual([499, 499, 499])
  })

  it('speaks nonsense behind a request that is being answered is sent away without a word in between', async () => {
    const one = client(post(CHAT, LONG))
    await until(() => one.text().includes('data: '))
    one.socket.write('nonsense\r\n\r\n')
    await one.closed
    expect(statuses(one.text())).toEqual([200])
    await idle(engine)
  })

  it('never reads halts its generations, which give back their places', async () => {
    const one = client(post(CHAT, LONG))
    one.socket.pause()
    await until(() => engine.stats().sequences.running > 0)
    await until(() => engine.stats().sequences.running === 0)
    expect(engine.stats().sequences.waiting).toBeGreaterThan(0)
    expect(engine.stats().pages.private).toBe(0)
    const beside = await server.post(CHAT, SUM)
    expect(beside.status).toBe(200)
    one.socket.destroy()
    await idle(engine)
  })

  it('leaves in mid-stream ends its generation', async () => {
    const one = client(post(CHAT, LONG))
    await until(() => one.text().includes('"content"'))
    one.socket.destroy()
    await idle(engine)
  })

  it('leaves while a whole answer is made ends its generation', async () => {
    const one = client(post(CHAT, { ...LONG, stream: false }))
    await until(() => engine.stats().sequences.running > 0)
    const { generatedTokens } = engine.stats()
    one.socket.destroy()
    await idle(engine)
    expect(engine.stats().generatedTokens - generatedTokens).toBeLessThan(LONG.n * LONG.max_tokens)
  })
})

describe('1,000 connections', () => {
  it('are all answered, whoever is silent or leaves beside them', async () => {
    const body = post(CHAT, { ...SUM, max_tokens: 2 })
    const all = Array.from({ length: 1000 }, (_, i) => client(i % 10 === 0 ? 'POST' : body))
    const askers = all.filter((_, i) => i % 10 !== 0)
    for (const [i, one] of askers.entries()) if (i % 3 === 0) setTimeout(() => one.socket.destroy(), i % 50)
    const staying = askers.filter((_, i) => i % 3 !== 0)
    await until(() => staying.every((one) => one.text().includes('"usage"')))
    expect(staying.every((one) => statuses(one.text()).join() === '200')).toBe(true)
    await idle(engine)
  })
})
