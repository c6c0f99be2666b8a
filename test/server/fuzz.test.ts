/**
 * Requests by the hundred with a few seeded changes: each is answered, with what was asked for or one error in the API's own shape that is the client's
 * (4xx), in time, and afterwards every page is back. M2_FUZZ_ROUNDS and M2_FUZZ_SEED for longer runs.
 */
import { once } from 'node:events'
import type http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createServer, Engine } from '../../lib/index'
import { changed, type Json } from '../json-changes'
import { Random } from '../reference/random'

const ROUNDS = Number(process.env.M2_FUZZ_ROUNDS ?? 60)
const SEED = Number(process.env.M2_FUZZ_SEED ?? 1)

const PARAMETERS = {
  type: 'object',
  properties: { place: { type: 'string', enum: ['Oslo'] }, n: { type: ['integer', 'null'], minimum: 1 } },
  required: ['place'],
}
const FUNCTION = { name: 'clock', description: 'The time.', parameters: PARAMETERS }
const CALL = { id: 'call_1', type: 'function', function: { name: 'clock', arguments: '{"place":"Oslo"}' } }

/** A sound request of every route, with most of its fields. */
const REQUESTS: Record<string, Json> = {
  '/v1/chat/completions': {
    model: 'm2',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: [{ type: 'text', text: 'What is 47 + 38?' }] },
      { role: 'assistant', content: null, reasoning_content: 'Hm.', tool_calls: [CALL] },
      { role: 'tool', tool_call_id: 'call_1', content: '12:00' },
      { role: 'user', content: 'Thanks' },
    ],
    tools: [{ type: 'function', function: FUNCTION }],
    tool_choice: 'auto',
    response_format: { type: 'json_schema', json_schema: { name: 'x', schema: PARAMETERS } },
    ...{ max_tokens: 5, temperature: 1, top_p: 0.9, top_k: 5, n: 2, seed: 3, logprobs: true, top_logprobs: 2 },
    ...{ stop: ['x'], logit_bias: { '7': 1 }, presence_penalty: 0.1, stream: false, stream_options: null },
  },
  '/v1/completions': {
    ...{ prompt: ['Once', 'Twice'], max_tokens: 4, echo: false, logprobs: 1, stream: true, n: 1, stop: 'y' },
    ...{
      stop_token_ids: [3],
      ignore_eos: false,
      return_token_ids: true,
      min_p: 0.1,
      stream_options: { include_usage: true },
    },
  },
  '/v1/responses': {
    instructions: 'Be brief.',
    input: [
      { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'The time in Oslo?' }] },
      { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'A clock.' }] },
      { type: 'function_call', call_id: 'c1', name: 'clock', arguments: '{"place":"Oslo"}' },
      { type: 'function_call_output', call_id: 'c1', output: '12:00' },
    ],
    tools: [{ type: 'function', ...FUNCTION, strict: false }],
    ...{
      max_output_tokens: 5,
      temperature: 0,
      stream: true,
      text: { format: { type: 'text' } },
      tool_choice: 'required',
    },
  },
  '/v1/messages': {
    ...{ model: 'm2', max_tokens: 5, system: [{ type: 'text', text: 'Be brief.' }], stream: false, top_k: 3 },
    messages: [
      { role: 'user', content: 'The time in Oslo?' },
      {
        role: 'assistant',
        content: [
          { type: 'thinking', thinking: 'A clock.', signature: 's' },
          { type: 'tool_use', id: 't1', name: 'clock', input: { place: 'Oslo' } },
        ],
      },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 't1', content: '12:00' },
          { type: 'text', text: 'So?' },
        ],
      },
    ],
    tools: [{ name: 'clock', description: 'The time.', input_schema: PARAMETERS }],
    ...{ tool_choice: { type: 'auto' }, stop_sequences: ['z'], thinking: { type: 'enabled', budget_tokens: 1024 } },
  },
  '/v1/messages/count_tokens': { messages: [{ role: 'user', content: 'Hello' }], tools: [] },
  '/tokenize': { text: 'Hello' },
  '/detokenize': { tokens: [5, 6, 7] },
}

let engine: Engine
let server: http.Server
let url: string

beforeAll(async () => {
  engine = await Engine.load(undefined, { maxContext: 512, maxSequences: 4 })
  server = createServer(engine)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.close()
  await engine.close()
})

const copy = (value: Json): Json => JSON.parse(JSON.stringify(value))

/** Few tokens, whatever the changes have made of the limits. */
function limited(body: Json): Json {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body
  for (const key of ['max_tokens', 'max_output_tokens', 'max_completion_tokens']) {
    if (!(key in body) || (typeof body[key] === 'number' && body[key] > 20)) body[key] = 6
  }
  return body
}

async function send(route: string, body: string | Buffer): Promise<{ status: number; text: string }> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(url + route, { method: 'POST', headers, body, signal: AbortSignal.timeout(20_000) })
  return { status: response.status, text: await response.text() }
}

function checkAnswer(where: string, { status, text }: { status: number; text: string }): void {
  expect(status, `${where}: ${text}`).toBeLessThan(500)
  if (status === 200) {
    expect(text, where).not.toMatch(/internal|TypeError|\[object /)
    return
  }
  const { message } = (JSON.parse(text) as { error: { message: string } }).error
  expect(message, where).toMatch(/\S/)
  expect(message, where).not.toMatch(/\n|internal|is not a function|Cannot read|\[object /)
  expect(message.length, where).toBeLessThan(1000)
}

function checkPages(where: string): void {
  const { pages, sequences } = engine.stats()
  expect([pages.private, pages.free + pages.cached, sequences], where).toEqual([
    0,
    pages.total,
    { running: 0, waiting: 0 },
  ])
}

describe.each(Object.entries(REQUESTS))('%s', (route, sound) => {
  it('answers the sound request', async () => {
    expect((await send(route, JSON.stringify(sound))).status).toBe(200)
  })

  it('answers whatever becomes of it', async () => {
    let refused = 0
    for (let round = 0; round < ROUNDS; round++) {
      const random = new Random(SEED * 1_000_003 + round)
      let body = copy(sound)
      for (let i = random.integer(3); i >= 0; i--) body = changed(random, body)
      const text = JSON.stringify(limited(body)) ?? ''
      const where = `seed ${SEED}, round ${round}: ${text.slice(0, 500)}`
      const answer = await send(route, text).catch((cause: Error) => {
        throw new Error(`${where}: ${cause.message}`, { cause })
      })
      checkAnswer(where, answer)
      if (answer.status !== 200) refused++
    }
    expect(refused, 'the changes are such that some are refused').toBeGreaterThan(0)
    checkPages(route)
  })

  it('answers what is nested beyond all depth, in whichever field', async () => {
    const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`
    for (const field of new Set([...Object.keys(sound as object), 'metadata', 'reasoning', 'text', 'unknown'])) {
      const body = { ...(limited(copy(sound)) as object), stream: false, [field]: 'deep' }
      checkAnswer(field, await send(route, JSON.stringify(body).replace('"deep"', deep)))
    }
    checkPages(route)
  })

  it('answers bytes that are spoiled', async () => {
    const bytes = Buffer.from(JSON.stringify(sound))
    for (let round = 0; round < ROUNDS / 4; round++) {
      const random = new Random(SEED * 1_000_003 + round)
      const at = random.integer(bytes.length)
      const spoiled = [
        bytes.subarray(0, at),
        Buffer.concat([bytes, bytes.subarray(at)]),
        Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ (1 << random.integer(8)) : byte))),
        Buffer.concat([bytes.subarray(0, at), Buffer.from([0xff, 0xfe, 0, 0xc0]), bytes.subarray(at)]),
      ][random.integer(4)]!
      checkAnswer(`seed ${SEED}, round ${round}`, await send(route, spoiled))
    }
    checkPages(route)
  })
})
