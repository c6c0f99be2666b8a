/** What the server does around an API: keys, origins, statuses, health, metrics, streams. The engine is scripted. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Engine } from '../../lib/engine'
import type { ServerOptions } from '../../lib/server/options'
import { LINGER } from '../../lib/server/reply'
import { createServer } from '../../lib/server/server'
import { fakeEngine } from '../engine/fake-engine'
import { serve, until } from './http'
import { failed, type Script, scriptedEngine } from './scripted-engine'

const CHAT = '/v1/chat/completions'
const ASK = { messages: [{ role: 'user', content: 'Yes?' }] }

async function started(engine: Engine | Promise<Engine> = scriptedEngine(), options: ServerOptions = {}) {
  const server = await serve(engine, options)
  onTestFinished(server.stop)
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetch(server.url + path, { headers, method })
  return { ...server, get }
}

interface ErrorBody {
  error: { message: string; type: string; code: string | null; param: string | null }
}
const errorOf = async (response: Response) => ((await response.json()) as ErrorBody).error

describe('statuses', () => {
  it.each([
    ['BAD_INPUT', 400, 'invalid_request_error', null],
    ['BAD_OPTION', 400, 'invalid_request_error', null],
    ['CONTEXT_LENGTH_EXCEEDED', 400, 'invalid_request_error', 'context_length_exceeded'],
    ['QUEUE_FULL', 429, 'rate_limit_error', 'queue_full'],
    ['CLOSED', 503, 'server_error', null],
    ['DEVICE_ERROR', 503, 'server_error', null],
    ['OUT_OF_MEMORY', 503, 'server_error', null],
  ] as const)('of %s is %i, streamed or not', async (code, status, type, itsCode) => {
    const { post } = await started(scriptedEngine({ refusal: failed(code) }))
    for (const stream of [false, true]) {
      const response = await post(CHAT, { ...ASK, stream })
      expect(response.status).toBe(status)
      expect(response.headers.get('retry-after')).toBe(status === 429 || status === 503 ? '1' : null)
      expect(await errorOf(response)).toEqual({ message: 'it failed', type, param: null, code: itsCode })
    }
  })

  it('of a bug is 500, which says nothing about it, and the log has all', async () => {
    const bug = new TypeError('secret is not a function')
    const { post, log } = await started(scriptedEngine({ refusal: bug }))
    const response = await post(CHAT, ASK)
    expect(response.status).toBe(500)
    expect(await errorOf(response)).toMatchObject({ type: 'server_error', message: 'internal error of the server' })
    expect(log).toMatchObject([{ status: 500, error: bug }])
  })

  it('of paths and methods', async () => {
    const { get, post } = await started()
    expect((await post('/v1/nothing', {})).status).toBe(404)
    expect((await get('/v1/models/{id}')).status).toBe(404)
    expect((await get('/__proto__')).status).toBe(404)
    const wrong = await get(CHAT)
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST'])
    expect((await get(CHAT, {}, 'OPTIONS')).status).toBe(405)
    expect((await get('/health', {}, 'POST')).status).toBe(405)
    const head = await get('/health', {}, 'HEAD')
    expect([head.status, await head.text()]).toEqual([200, ''])
    expect((await get('/health?verbose=1')).status).toBe(200)
  })

  it.each([
    ['nothing', '', 'found nothing'],
    ['what is no JSON', '{"a":', 'expected JSON'],
    ['what is no object', '[]', 'expected a JSON object'],
    ['null', 'null', 'expected a JSON object'],
    ['deep nesting', `{"messages":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'messages[0]'],
  ])('of a body with %s is 400', async (_, body, message) => {
    const { post } = await started(scriptedEngine({ refusal: failed('BAD_INPUT', 'messages[0]: expected an object') }))
    const response = await post(CHAT, body)
    expect(response.status).toBe(400)
    expect((await errorOf(response)).message).toContain(message)
  })

  it('of bytes that are no UTF-8, of a body that is packed, and of one that is too large', async () => {
    const { url, post } = await started(undefined, { maxBodyBytes: 100 })
    const send = (body: Uint8Array, headers = {}) => fetch(url + CHAT, { method: 'POST', body, headers })
    expect((await send(Buffer.from([0x22, 0xff, 0x22]))).status).toBe(400)
    expect((await send(Buffer.from('{}'), { 'content-encoding': 'gzip' })).status).toBe(415)
    expect((await send(Buffer.from('{}'), { 'content-encoding': 'Identity' })).status).toBe(200)
    expect((await post(CHAT, { messages: 'x'.repeat(100) })).status).toBe(413)
  })
})

describe('an API key', () => {
  it('is asked for everywhere but at /health', async () => {
    const { get, post } = await started(undefined, { apiKey: 'secret' })
    for (const path of ['/metrics', '/v1/models', '/nothing']) {
      const response = await get(path)
      expect(response.status).toBe(401)
      expect(await errorOf(response)).toMatchObject({ code: 'invalid_api_key' })
    }
    expect((await get('/health')).status).toBe(200)
    const with_ = (headers: Record<string, string>) => post(CHAT, ASK, headers).then(({ status }) => status)
    expect(await with_({ authorization: 'Bearer secret' })).toBe(200)
    expect(await with_({ 'x-api-key': 'secret' })).toBe(200)
    expect(await with_({ authorization: 'Bearer other', 'x-api-key': 'secret' })).toBe(200)
    expect(await with_({ authorization: 'secret' })).toBe(401)
    expect(await with_({ authorization: 'Bearer secret2' })).toBe(401)
    expect(await with_({ 'x-api-key': '' })).toBe(401)
  })

  it('that cannot stand in a header is refused without being repeated', () => {
    expect(() => createServer(scriptedEngine(), { apiKey: 'sécret' })).toThrow(/^apiKey: [^é]*$/)
    expect(() => createServer(scriptedEngine(), { apikey: 'secret' } as never)).toThrow(/apiKey/)
  })
})

describe('an origin', () => {
  it('is allowed where the server says so, for the request before the request too', async () => {
    const { get, post } = await started(undefined, { cors: 'https://page', apiKey: 'secret' })
    const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' }
    const before = await get(CHAT, { origin: 'https://page', ...asked }, 'OPTIONS')
    expect(before.status).toBe(204)
    expect(Object.fromEntries(before.headers)).toMatchObject({
      'access-control-allow-origin': 'https://page',
      'access-control-allow-headers': 'authorization',
      'access-control-allow-methods': 'GET, POST',
      vary: 'origin',
    })
    const refused = await post(CHAT, ASK)
    expect(refused.status).toBe(401)
    expect(refused.headers.get('access-control-allow-origin')).toBe('https://page')
    expect(refused.headers.get('access-control-expose-headers')).toBe('x-request-id, request-id, retry-after')
  })

  it('is not, by default', async () => {
    const { post } = await started()
    expect((await post(CHAT, ASK, { origin: 'https://page' })).headers.get('access-control-allow-origin')).toBe(null)
  })
})

it('a request keeps the name that it came with, if it is sane', async () => {
  const { post, log } = await started()
  const named = async (name: string) => (await post(CHAT, ASK, { 'x-request-id': name })).headers.get('x-request-id')
  expect(await named('trace-1/2:3')).toBe('trace-1/2:3')
  expect(await named('two words')).toMatch(/^\w{32}$/)
  expect(await named('x'.repeat(200))).toMatch(/^\w{32}$/)
  expect(log[0]).toMatchObject({ id: 'trace-1/2:3', tokens: { prompt: 2, cached: 1, completion: 1 } })
  const { id } = (await (await post(CHAT, ASK, { 'x-request-id': 'a' })).json()) as { id: string }
  expect(id).toMatch(/^chatcmpl-\w{32}$/) // that name need not be unique
})

describe('/health', () => {
  const state = async (get: (path: string) => Promise<Response>) => {
    const response = await get('/health')
    return [response.status, ((await response.json()) as { status: string }).status]
  }

  it('says that the model loads, and then that it is there', async () => {
    let load!: (engine: Engine) => void
    const loading = new Promise<Engine>((resolve) => {
      load = resolve
    })
    const { get, post } = await started(loading)
    expect(await state(get)).toEqual([503, 'loading'])
    expect((await post(CHAT, ASK)).status).toBe(503)
    expect((await get('/v1/models')).status).toBe(503)
    expect((await get('/metrics')).status).toBe(200)
    load(scriptedEngine())
    await loading
    expect(await state(get)).toEqual([200, 'ok'])
    expect((await post(CHAT, ASK)).status).toBe(200)
  })

  it('says that loading or the device has failed', async () => {
    for (const reason of [failed('OUT_OF_MEMORY'), undefined]) {
      const { get, post } = await started(Promise.reject(reason))
      expect(await state(get)).toEqual([503, 'failed'])
      const refused = await post(CHAT, ASK)
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, null])
      expect((await errorOf(refused)).message).toMatch(/^the model could not be loaded: /)
    }
    const broken = scriptedEngine({}, failed('CLOSED', 'the engine is closed, after an error'))
    expect(await state((await started(broken)).get)).toEqual([503, 'failed'])
    const { engine } = fakeEngine()
    const { get } = await started(engine)
    expect(await state(get)).toEqual([200, 'ok'])
    await engine.close()
    expect(await state(get)).toEqual([503, 'failed'])
  })
})

it('/v1/models has the one model, by the name of its folder or another', async () => {
  const { get } = await started()
  expect(await (await get('/v1/models')).json()).toMatchObject({ object: 'list', data: [{ id: 'some-model' }] })
  const named = await started(undefined, { servedName: 'owner/name' })
  for (const path of ['/v1/models/owner/name', '/v1/models/owner%2Fname']) {
    expect(await (await named.get(path)).json()).toMatchObject({ id: 'owner/name', object: 'model' })
  }
  expect((await named.get('/v1/models/some-model')).status).toBe(404)
  expect((await named.get('/v1/models/%')).status).toBe(404)
})

it('/metrics counts requests and what the engine counts', async () => {
  const { get, post } = await started()
  await post(CHAT, ASK)
  await post('/nothing', {})
  for (let i = 0; i < 2; i++) {
    const response = await get('/metrics')
    const text = await response.text()
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/)
    for (const line of [
      `m2_requests_total{route="${CHAT}",status="200"} 1`,
      'm2_requests_total{route="other",status="404"} 1',
      'm2_sequences_running 2',
      'm2_sequences_waiting 3',
      'm2_pages_total 10',
      'm2_pages_free 4',
      'm2_pages_cached 5',
      'm2_pages_private 1',
      'm2_steps_total 11',
      'm2_prompt_tokens_total 12',
      'm2_cached_tokens_total 6',
      'm2_generated_tokens_total 13',
      'm2_time_to_first_token_seconds_count 1',
      'm2_time_to_first_token_seconds_sum 0.005',
      'm2_queue_time_seconds_count 1',
      `m2_request_duration_seconds_count{route="${CHAT}"} 1`,
    ]) {
      expect(text.split('\n')).toContain(line)
    }
  }
})

describe('a stream', () => {
  const stream = async (script: Script) => {
    const { post, log } = await started(scriptedEngine(script), { pingMs: 10 })
    const response = await post(CHAT, { ...ASK, stream: true })
    return { response, log }
  }

  it('pings while a prefill runs', async () => {
    let end!: () => void
    const prefill = new Promise<void>((resolve) => {
      end = resolve
    })
    const { response } = await stream({ prefill })
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    let text = ''
    for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
      text += piece
      if (text.split(': ping\n\n').length > 3) end()
    }
    expect(text).toMatch(/: ping\n\n: ping\n\n(.|\n)*"yes"(.|\n)*\[DONE\]\n\n$/)
  })

  it('that fails ends with an error, without a mark of its end', async () => {
    const { response, log } = await stream({ error: failed('DEVICE_ERROR', 'the device is gone') })
    expect(response.status).toBe(200)
    const text = await response.text()
    expect(text).toMatch(/"yes".*\n\ndata: \{"error":\{"message":"the device is gone".*\}\n\n$/)
    expect(log).toMatchObject([{ status: 200, error: { code: 'DEVICE_ERROR' } }])
  })
})

describe('close', () => {
  it('waits for what runs, says so, and sends the others away', async () => {
    let end!: () => void
    const prefill = new Promise<void>((resolve) => {
      end = resolve
    })
    const { server, post, log } = await started(scriptedEngine({ prefill }))
    const answers = [post(CHAT, ASK), post(CHAT, { ...ASK, stream: true })]
    const begun = await answers[1]!
    let closed = false
    server.close(() => {
      closed = true
    })
    await expect(post(CHAT, ASK)).rejects.toThrow()
    expect(closed).toBe(false)
    end()
    expect((await answers[0]!).status).toBe(200)
    expect(await begun.text()).toContain('[DONE]')
    await until(() => closed)
    expect(log.map(({ status }) => status)).toEqual([200, 200])
  })

  it('waits for nobody who has asked nothing', async () => {
    const { server, port } = await started()
    let connections = 0
    server.on('connection', () => {
      connections++
    })
    const silent = connect(port, '127.0.0.1')
    const hesitant = connect(port, '127.0.0.1')
    hesitant.write(`POST ${CHAT} HTTP/1.1\r\nhost:`)
    await until(() => connections === 2)
    const gone = Promise.all([once(silent.resume(), 'close'), once(hesitant.resume(), 'close')])
    await new Promise((resolve) => server.close(resolve))
    await gone
  })

  it('says to who still has a connection that the server drains', async () => {
    let end!: () => void
    const prefill = new Promise<void>((resolve) => {
      end = resolve
    })
    const { server, port } = await started(scriptedEngine({ prefill }))
    const socket = connect(port, '127.0.0.1').setEncoding('utf8')
    const body = JSON.stringify(ASK)
    socket.write(`POST ${CHAT} HTTP/1.1\r\nhost: here\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    await once(server, 'request')
    server.close()
    socket.write('GET /health HTTP/1.1\r\nhost: here\r\n\r\n')
    await once(server, 'request')
    end()
    let text = ''
    for await (const piece of socket) text += piece
    expect(text).toMatch(
      /^HTTP\/1.1 200 (.|\r\n)*HTTP\/1.1 503 (.|\r\n)*connection: close(.|\r\n)*\{"status":"draining"\}$/i,
    )
  })
})

it('a connection goes on after a body that nobody wanted', async () => {
  let end = () => {}
  const prefill = new Promise<void>((resolve) => {
    end = resolve
  })
  const { server, port } = await started(scriptedEngine({ prefill }))
  const socket = connect(port, '127.0.0.1').setEncoding('utf8')
  onTestFinished(() => void socket.destroy())
  let text = ''
  socket.on('data', (piece) => {
    text += piece
  })
  const send = (path: string, body: string) =>
    socket.write(`POST ${path} HTTP/1.1\r\nhost: here\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  send('/nothing', 'x'.repeat(300_000))
  await until(() => text.includes('404 Not Found'))
  send(CHAT, JSON.stringify(ASK))
  await once(server, 'request')
  setTimeout(end, LINGER + 100)
  await Promise.race([until(() => text.includes('200 OK')), once(socket, 'close')])
  expect(text).toContain('200 OK')
})

it.each([
  ['throws', () => thrown()],
  ['rejects', async () => thrown()],
])('a log that %s harms nobody', async (_, onRequest) => {
  const { post } = await started(undefined, { onRequest })
  expect((await post(CHAT, ASK)).status).toBe(200)
  expect((await post(CHAT, ASK)).status).toBe(200)
})

function thrown(): never {
  throw new Error('disk full')
}
