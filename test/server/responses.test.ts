/** OpenAI's Responses API as a pure translation. */
import { describe, expect, it } from 'vitest'
import { M2Error } from '../../lib/errors'
import type { Chunk, Result } from '../../lib/generation'
import type { ServerEvent } from '../../lib/server/face'
import { responsesFace } from '../../lib/server/openai/responses'
import { readRequest } from '../../lib/server/openai/responses-request'
import type { JsonObject } from '../../lib/text/input'
import { checkMessages } from '../../lib/text/messages'
import { Random } from '../text/random'
import { chunkOf, randomChunks, randomResult, resultOf } from './answers'
import { asked, exchangeOf, mutated, refusal } from './bodies'

const SCHEMA = { type: 'object', properties: { key: { type: 'string' } } }
const TOOL = { type: 'function', name: 'look_up', description: 'Looks up.', parameters: SCHEMA, strict: true }
const THOUGHT = { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'I will.' }] }
const SAID = { type: 'message', id: 'msg_1', role: 'assistant', content: [{ type: 'output_text', text: 'Yes.' }] }
const CALL = { type: 'function_call', id: 'fc_1', call_id: 'call_1', name: 'look_up', arguments: '{"key":"lamp"}' }
const OUTPUT = { type: 'function_call_output', call_id: 'call_1', output: '42' }
const FORMAT = { type: 'json_schema', name: 'answer', schema: SCHEMA, strict: true }
const RICH = {
  model: 'some-model',
  instructions: 'Be brief.',
  input: [{ role: 'user', content: 'Look up the lamp.' }, THOUGHT, SAID, CALL, OUTPUT],
  max_output_tokens: 100,
  temperature: 0.5,
  top_p: 0.9,
  stream: true,
  tools: [TOOL],
  tool_choice: { type: 'function', name: 'look_up' },
  parallel_tool_calls: false,
  text: { format: FORMAT, verbosity: 'low' },
  reasoning: { effort: 'low', summary: 'auto' },
  include: ['reasoning.encrypted_content'],
  metadata: { run: '7' },
  store: false,
  truncation: 'disabled',
  user: 'u',
}

const messagesOf = (input: unknown, more: JsonObject = {}) => asked(responsesFace, { input, ...more }).messages
const optionsOf = (more: JsonObject) => asked(responsesFace, { input: 'Hi', ...more }).options
const refusalOf = (more: JsonObject) => refusal(responsesFace, { input: 'Hi', ...more })

const nested = (levels: number) => JSON.parse(`${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`) as JsonObject

describe('requests', () => {
  it('become messages and options', () => {
    expect(asked(responsesFace, RICH)).toEqual({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Look up the lamp.' },
        {
          role: 'assistant',
          content: 'Yes.',
          reasoning_content: 'I will.',
          tool_calls: [{ id: 'call_1', name: 'look_up', arguments: { key: 'lamp' } }],
        },
        { role: 'tool', tool_call_id: 'call_1', content: '42' },
      ],
      options: {
        maxTokens: 100,
        temperature: 0.5,
        topP: 0.9,
        tools: [{ name: 'look_up', description: 'Looks up.', parameters: SCHEMA }],
        parallelToolCalls: false,
        toolChoice: { name: 'look_up' },
        responseFormat: { type: 'json_schema', schema: SCHEMA },
      },
    })
    expect(exchangeOf(responsesFace, RICH).stream).toBe(true)
  })

  it('need nothing but input; null means absent', () => {
    const nulls = Object.fromEntries(Object.keys(RICH).map((key) => [key, null]))
    const bare = { messages: [{ role: 'user', content: 'Hi' }], options: {} }
    expect(asked(responsesFace, { input: 'Hi' })).toEqual(bare)
    expect(asked(responsesFace, { ...nulls, input: 'Hi' })).toEqual(bare)
    expect(exchangeOf(responsesFace, { input: 'Hi' }).stream).toBe(false)
  })

  it('have turns of the model that end where somebody else speaks', () => {
    const other = { ...CALL, call_id: 'call_2' }
    const parts = {
      ...OUTPUT,
      call_id: 'call_2',
      output: [
        { type: 'input_text', text: 'a' },
        { type: 'input_text', text: 'b' },
      ],
    }
    const messages = messagesOf(
      ['Hi', 'Ho']
        .map((content) => ({ role: 'user', content }))
        .concat([CALL, other, OUTPUT, parts, CALL, OUTPUT, SAID] as never),
    )
    expect(messages.map(({ role }) => role)).toEqual([
      'user',
      'user',
      'assistant',
      'tool',
      'tool',
      'assistant',
      'tool',
      'assistant',
    ])
    expect(messages[2]!.tool_calls).toMatchObject([{ id: 'call_1' }, { id: 'call_2' }])
    expect(messages[4]).toEqual({ role: 'tool', tool_call_id: 'call_2', content: 'ab' })
  })

  it('may write no arguments as nothing', () => {
    const messages = messagesOf([
      { role: 'user', content: 'Hi' },
      { ...CALL, arguments: '' },
    ])
    expect(messages[1]!.tool_calls).toMatchObject([{ arguments: {} }])
  })

  it('may bring system text as items, before all others; later it is an aside', () => {
    const items = ['system', 'developer'].map((role) => ({
      type: 'message',
      role,
      content: [{ type: 'input_text', text: role }],
    }))
    const hi = { role: 'user', content: 'Hi' }
    expect(messagesOf([...items, hi], { instructions: 'one' })[0]!.content).toBe('one\n\nsystem\n\ndeveloper')
    expect(messagesOf([hi, items[1]!])).toEqual([hi, { role: 'user', content: 'developer', aside: true }])
  })

  it('may bring thinking back unread, or its summary', () => {
    const result = resultOf({ reasoning: 'Hm, 𝄞.' })
    const { output } = exchangeOf(responsesFace, RICH).body(result) as { output: JsonObject[] }
    const { content: _, ...unread } = output[0]!
    const thinking = (item: JsonObject) =>
      messagesOf([{ role: 'user', content: 'Hi' }, item, SAID])[1]!.reasoning_content
    expect(thinking(output[0]!)).toBe('Hm, 𝄞.')
    expect(thinking(unread)).toBe('Hm, 𝄞.')
    const summary = [{ type: 'summary_text', text: 'In short.' }]
    expect(thinking({ type: 'reasoning', summary, encrypted_content: 'of another server' })).toBe('In short.')
  })

  it('have tool choices and formats', () => {
    expect(optionsOf({ tools: [TOOL], tool_choice: 'required' }).toolChoice).toBe('required')
    expect(optionsOf({ tool_choice: 'none' }).toolChoice).toBe('none')
    expect(optionsOf({ text: { format: { type: 'text' } } })).toEqual({})
    expect(optionsOf({ text: { format: { type: 'json_object' } } }).responseFormat).toEqual({ type: 'json_object' })
    expect(optionsOf({ tools: [{ type: 'function', name: 'a', parameters: null }] }).tools).toEqual([{ name: 'a' }])
  })

  const after = (item: unknown) => ({ input: [{ role: 'user', content: 'Hi' }, item] })
  it('may declare what agents declare wherever they are, beside functions, which is left out', () => {
    const others = ['custom', 'image_generation', 'local_shell', 'namespace', 'tool_search', 'web_search']
    const tools = [...others.map((type) => ({ type, name: 'other' })), TOOL]
    const { echo, options } = readRequest({ input: 'Hi', tools })
    expect(options.tools).toMatchObject([{ name: 'look_up' }])
    expect(echo.tools).toEqual([TOOL])
  })

  it.each<[JsonObject, string]>([
    [{ input: undefined }, 'input: expected a string, or an array with a message, found nothing'],
    [{ input: [] }, 'input: expected a string, or an array with a message, found an empty array'],
    [{ input: 5 }, 'input: expected a string, or an array with a message, found 5'],
    [{ input: ['x'] }, 'input.0: expected an object, found "x"'],
    [
      after({}),
      'input.1.type: expected "message", "reasoning", "function_call" or "function_call_output", found nothing',
    ],
    [
      after({ type: 'item_reference', id: 'x' }),
      'input.1.type: expected "message", "reasoning", "function_call" or "function_call_output", found "item_reference"',
    ],
    [after({ role: 'user' }), 'input.1.content: expected a string or an array of parts, found nothing'],
    [
      after({ role: 'user', content: [{ type: 'input_image' }] }),
      'input.1.content.0.type: expected "input_text" (this model reads nothing else), found "input_image"',
    ],
    [
      after({ role: 'assistant', content: [{ type: 'refusal' }] }),
      'input.1.content.0.type: expected "output_text" (this model reads nothing else), found "refusal"',
    ],
    [after({ ...CALL, arguments: '{' }), 'input.1.arguments: expected the JSON of an object, found "{"'],
    [after({ ...CALL, arguments: '5' }), 'input.1.arguments: expected the JSON of an object, found "5"'],
    [after({ ...CALL, call_id: null }), 'input.1.call_id: expected a non-empty string, found nothing'],
    [after(OUTPUT), 'input.1.call_id: expected that of a function_call before, found "call_1"'],
    [{ instructions: [] }, 'instructions: expected a string, found an empty array'],
    [{ store: true }, 'store: expected false, as no response is kept, found true'],
    [{ background: true }, 'background: expected false, as no response is kept, found true'],
    [
      { previous_response_id: 'resp_1' },
      'previous_response_id: expected nothing, as no response is kept, found "resp_1"',
    ],
    [{ conversation: {} }, 'conversation: expected nothing, as no response is kept, found an object'],
    [{ truncation: 'auto' }, 'truncation: expected "disabled", found "auto"'],
    [{ top_logprobs: 2 }, 'top_logprobs: expected none (chat completions have them), found them asked for'],
    [
      { include: ['message.output_text.logprobs'] },
      'top_logprobs: expected none (chat completions have them), found them asked for',
    ],
    [{ max_output_tokens: 0 }, 'max_output_tokens: expected an integer of at least 1, found 0'],
    [
      { tools: [{ type: 'web_search' }] },
      'tools.0.type: expected "function" (no other tools run here), found "web_search"',
    ],
    [{ tools: [TOOL, { type: 'mcp' }] }, 'tools.1.type: expected "function" (no other tools run here), found "mcp"'],
    [{ tools: [TOOL, {}] }, 'tools.1.type: expected "function" (no other tools run here), found nothing'],
    [{ tool_choice: 'required' }, 'tool_choice: expected tools to choose from, found none'],
    [{ tool_choice: 'any' }, 'tool_choice: expected "auto" or "none" or "required", found "any"'],
    [{ tool_choice: { type: 'allowed_tools' } }, 'tool_choice.type: expected "function", found "allowed_tools"'],
    [
      { tools: [TOOL], tool_choice: { type: 'function', name: 'b' } },
      'tool_choice.name: expected the name of one of the tools, found "b"',
    ],
    [
      { text: { format: { type: 'grammar' } } },
      'text.format.type: expected "text" or "json_object" or "json_schema", found "grammar"',
    ],
    [{ text: { format: { type: 'json_schema' } } }, 'text.format.schema: expected a JSON schema object, found nothing'],
    [{ metadata: 'x' }, 'metadata: expected an object, found "x"'],
    [{ metadata: nested(300) }, 'metadata: expected at most 200 levels of nesting, found more'],
    [{ reasoning: nested(300) }, 'reasoning: expected at most 200 levels of nesting, found more'],
    [{ text: nested(300) }, 'text: expected at most 200 levels of nesting, found more'],
    [{ tools: [{ ...TOOL, more: nested(300) }] }, 'tools: expected at most 200 levels of nesting, found more'],
  ])('are refused by name: %j', (more, message) => {
    expect(refusalOf(more)).toBe(message)
  })

  it('are accepted or refused, whatever becomes of one, and what is accepted is sound for the engine', () => {
    const random = new Random(12)
    let [accepted, refused] = [0, 0]
    for (let i = 0; i < 3000; i++) {
      let body: JsonObject = RICH
      for (let times = random.below(3); times >= 0; times--) body = mutated(body, random)
      if (refusal(responsesFace, body) === 'accepted') {
        checkMessages(asked(responsesFace, body).messages)
        JSON.stringify(exchangeOf(responsesFace, body).body(resultOf({ text: 'a' })))
        accepted++
      } else refused++
    }
    expect(Math.min(accepted, refused)).toBeGreaterThan(500)
  })
})

const ECHO = {
  background: false,
  instructions: null,
  max_output_tokens: null,
  metadata: {},
  parallel_tool_calls: true,
  previous_response_id: null,
  reasoning: { effort: null, summary: null },
  store: false,
  temperature: null,
  text: { format: { type: 'text' } },
  tool_choice: 'auto',
  tools: [],
  top_p: null,
  truncation: 'disabled',
}
const USAGE = {
  input_tokens: 50,
  input_tokens_details: { cached_tokens: 32, cache_write_tokens: 0 },
  output_tokens: 20,
  output_tokens_details: { reasoning_tokens: 7 },
  total_tokens: 70,
}
const TOOL_CALL = { id: 'call_1', name: 'look_up', arguments: { key: 'lamp' } }

function bodyOf(result: Result): JsonObject {
  return exchangeOf(responsesFace, { input: 'Hi' }).body(result)
}

function eventsOf(chunks: readonly Chunk[], result: Result): ServerEvent[] {
  const events = exchangeOf(responsesFace, { input: 'Hi' }).events()
  return [...events.begin(50), ...chunks.flatMap((chunk) => events.chunk(chunk)), ...events.end(result)]
}

describe('whole responses', () => {
  it('have items of thinking, text and calls', () => {
    expect(bodyOf(resultOf({ reasoning: 'Hm.', text: 'I look.', toolCalls: [TOOL_CALL] }))).toEqual({
      id: 'resp_one',
      object: 'response',
      created_at: 1_700_000_000,
      status: 'completed',
      model: 'some-model',
      ...ECHO,
      output: [
        {
          id: 'rs_one_0',
          type: 'reasoning',
          status: 'completed',
          summary: [],
          content: [{ type: 'reasoning_text', text: 'Hm.' }],
        },
        {
          id: 'msg_one_1',
          type: 'message',
          status: 'completed',
          role: 'assistant',
          content: [{ type: 'output_text', text: 'I look.', annotations: [], logprobs: [] }],
        },
        {
          id: 'fc_one_2',
          type: 'function_call',
          status: 'completed',
          call_id: 'call_1',
          name: 'look_up',
          arguments: '{"key":"lamp"}',
        },
      ],
      error: null,
      incomplete_details: null,
      usage: USAGE,
    })
  })

  it('repeat what they were asked', () => {
    const { input: _, stream: __, include: ___, user: ____, ...asked } = RICH
    expect(exchangeOf(responsesFace, RICH).body(resultOf({ text: 'a' }))).toMatchObject(asked)
  })

  it.each(['length', 'abort'] as const)('are incomplete when cut short: %s', (finishReason) => {
    expect(bodyOf(resultOf({ reasoning: 'Hm.', text: 'I', finishReason }))).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ status: 'completed' }, { status: 'incomplete' }],
    })
  })
})

describe('streamed responses', () => {
  it('are items one after the other', () => {
    const chunks = [
      chunkOf({ reasoning: 'Hm.' }),
      chunkOf({ text: 'I ' }),
      chunkOf({ text: 'look.', toolCalls: [{ index: 0, id: 'call_1', name: 'look_up', arguments: '{"key":' }] }),
      chunkOf({ toolCalls: [{ index: 0, arguments: '"lamp"}' }] }),
    ]
    const result = resultOf({ reasoning: 'Hm.', text: 'I look.', toolCalls: [TOOL_CALL] })
    const told = eventsOf(chunks, result)
    const response = { ...bodyOf(result), status: 'in_progress', output: [], usage: null }
    const items = bodyOf(result).output as JsonObject[]
    const place = (output_index: number, content_index?: number) => ({
      item_id: items[output_index]!.id,
      output_index,
      ...(content_index !== undefined && { content_index }),
    })
    const thought = (text: string) => ({ ...place(0, 0), part: { type: 'reasoning_text', text } })
    const said = (text: string) => ({
      ...place(1, 0),
      part: { type: 'output_text', text, annotations: [], logprobs: [] },
    })
    const empty = { status: 'in_progress', content: [] }
    const expected: [string, JsonObject][] = [
      ['response.created', { response }],
      ['response.in_progress', { response }],
      ['response.output_item.added', { output_index: 0, item: { ...items[0], ...empty } }],
      ['response.content_part.added', thought('')],
      ['response.reasoning_text.delta', { ...place(0, 0), delta: 'Hm.' }],
      ['response.reasoning_text.done', { ...place(0, 0), text: 'Hm.' }],
      ['response.content_part.done', thought('Hm.')],
      ['response.output_item.done', { output_index: 0, item: items[0] }],
      ['response.output_item.added', { output_index: 1, item: { ...items[1], ...empty } }],
      ['response.content_part.added', said('')],
      ['response.output_text.delta', { ...place(1, 0), delta: 'I ', logprobs: [] }],
      ['response.output_text.delta', { ...place(1, 0), delta: 'look.', logprobs: [] }],
      ['response.output_text.done', { ...place(1, 0), text: 'I look.', logprobs: [] }],
      ['response.content_part.done', said('I look.')],
      ['response.output_item.done', { output_index: 1, item: items[1] }],
      ['response.output_item.added', { output_index: 2, item: { ...items[2], status: 'in_progress', arguments: '' } }],
      ['response.function_call_arguments.delta', { ...place(2), delta: '{"key":' }],
      ['response.function_call_arguments.delta', { ...place(2), delta: '"lamp"}' }],
      ['response.function_call_arguments.done', { ...place(2), name: 'look_up', arguments: '{"key":"lamp"}' }],
      ['response.output_item.done', { output_index: 2, item: items[2] }],
      ['response.completed', { response: bodyOf(result) }],
    ]
    expect(told).toEqual(
      expected.map(([type, data], i) => ({ event: type, data: { type, sequence_number: i, ...data } })),
    )
  })

  it('end as the whole response, however they are cut, and their items are what was told of them', () => {
    const random = new Random(6)
    for (let i = 0; i < 500; i++) {
      const result = randomResult(random)
      const events = eventsOf(randomChunks(result, random), result).map(({ data }) => data as JsonObject)
      const whole = bodyOf(result)
      expect(events.at(-1)).toMatchObject({ type: `response.${whole.status}`, response: whole })
      const done = events.filter(({ type }) => type === 'response.output_item.done')
      expect(done.map(({ item }) => item)).toEqual(whole.output)
      const texts = (whole.output as { arguments?: string; content: [{ text: string }] }[]).map(
        (item) => item.arguments ?? item.content[0].text,
      )
      const told = texts.map(() => '')
      for (const { type, output_index, delta } of events) {
        if (`${type}`.endsWith('.delta')) told[output_index as number]! += delta as string
      }
      expect(told).toEqual(texts)
    }
  })

  it('are incomplete when cut short', () => {
    const result = resultOf({ text: 'I', finishReason: 'length' })
    const events = eventsOf([chunkOf({ text: 'I' })], result)
    expect(events.at(-1)).toMatchObject({ event: 'response.incomplete', data: { response: bodyOf(result) } })
    expect(events.at(-2)!.data).toMatchObject({ item: { status: 'incomplete' } })
  })

  it.each([
    ['QUEUE_FULL', 'rate_limit_exceeded'],
    ['DEVICE_ERROR', 'server_error'],
  ] as const)('fail with what went wrong: %s', (code, expected) => {
    const events = exchangeOf(responsesFace, { input: 'Hi' }).events()
    events.begin(50)
    expect(events.error(new M2Error(code, 'why'))).toMatchObject([
      {
        event: 'response.failed',
        data: {
          sequence_number: 2,
          response: { id: 'resp_one', status: 'failed', error: { code: expected, message: 'why' } },
        },
      },
    ])
  })
})

describe('errors', () => {
  it('are in the shape of OpenAI, and name the field', () => {
    const error = new M2Error('BAD_OPTION', 'responseFormat: expected another')
    expect(responsesFace.errorBody(error, 400)).toEqual({
      error: {
        message: 'text.format: expected another',
        type: 'invalid_request_error',
        param: 'text.format',
        code: null,
      },
    })
  })
})
