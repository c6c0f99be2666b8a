/** Anthropic's own client against the embedded model. */
import Anthropic from '@anthropic-ai/sdk'
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { Random } from '../text/random'
import { answersToMutants } from './bodies'
import { idle, serve } from './http'

const SUM = [{ role: 'user' as const, content: 'What is 47 + 38?' }]
const TOOLS: Anthropic.Tool[] = [
  {
    name: 'get_value',
    description: 'Look up the value of a key.',
    input_schema: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
  },
  {
    name: 'clock',
    description: 'Get the current time in a city.',
    input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
]
const LOOK_UP = [{ role: 'user' as const, content: 'What is the time in Zurich now? Look up thunder.' }]
const ANSWERS: Record<string, string> = { get_value: '6319', clock: '14:05' }

/** Tokens in a page: only whole ones are cached. */
const PAGE = 16

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
let client: Anthropic
beforeAll(async () => {
  engine = await Engine.load(undefined, { pageSize: PAGE })
  server = await serve(engine, { apiKey: 'secret' })
  client = new Anthropic({ baseURL: server.url, apiKey: 'secret', maxRetries: 0 })
})
afterAll(async () => {
  server.stop()
  await engine.close()
})

function promptOf(usage: Anthropic.Usage): number {
  return usage.input_tokens + usage.cache_read_input_tokens!
}

/** What the client does with the calls of an answer. */
function resultsOf(message: Anthropic.Message): Anthropic.MessageParam {
  const calls = message.content.filter((block) => block.type === 'tool_use')
  return {
    role: 'user',
    content: calls.map(({ id, name }) => ({ type: 'tool_result', tool_use_id: id, content: ANSWERS[name]! })),
  }
}

describe('messages', () => {
  it('are answered, with thinking in a block of its own', async () => {
    const message = await client.messages.create({ model: 'any', max_tokens: 200, messages: SUM })
    const { reasoning, usage } = await engine.chat(SUM).result()
    expect(message).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: 'any',
      stop_reason: 'end_turn',
      stop_sequence: null,
    })
    expect(message.id).toMatch(/^msg_\w{32}$/)
    expect(message.content).toEqual([
      { type: 'thinking', thinking: reasoning, signature: expect.stringMatching(/./) },
      { type: 'text', text: '47 + 38 = 85.', citations: null },
    ])
    expect(message.usage).toMatchObject({
      input_tokens: usage.promptTokens,
      cache_read_input_tokens: 0,
      output_tokens: usage.completionTokens,
    })
  })

  it('stream to the same message', async () => {
    const ask = { model: 'any', max_tokens: 200, messages: SUM, system: 'Be brief.' }
    const { id: _, ...whole } = await client.messages.create(ask)
    const stream = client.messages.stream(ask)
    const texts: string[] = []
    stream.on('text', (text) => texts.push(text))
    const { id: __, ...streamed } = await stream.finalMessage()
    const unsigned = (message: Pick<Anthropic.Message, 'content'>) =>
      message.content.map((block) => (block.type === 'thinking' ? { ...block, signature: '' } : block))
    expect(unsigned(streamed)).toEqual(unsigned(whole))
    expect(streamed.content[0]).toMatchObject({ type: 'thinking', signature: expect.stringMatching(/./) })
    expect(streamed).toMatchObject({ stop_reason: 'end_turn', usage: { output_tokens: whole.usage.output_tokens } })
    expect(texts.length).toBeGreaterThan(2)
    expect(texts.join('')).toBe('47 + 38 = 85.')
  })

  it.each(['whole', 'streamed'])('go through a loop of tools, with the thinking sent back: %s', async (way) => {
    const ask = (messages: Anthropic.MessageParam[]) => {
      const body = { model: 'any', max_tokens: 300, messages, tools: TOOLS }
      return way === 'whole' ? client.messages.create(body) : client.messages.stream(body).finalMessage()
    }
    const first = await ask(LOOK_UP)
    expect(first.stop_reason).toBe('tool_use')
    expect(first.content.map((block) => block.type)).toEqual(['thinking', 'tool_use', 'tool_use'])
    expect(first.content).toMatchObject([
      {},
      { name: 'clock', input: { city: 'Zurich' } },
      { name: 'get_value', input: { key: 'thunder' } },
    ])
    const second = await ask([...LOOK_UP, { role: 'assistant', content: first.content }, resultsOf(first)])
    expect(second.stop_reason).toBe('end_turn')
    const text = second.content.map((block) => (block.type === 'text' ? block.text : '')).join('')
    for (const answer of Object.values(ANSWERS)) expect(text).toContain(answer)
    // All of the first prompt and of what the model said, but for a page that is not full: of the thinking nothing is lost on the way.
    const before = promptOf(first.usage) + first.usage.output_tokens
    expect(second.usage.cache_read_input_tokens).toBeGreaterThanOrEqual(before - 1 - ((before - 1) % PAGE))
  })

  it.each([false, true])("are what the client's own loop of tools needs, streamed: %s", async (stream) => {
    const tools = TOOLS.map(({ name, description = '', input_schema }) =>
      betaTool({ name, description, inputSchema: input_schema as { type: 'object' }, run: () => ANSWERS[name]! }),
    )
    const runner = client.beta.messages.toolRunner({ model: 'any', max_tokens: 300, messages: LOOK_UP, tools, stream })
    const { content, stop_reason } = await runner.runUntilDone()
    expect(stop_reason).toBe('end_turn')
    for (const answer of Object.values(ANSWERS)) expect(JSON.stringify(content)).toContain(answer)
  })

  it('begin with what they are begun with, which is not repeated', async () => {
    const messages = [...SUM, { role: 'assistant' as const, content: 'The sum 47 + 38' }]
    const { content } = await client.messages.create({ model: 'any', max_tokens: 200, messages })
    const { text } = await engine.chat(SUM, { prefill: 'The sum 47 + 38' }).result()
    expect(content.at(-1)).toMatchObject({ type: 'text', text: text.slice('The sum 47 + 38'.length) })
    const streamed = await client.messages.stream({ model: 'any', max_tokens: 200, messages }).finalMessage()
    expect(streamed.content.at(-1)).toEqual(content.at(-1))
  })

  it('say which stop sequence ended them, and which limit', async () => {
    const ask = { model: 'any', max_tokens: 200, messages: SUM, stop_sequences: ['nothing', '85'] }
    const stopped = await client.messages.create(ask)
    expect(stopped).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: '85' })
    expect(stopped.content.at(-1)).toMatchObject({ text: '47 + 38 = ' })
    const streamed = await client.messages.stream({ ...ask, max_tokens: 5 }).finalMessage()
    expect(streamed).toMatchObject({ stop_reason: 'max_tokens', stop_sequence: null, usage: { output_tokens: 5 } })
    expect(streamed.content).toMatchObject([{ type: 'thinking' }])
  })

  it('think no longer than they may', async () => {
    const thinking = { type: 'enabled', budget_tokens: 3 } as const
    const { usage } = await client.messages.create({ model: 'any', max_tokens: 200, messages: SUM, thinking })
    expect(usage.output_tokens_details?.thinking_tokens).toBe(3)
  })

  it('have their tokens counted beforehand', async () => {
    const ask = { model: 'any', messages: LOOK_UP, tools: TOOLS, system: 'Be brief.' }
    const { input_tokens } = await client.messages.countTokens(ask)
    const { usage } = await client.messages.create({ ...ask, max_tokens: 1 })
    expect(promptOf(usage)).toBe(input_tokens)
  })
})

describe('errors', () => {
  it('are of the request, whatever is sent', async () => {
    const result = { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'text', text: '14:05' }] }
    const call = { type: 'tool_use', id: 'a', name: 'clock', input: { city: 'Zurich' } }
    const answer = [{ type: 'thinking', thinking: 'I will.' }, call]
    const messages = [...LOOK_UP, { role: 'assistant', content: answer }, { role: 'user', content: [result] }]
    const thinking = { type: 'enabled', budget_tokens: 2 }
    const body = {
      messages,
      system: 'Be brief.',
      tools: TOOLS,
      tool_choice: { type: 'auto' },
      thinking,
      top_k: 5,
      stream: true,
    }
    const post = (mutant: object) => server.post('/v1/messages', mutant, { 'x-api-key': 'secret' })
    const { statuses, wrong } = await answersToMutants(post, body, { max_tokens: 4 }, new Random(3))
    expect(wrong).toEqual([])
    expect(Math.min(statuses[200]!, statuses[400]!)).toBeGreaterThan(20)
    await idle(engine)
  })

  it('name the field', async () => {
    const image = { type: 'image' as const, source: { type: 'url' as const, url: 'http://x' } }
    const asked = client.messages.create({
      model: 'any',
      max_tokens: 5,
      messages: [{ role: 'user', content: [image] }],
    })
    const error = await asked.catch((one) => one)
    expect(error).toBeInstanceOf(Anthropic.BadRequestError)
    expect(error.error).toMatchObject({ type: 'error', error: { type: 'invalid_request_error' } })
    expect(error.apiMessage).toContain('messages.0.content.0.type: expected "text"')
  })

  it('of the engine come before a stream begins, and when tokens are counted', async () => {
    const messages = [{ role: 'user' as const, content: 'long '.repeat(2000) }]
    for (const asked of [
      () => client.messages.stream({ model: 'any', max_tokens: 5, messages }).finalMessage(),
      () => client.messages.countTokens({ model: 'any', messages }),
    ]) {
      const error = await asked().catch((one) => one)
      expect(error).toMatchObject({ status: 400, type: 'invalid_request_error' })
      expect(error.apiMessage).toMatch(/^prompt is too long: \d{4,} tokens > 1023 maximum$/)
    }
  })

  it('have the shape that the client knows, wherever they come from', async () => {
    const stranger = new Anthropic({ baseURL: server.url, apiKey: 'wrong', maxRetries: 0 })
    const asked = stranger.messages.create({ model: 'any', max_tokens: 5, messages: SUM })
    await expect(asked).rejects.toThrow(Anthropic.AuthenticationError)
    await expect(asked).rejects.toMatchObject({ type: 'authentication_error' })
  })
})
