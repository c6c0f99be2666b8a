/** OpenAI's own client and its responses against the embedded model. */
import OpenAI from 'openai'
import type {
  FunctionTool,
  Response,
  ResponseInput,
  ResponseInputItem,
  ResponseUsage,
} from 'openai/resources/responses/responses'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { Random } from '../text/random'
import { answersToMutants } from './bodies'
import { idle, serve } from './http'

const SUM = 'What is 47 + 38?'
const tool = (name: string, description: string, parameter: string): FunctionTool => ({
  type: 'function',
  name,
  description,
  strict: false,
  parameters: { type: 'object', properties: { [parameter]: { type: 'string' } }, required: [parameter] },
})
const TOOLS = [
  tool('get_value', 'Look up the value of a key.', 'key'),
  tool('clock', 'Get the current time in a city.', 'city'),
]
const LOOK_UP: ResponseInputItem = { role: 'user', content: 'What is the time in Zurich now? Look up thunder.' }
const ANSWERS: Record<string, string> = { get_value: '6319', clock: '14:05' }
/** Tokens in a page: only whole ones are cached. */
const PAGE = 16

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
let client: OpenAI
beforeAll(async () => {
  engine = await Engine.load(undefined, { pageSize: PAGE })
  server = await serve(engine, { apiKey: 'secret' })
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'secret', maxRetries: 0 })
})
afterAll(async () => {
  server.stop()
  await engine.close()
})

/** What the client does with the calls of an answer. */
function outputsOf({ output }: Response): ResponseInput {
  const calls = output.filter((item) => item.type === 'function_call')
  return calls.map(({ call_id, name }) => ({ type: 'function_call_output', call_id, output: ANSWERS[name]! }))
}

/** A response without its ids. */
function contentOf({ status, output, output_text }: Response) {
  return JSON.parse(
    JSON.stringify({ status, output, output_text }, (key, value) => (/^(id|parsed\w*)$/.test(key) ? undefined : value)),
  )
}

describe('responses', () => {
  it('are given, with thinking in an item of its own', async () => {
    const response = await client.responses.create({ model: 'any', input: SUM })
    const { reasoning, usage } = await engine.chat([{ role: 'user', content: SUM }]).result()
    expect(response).toMatchObject({
      object: 'response',
      model: 'any',
      status: 'completed',
      output_text: '47 + 38 = 85.',
    })
    expect(response.id).toMatch(/^resp_\w{32}$/)
    expect(contentOf(response).output).toEqual([
      { type: 'reasoning', status: 'completed', summary: [], content: [{ type: 'reasoning_text', text: reasoning }] },
      {
        type: 'message',
        status: 'completed',
        role: 'assistant',
        content: [{ type: 'output_text', text: '47 + 38 = 85.', annotations: [], logprobs: [] }],
      },
    ])
    expect(response.usage).toMatchObject({
      input_tokens: usage.promptTokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: usage.completionTokens,
      output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    })
  })

  it('stream to the same response', async () => {
    const ask = { model: 'any', input: SUM, instructions: 'Be brief.' }
    const whole = await client.responses.create(ask)
    const stream = client.responses.stream(ask)
    const deltas: string[] = []
    stream.on('response.output_text.delta', ({ delta }) => deltas.push(delta))
    const streamed = await stream.finalResponse()
    expect(contentOf(streamed)).toEqual(contentOf(whole))
    expect(streamed.usage!.output_tokens).toBe(whole.usage!.output_tokens)
    expect(deltas.length).toBeGreaterThan(2)
    expect(deltas.join('')).toBe('47 + 38 = 85.')
  })

  it.each(['whole', 'streamed', 'with thinking unread'])('go through a loop of tools: %s', async (way) => {
    const ask = (input: ResponseInput): Promise<Response> => {
      const body = { model: 'any', input, tools: TOOLS, store: false }
      if (way === 'whole') return client.responses.create(body)
      if (way === 'streamed') return client.responses.stream(body).finalResponse()
      return client.responses.create({ ...body, include: ['reasoning.encrypted_content'] })
    }
    const first = await ask([LOOK_UP])
    expect(first.output).toMatchObject([
      { type: 'reasoning' },
      { type: 'function_call', name: 'clock', arguments: '{"city":"Zurich"}' },
      { type: 'function_call', name: 'get_value', arguments: '{"key":"thunder"}' },
    ])
    const output = first.output.map((item) => {
      const { content, ...unread } = item as OpenAI.Responses.ResponseReasoningItem
      return way === 'with thinking unread' && content ? unread : item
    })
    const second = await ask([LOOK_UP, ...(output as ResponseInput), ...outputsOf(first)])
    for (const answer of Object.values(ANSWERS)) expect(second.output_text).toContain(answer)
    // All of the first prompt and of what the model said, but for a page that is not full: of the thinking nothing is lost on the way.
    const before = first.usage!.total_tokens
    expect(cachedTokens(second.usage)).toBeGreaterThanOrEqual(before - 1 - ((before - 1) % PAGE))
  })

  it('say that a limit ended them', async () => {
    const ask = { model: 'any', input: SUM, max_output_tokens: 5 }
    for (const response of [await client.responses.create(ask), await client.responses.stream(ask).finalResponse()]) {
      expect(response).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
      expect(response.output).toMatchObject([{ type: 'reasoning', status: 'incomplete' }])
    }
  })
})

function cachedTokens(usage: ResponseUsage | undefined): number {
  return usage!.input_tokens_details.cached_tokens
}

describe('errors', () => {
  it('are of the request, whatever is sent', async () => {
    const input = [
      LOOK_UP,
      { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'I will.' }] },
      { type: 'function_call', call_id: 'a', name: 'clock', arguments: '{"city":"Zurich"}' },
      { type: 'function_call_output', call_id: 'a', output: [{ type: 'input_text', text: '14:05' }] },
    ]
    const body = {
      input,
      instructions: 'Be brief.',
      tools: TOOLS,
      tool_choice: 'auto',
      top_p: 0.5,
      stream: true,
      text: {},
    }
    const post = (mutant: object) => server.post('/v1/responses', mutant, { authorization: 'Bearer secret' })
    const { statuses, wrong } = await answersToMutants(post, body, { max_output_tokens: 4 }, new Random(4))
    expect(wrong).toEqual([])
    expect(Math.min(statuses[200]!, statuses[400]!)).toBeGreaterThan(20)
    await idle(engine)
  })

  it('name the field', async () => {
    const asked = client.responses.create({ model: 'any', input: SUM, store: true })
    await expect(asked).rejects.toThrow(OpenAI.BadRequestError)
    await expect(asked).rejects.toMatchObject({ param: 'store', type: 'invalid_request_error' })
  })

  it('of the engine come before a stream begins', async () => {
    const asked = client.responses.stream({ model: 'any', input: 'long '.repeat(2000) }).finalResponse()
    await expect(asked).rejects.toMatchObject({ status: 400, code: 'context_length_exceeded', param: 'input' })
  })
})
