/** OpenAI's own client against the embedded model. */
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { completions } from '../../lib/server/openai/completions'
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
  engine = await Engine.load(undefined, { pageSize: 16 })
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

  it('of a tool loop compute only what is new: cached tokens grow with the conversation', async () => {
    const messages: OpenAI.ChatCompletionMessageParam[] = [...BOOK]
    const cached: number[] = []
    for (let step = 0; step < 4; step++) {
      const { choices, usage } = await client.chat.completions.create({ model: 'm', messages, tools: TOOLS })
      const { message } = choices[0]!
      const { prompt_tokens, prompt_tokens_details } = usage!
      cached.push(prompt_tokens_details!.cached_tokens!)
      // All of the turns before, but for a part of a page and what is rendered otherwise than it was sampled.
      if (step > 0) expect(prompt_tokens - cached.at(-1)!).toBeLessThan(100)
      const results = (message.tool_calls ?? []).map(({ id }) => ({
        role: 'tool' as const,
        tool_call_id: id,
        content: 'done',
      }))
      messages.push(message, ...(results.length > 0 ? results : BOOK))
    }
    expect(cached.slice(1)).toEqual([...cached.slice(1)].sort((a, b) => a - b))
    expect(cached.at(-1)).toBeGreaterThan(cached[1]!)
  })

  it('give the log probabilities of what was sampled, whole and streamed alike', async () => {
    const asked = { model: 'm', messages: SUM, logprobs: true, top_logprobs: 2 }
    const whole = (await client.chat.completions.create(asked)).choices[0]!.logprobs!.content!
    const chunks = await read(await client.chat.completions.create({ ...asked, stream: true }))
    expect(chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? [])).toEqual(whole)
    const { tokenIds, logprobs } = await engine.chat(SUM, { logprobs: 2 }).result()
    const text = (id: number) => engine.tokenizer!.decode([id])
    expect(whole.map(({ token, logprob }) => [token, logprob])).toEqual(
      logprobs!.map(({ id, logprob }) => [text(id), logprob]),
    )
    expect(whole.map(({ bytes }) => bytes)).toEqual(tokenIds.map((id) => [...engine.tokenizer!.bytesOf(id)]))
    expect(whole[0]!.top_logprobs).toHaveLength(2)
  })

  it('draw n choices, and stop where they are told to', async () => {
    const asked = { model: 'm', messages: SUM, n: 3, stop: '=', temperature: 0.5, seed: 1 }
    const { choices, usage } = await client.chat.completions.create(asked)
    expect(choices.map(({ index, message }) => [index, message.content])).toEqual(
      [0, 1, 2].map((index) => [index, '47 + 38 ']),
    )
    const chunks = await read(await client.chat.completions.create({ ...asked, stream: true }))
    for (const { index, message } of choices) {
      const own = chunks.flatMap(({ choices }) => choices.filter((choice) => choice.index === index))
      expect(own.map(({ delta }) => delta.content ?? '').join('')).toBe(message.content)
      expect(own.at(-1)!.finish_reason).toBe('stop')
    }
    expect(usage!.prompt_tokens).toBe((await engine.chat(SUM).result()).promptTokenIds.length)
  })

  it('give ids to those who ask for them', async () => {
    const asked = { model: 'm', messages: SUM, return_token_ids: true }
    const { tokenIds, promptTokenIds } = await engine.chat(SUM).result()
    const whole = await client.chat.completions.create(asked)
    expect(whole).toMatchObject({ prompt_token_ids: promptTokenIds, choices: [{ token_ids: tokenIds }] })
    const chunks = await read(await client.chat.completions.create({ ...asked, stream: true }))
    const ids = chunks.flatMap(({ choices }) => (choices[0] as { token_ids?: number[] }).token_ids ?? [])
    expect(ids).toEqual(tokenIds)
    expect(chunks.at(-1)).toMatchObject({ prompt_token_ids: promptTokenIds })
  })
})

describe('completions', () => {
  const prompt = 'The list says:'

  it('continue text and ids, whole and streamed', async () => {
    const ids = [...engine.tokenizer!.encode(prompt)]
    const { text } = await engine.generate(prompt, { maxTokens: 16 }).result()
    for (const one of [prompt, ids]) {
      const { choices, usage, object } = await client.completions.create({ model: 'm', prompt: one })
      expect(object).toBe('text_completion')
      expect(choices).toEqual([{ index: 0, text, logprobs: null, finish_reason: 'length' }])
      expect(usage).toMatchObject({ prompt_tokens: ids.length, completion_tokens: 16 })
    }
    const chunks = await read(await client.completions.create({ model: 'm', prompt, stream: true }))
    expect(chunks.map(({ choices }) => choices[0]!.text).join('')).toBe(text)
    expect(chunks.at(-1)!.choices[0]!.finish_reason).toBe('length')
  })

  it('of several prompts and samples come with their prompts, streamed or not', async () => {
    const asked = { model: 'm', prompt: [prompt, 'Numbers:'], n: 2, echo: true, temperature: 1, seed: 4, max_tokens: 8 }
    const { choices, usage } = await client.completions.create(asked)
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3])
    expect(choices.map(({ text }) => text.startsWith(prompt))).toEqual([true, true, false, false])
    expect(choices.map(({ text }) => text.startsWith('Numbers:'))).toEqual([false, false, true, true])
    const chunks = await read(
      await client.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } }),
    )
    const streamed = (index: number) =>
      chunks.flatMap(({ choices }) => choices.filter((one) => one.index === index).map(({ text }) => text)).join('')
    expect([0, 1, 2, 3].map(streamed)).toEqual(choices.map(({ text }) => text))
    const { prompt_tokens, completion_tokens } = chunks.at(-1)!.usage!
    expect({ prompt_tokens, completion_tokens }).toEqual({
      prompt_tokens: usage!.prompt_tokens,
      completion_tokens: usage!.completion_tokens,
    })
  })

  it('give log probabilities with the places of their tokens', async () => {
    const asked = { model: 'm', prompt, logprobs: 2, max_tokens: 5 }
    const { text, logprobs } = (await client.completions.create(asked)).choices[0]!
    const { tokens, text_offset, token_logprobs, top_logprobs } = logprobs!
    expect(tokens!.join('')).toBe(text)
    expect(text_offset!.map((at, i) => text.slice(at, at + tokens![i]!.length))).toEqual(tokens)
    expect(top_logprobs!.map((top, i) => top[tokens![i]!])).toEqual(token_logprobs)
    const stop = `${text}, and no more` // all of the text is held back until it cannot be that
    for (const more of [{}, { stop }]) {
      const chunks = await read(await client.completions.create({ ...asked, ...more, stream: true }))
      expect(chunks.flatMap(({ choices }) => choices[0]!.logprobs?.text_offset ?? [])).toEqual(text_offset)
    }
  })

  it('end all where one prompt is refused', async () => {
    const asked = client.completions.create({ model: 'm', prompt: [prompt, [99_999]] as never })
    await expect(asked).rejects.toMatchObject({ status: 400, param: 'prompt[0]' })
    await idle(engine)
  })

  it('refuse more prompts than may be in one request, times n, before any is started', async () => {
    const { promptTokens } = engine.stats()
    for (const more of [{ prompt: new Array(2049).fill('x') }, { prompt: new Array(1025).fill('x'), n: 2 }]) {
      const message = /prompt: expected at most 2048 prompts, times n, found \d+ with n \d$/
      const error = await client.completions.create({ model: 'm', ...more }).catch((error) => error)
      expect(error).toMatchObject({ status: 400, param: 'prompt', message: expect.stringMatching(message) })
    }
    expect(engine.stats()).toMatchObject({ promptTokens, sequences: { running: 0, waiting: 0 } })
  })

  it('of many prompts begin while other things go on', async () => {
    let turns = 0
    const turn = () => {
      turns++
      wheel = setImmediate(turn)
    }
    let wheel = setImmediate(turn)
    const context = { id: 'one', created: 1, model: 'm', tokenizer: engine.tokenizer }
    const exchange = completions.read({ prompt: new Array(2048).fill('x'), max_tokens: 1 }, context)
    const generation = await exchange.start(engine, new AbortController().signal)
    clearImmediate(wheel)
    expect(turns).toBeGreaterThan(2)
    expect(generation.promptTokens).toBe(2048)
    expect((await generation.result()).samples).toHaveLength(2048)
  })
})

it('text becomes ids and text again, also that of a chat', async () => {
  const ask = (path: string, body: object) =>
    server.post(path, body, { authorization: 'Bearer secret' }).then(async (response) => response.json())
  const { tokens, count } = (await ask('/tokenize', { text: 'Hello there' })) as { tokens: number[]; count: number }
  expect(tokens).toEqual([...engine.tokenizer!.encode('Hello there')])
  expect(count).toBe(tokens.length)
  expect(await ask('/tokenize', { prompt: 'Hello there', add_special_tokens: true })).toMatchObject({ tokens })
  expect(await ask('/detokenize', { tokens })).toMatchObject({ text: 'Hello there' })
  const { promptTokenIds } = await engine.chat(SUM).result()
  expect(await ask('/tokenize', { messages: SUM })).toMatchObject({ tokens: promptTokenIds })
  expect(await ask('/tokenize', {})).toMatchObject({ error: { param: 'text' } })
  const message = 'text: expected at most 524288 tokens, found more'
  expect(await ask('/tokenize', { text: 'a b '.repeat(2 ** 18) })).toMatchObject({ error: { param: 'text', message } })
  expect(await ask('/detokenize', { tokens: [-1] })).toMatchObject({ error: { type: 'invalid_request_error' } })
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
