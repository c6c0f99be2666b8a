/** OpenAI's own client against the embedded model. */
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { idle, serve, until } from './http'

const SUM = [{ role: 'user' as const, content: 'What is 47 + 38?' }]
const TOOLS: OpenAI.ChatCompletionTool[] = [
  {
    type: 'function',
    function: {
      name: 'book_record',
      description: 'Book a record.',
      parameters: { type: 'object', properties: { target: { type: 'string' } }, required: ['target'] },
    },
  },
]
const BOOK = [{ role: 'user' as const, content: 'Book the record fountain. Book the record cherry.' }]

/** What this server says beyond OpenAI's types. */
interface Thinking {
  reasoning_content?: string
}

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
let client: OpenAI
beforeAll(async () => {
  engine = await Engine.load()
  server = await serve(engine, { apiKey: 'secret' })
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'secret', maxRetries: 0 })
})
afterAll(async () => {
  server.stop()
  await engine.close()
})

async function read<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of stream) all.push(one)
  return all
}

describe('chat completions', () => {
  it('answer, with thinking apart', async () => {
    const answer = await client.chat.completions.create({ model: 'any', messages: SUM })
    const { tokenIds, promptTokenIds, reasoning, usage } = await engine.chat(SUM).result()
    expect(answer).toMatchObject({ object: 'chat.completion', model: 'any' })
    expect(answer.id).toMatch(/^chatcmpl-\w{32}$/)
    expect(answer.choices).toEqual([
      {
        index: 0,
        message: { role: 'assistant', content: '47 + 38 = 85.', refusal: null, reasoning_content: reasoning },
        logprobs: null,
        finish_reason: 'stop',
      },
    ])
    expect(answer.usage).toEqual({
      prompt_tokens: promptTokenIds.length,
      completion_tokens: tokenIds.length,
      total_tokens: promptTokenIds.length + tokenIds.length,
      prompt_tokens_details: { cached_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    })
  })

  it('stream what adds up to the answer, role first, usage last', async () => {
    const whole = await client.chat.completions.create({ model: 'm', messages: SUM })
    const chunks = await read(
      await client.chat.completions.create({
        model: 'm',
        messages: SUM,
        stream: true,
        stream_options: { include_usage: true },
      }),
    )
    const deltas = chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta))
    expect(deltas[0]).toEqual({ role: 'assistant', content: '' })
    expect(deltas.slice(1, -1).every((delta) => Object.keys(delta).length > 0 && !delta.role)).toBe(true)
    expect(deltas.at(-1)).toEqual({})
    const sum = (part: (delta: (typeof deltas)[number]) => unknown) => deltas.map((delta) => part(delta) ?? '').join('')
    expect(sum((delta) => delta.content)).toBe(whole.choices[0]!.message.content)
    expect(sum((delta) => (delta as Thinking).reasoning_content)).toBe(
      (whole.choices[0]!.message as Thinking).reasoning_content,
    )
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: whole.usage!.prompt_tokens, completion_tokens: whole.usage!.completion_tokens },
    })
    expect(chunks.flatMap(({ choices }) => choices[0]?.finish_reason ?? [])).toEqual(['stop'])
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1)
  })

  it('call tools, whole and streamed, and go on from the results', async () => {
    const asked = { model: 'm', messages: BOOK, tools: TOOLS }
    const { choices } = await client.chat.completions.create(asked)
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } })
    const calls = choices[0]!.message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
    expect(calls.map((call) => [call.type, call.function.name, JSON.parse(call.function.arguments)])).toEqual([
      ['function', 'book_record', { target: 'fountain' }],
      ['function', 'book_record', { target: 'cherry' }],
    ])
    const deltas = (await read(await client.chat.completions.create({ ...asked, stream: true }))).flatMap(
      (chunk) => chunk.choices[0]?.delta.tool_calls ?? [],
    )
    for (const index of [0, 1]) {
      const own = deltas.filter((delta) => delta.index === index)
      expect(own.flatMap(({ id }) => id ?? [])).toHaveLength(1)
      expect(own.flatMap((delta) => ('name' in delta.function! ? [delta.function.name] : []))).toEqual(['book_record'])
      const json = own.map((delta) => delta.function!.arguments).join('')
      expect(JSON.parse(json)).toEqual(JSON.parse(calls[index]!.function.arguments))
    }
    const results = calls.map((call) => ({ role: 'tool' as const, tool_call_id: call.id, content: 'done' }))
    const next = await client.chat.completions.create({
      ...asked,
      messages: [...BOOK, choices[0]!.message, ...results],
    })
    expect(next.choices[0]!.message.content).not.toBe('')
    expect(next.usage!.prompt_tokens_details!.cached_tokens).toBeGreaterThan(0)
  })
})

describe('errors', () => {
  it.each([
    ['a bad field', { temperature: 'hot' as never }, OpenAI.BadRequestError, 'temperature'],
    ['bad messages', { messages: [] }, OpenAI.BadRequestError, 'messages'],
  ])('of %s are those of the SDK, streamed or not', async (_, body, type, param) => {
    for (const stream of [false, true]) {
      const error = await client.chat.completions.create({ model: 'm', messages: SUM, stream, ...body }).then(
        () => undefined,
        (found) => found,
      )
      expect(error).toBeInstanceOf(type)
      expect(error.param).toBe(param)
    }
  })

  it('of a wrong key and a wrong path', async () => {
    const wrong = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'wrong', maxRetries: 0 })
    await expect(wrong.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
    await expect(client.models.retrieve('other/model')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })
})

it('a client that aborts ends its generation', async () => {
  const endless = { ignore_eos: true, logit_bias: { 3: -100 } }
  const stream = await client.chat.completions.create({ model: 'm', messages: SUM, stream: true, ...endless })
  for await (const _ of stream) break
  await idle(engine)
  await until(() => server.log.at(-1)?.status === 499)
})
