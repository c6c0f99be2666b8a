/** Anthropic's Messages API as a pure translation. */
import { describe, expect, it } from 'vitest'
import type { Engine } from '../../lib/engine'
import { M2Error } from '../../lib/errors'
import type { Chunk, Result } from '../../lib/generation'
import { countTokens, messagesFace } from '../../lib/server/anthropic/messages'
import type { ServerEvent } from '../../lib/server/face'
import type { JsonObject } from '../../lib/text/input'
import { checkMessages } from '../../lib/text/messages'
import { Random } from '../text/random'
import { chunkOf, randomChunks, randomResult, resultOf } from './answers'
import { asked, exchangeOf, mutated, refusal } from './bodies'

const HI = { role: 'user', content: 'Hi' }
const SCHEMA = { type: 'object', properties: { key: { type: 'string' } } }
const TOOL = { name: 'look_up', description: 'Looks up.', input_schema: SCHEMA, cache_control: { type: 'ephemeral' } }
const CALL = { type: 'tool_use', id: 'call_1', name: 'look_up', input: { key: 'lamp' } }
const LOOP = [
  { role: 'user', content: 'Look up the lamp.' },
  {
    role: 'assistant',
    content: [{ type: 'thinking', thinking: 'I will.', signature: 's' }, { type: 'text', text: 'Yes.' }, CALL],
  },
  { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'call_1', content: '42' }] },
]
const RICH = {
  model: 'claude',
  system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
  messages: LOOP,
  max_tokens: 100,
  temperature: 0.5,
  top_p: 0.9,
  top_k: 40,
  stop_sequences: ['END'],
  stream: true,
  tools: [TOOL],
  tool_choice: { type: 'tool', name: 'look_up', disable_parallel_tool_use: true },
  thinking: { type: 'enabled', budget_tokens: 2000 },
  output_config: { effort: 'low', format: { type: 'json_schema', schema: SCHEMA } },
  metadata: { user_id: 'u' },
  service_tier: 'auto',
}

const messagesOf = (messages: unknown[], more: JsonObject = {}) => asked(messagesFace, { messages, ...more }).messages
const optionsOf = (more: JsonObject) => asked(messagesFace, { messages: [HI], ...more }).options
const refusalOf = (more: JsonObject) => refusal(messagesFace, { messages: [HI], ...more })

describe('requests', () => {
  it('become messages and options', () => {
    expect(asked(messagesFace, RICH)).toEqual({
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
        topK: 40,
        stop: ['END'],
        tools: [{ name: 'look_up', description: 'Looks up.', parameters: SCHEMA }],
        parallelToolCalls: false,
        toolChoice: { name: 'look_up' },
        maxReasoningTokens: 2000,
        responseFormat: { type: 'json_schema', schema: SCHEMA },
      },
    })
    expect(exchangeOf(messagesFace, RICH).stream).toBe(true)
  })

  it('need nothing but messages; null means absent', () => {
    const nulls = Object.fromEntries(Object.keys(RICH).map((key) => [key, null]))
    const bare = { messages: [{ role: 'user', content: 'Hi' }], options: {} }
    expect(asked(messagesFace, { messages: [HI] })).toEqual(bare)
    expect(asked(messagesFace, { ...nulls, messages: [HI] })).toEqual(bare)
    expect(exchangeOf(messagesFace, { messages: [HI] }).stream).toBe(false)
  })

  it('keep results and texts of one message in their order', () => {
    const text = (text: string) => ({ type: 'text', text })
    const result = (content?: unknown, more?: JsonObject) => ({
      type: 'tool_result',
      tool_use_id: 'call_1',
      content,
      ...more,
    })
    const content = [
      text('a'),
      text('b'),
      result('1'),
      result([text('2'), text('3')]),
      result(undefined, { is_error: true }),
      text('c'),
    ]
    expect(messagesOf([...LOOP.slice(0, 2), { role: 'user', content }]).slice(2)).toEqual([
      { role: 'user', content: 'ab', aside: true },
      { role: 'tool', tool_call_id: 'call_1', content: '1' },
      { role: 'tool', tool_call_id: 'call_1', content: '23' },
      { role: 'tool', tool_call_id: 'call_1', content: 'error' },
      { role: 'user', content: 'c', aside: true },
    ])
  })

  it('may have neighbours of one role: the model has one turn', () => {
    const other = { ...CALL, id: 'call_2' }
    const results = ['call_1', 'call_2'].map((id) => ({ type: 'tool_result', tool_use_id: id, content: id }))
    const messages = messagesOf([
      HI,
      HI,
      { role: 'assistant', content: 'a' },
      { role: 'assistant', content: [CALL] },
      { role: 'assistant', content: [other] },
      { role: 'user', content: results },
    ])
    expect(messages.map((message) => message.role)).toEqual(['user', 'user', 'assistant', 'tool', 'tool'])
    expect(messages[2]).toMatchObject({ content: 'a', tool_calls: [{ id: 'call_1' }, { id: 'call_2' }] })
  })

  it('may have thinking that another model has sealed, which is left out', () => {
    const content = [
      { type: 'redacted_thinking', data: 'x' },
      { type: 'text', text: 'a' },
    ]
    expect(messagesOf([HI, { role: 'assistant', content }, HI])).toEqual(
      messagesOf([HI, { role: 'assistant', content: 'a' }, HI]),
    )
  })

  it('may bring the system text first among the messages; later it is an aside', () => {
    const system = { role: 'system', content: [{ type: 'text', text: 'two' }] }
    expect(messagesOf([system, HI], { system: 'one' })[0]).toEqual({ role: 'system', content: 'one\n\ntwo' })
    expect(messagesOf([system, HI])[0]).toEqual({ role: 'system', content: 'two' })
    expect(messagesOf([HI, system])).toEqual([HI, { role: 'user', content: 'two', aside: true }])
  })

  it('end with what the answer begins with', () => {
    const messages = [HI, { role: 'assistant', content: '\n\nThe sum is' }]
    expect(asked(messagesFace, { messages })).toEqual({ messages: [HI], options: { prefill: 'The sum is' } })
    expect(asked(messagesFace, { messages: [HI, { role: 'assistant', content: '' }] })).toEqual({
      messages: [HI],
      options: {},
    })
    const result = resultOf({ reasoning: 'hm', text: 'The sum is 85.' })
    const exchange = exchangeOf(messagesFace, { messages })
    expect(exchange.body(result).content).toMatchObject([{ thinking: 'hm' }, { text: ' 85.' }])
    const events = exchange.events()
    const told = ['The s', 'um is', ' 85.'].flatMap((text) => events.chunk(chunkOf({ text })))
    expect(told.map(({ data }) => data)).toMatchObject([
      { index: 0, content_block: { text: '' } },
      { index: 0, delta: { text: ' 85.' } },
    ])
  })

  it.each([
    [{ type: 'auto' }, 'auto'],
    [{ type: 'none' }, 'none'],
    [{ type: 'any' }, 'required'],
  ])('have the tool choice %j', (tool_choice, expected) => {
    expect(optionsOf({ tools: [TOOL], tool_choice }).toolChoice).toEqual(expected)
  })

  it('may ask for any kind of thinking', () => {
    for (const type of ['disabled', 'adaptive', 'between_tools']) expect(optionsOf({ thinking: { type } })).toEqual({})
  })

  it('take a format from its older place too', () => {
    const output_format = { type: 'json_schema', schema: SCHEMA }
    expect(optionsOf({ output_format }).responseFormat).toEqual(output_format)
  })

  const user = (...content: unknown[]) => ({ messages: [{ role: 'user', content }] })
  const model = (...content: unknown[]) => ({ messages: [HI, { role: 'assistant', content }, HI] })
  it.each<[JsonObject, string]>([
    [{ messages: undefined }, 'messages: expected a non-empty array, found nothing'],
    [{ messages: [] }, 'messages: expected a non-empty array, found an empty array'],
    [{ messages: ['x'] }, 'messages.0: expected an object, found "x"'],
    [{ messages: [{ role: 'assistant', content: 'x' }] }, 'messages: expected a user message, found none'],
    [
      { messages: [{ role: 'tool', content: 'x' }] },
      'messages.0.role: expected "user", "assistant" or "system", found "tool"',
    ],
    [{ messages: [{ role: 'user' }] }, 'messages.0.content: expected a string or an array of blocks, found nothing'],
    [user({ type: 'text' }), 'messages.0.content.0.text: expected a string, found nothing'],
    [
      user({ type: 'text', text: '' }, { type: 'image', source: {} }),
      'messages.0.content.1.type: expected "text" or "tool_result" (this model reads nothing else), found "image"',
    ],
    [
      user({ type: 'document' }),
      'messages.0.content.0.type: expected "text" or "tool_result" (this model reads nothing else), found "document"',
    ],
    [
      user({ type: 'tool_result', tool_use_id: 'a' }),
      'messages.0.content.0.tool_use_id: expected the id of a tool_use in the assistant message before, found "a"',
    ],
    [
      model({ type: 'image', source: {} }),
      'messages.1.content.0.type: expected "text", "thinking" or "tool_use" (this model reads nothing else), found "image"',
    ],
    [
      model({ type: 'tool_use', id: 'a', name: 'b', input: '{}' }),
      'messages.1.content.0.input: expected an object, found "{}"',
    ],
    [
      model({ type: 'tool_use', name: 'b', input: {} }),
      'messages.1.content.0.id: expected a non-empty string, found nothing',
    ],
    [model({ type: 'thinking' }), 'messages.1.content.0.thinking: expected a string, found nothing'],
    [
      { messages: [HI, { role: 'assistant', content: [CALL] }] },
      'messages: expected a tool_result for each tool_use of the last message, found none',
    ],
    [
      { messages: [HI, { role: 'assistant', content: [{ type: 'thinking', thinking: '' }] }] },
      'messages: expected a last assistant message to have only text, found thinking',
    ],
    [{ system: [{ type: 'image' }] }, 'system.0.type: expected "text" (this model reads nothing else), found "image"'],
    [{ system: 5 }, 'system: expected a string or an array of blocks, found 5'],
    [{ max_tokens: 0 }, 'max_tokens: expected an integer of at least 1, found 0'],
    [{ temperature: -1 }, 'temperature: expected a number of at least 0, found -1'],
    [{ top_p: 0 }, 'top_p: expected a number above 0 and of at most 1, found 0'],
    [{ top_k: 1.5 }, 'top_k: expected an integer of at least 0, found 1.5'],
    [{ stop_sequences: [''] }, 'stop_sequences: expected an array of non-empty strings, found an array'],
    [{ mcp_servers: [{}] }, 'mcp_servers: expected none, as no tools run here, found an array'],
    [{ stream: 'yes' }, 'stream: expected true or false, found "yes"'],
    [
      { tools: [{ type: 'web_search_20250305', name: 'web_search' }] },
      'tools.0.type: expected "custom" (no other tools run here), found "web_search_20250305"',
    ],
    [{ tools: [{ name: 'a' }] }, 'tools.0.input_schema: expected a JSON schema object, found nothing'],
    [{ tool_choice: { type: 'any' } }, 'tool_choice.type: expected tools to choose from, found none'],
    [
      { tools: [TOOL], tool_choice: { type: 'tool', name: 'b' } },
      'tool_choice.name: expected the name of one of the tools, found "b"',
    ],
    [{ tool_choice: 'any' }, 'tool_choice: expected an object, found "any"'],
    [{ tool_choice: {} }, 'tool_choice.type: expected "auto", "any", "tool" or "none", found nothing'],
    [
      { thinking: { type: 'enabled', budget_tokens: 'x' } },
      'thinking.budget_tokens: expected an integer of at least 1, found "x"',
    ],
    [{ thinking: {} }, 'thinking.type: expected "enabled", "disabled" or "adaptive", found nothing'],
    [
      { output_config: { format: { type: 'regex' } } },
      'output_config.format.type: expected "json_schema", found "regex"',
    ],
    [
      { output_config: { format: { type: 'json_schema' } } },
      'output_config.format.schema: expected a JSON schema object, found nothing',
    ],
  ])('are refused by name: %j', (more, message) => {
    expect(refusalOf(more)).toBe(message)
  })

  it('are refused where schemas or inputs are nested too deep', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(300)}1${'}'.repeat(300)}`) as JsonObject
    expect(refusalOf(model({ ...CALL, input: deep }))).toMatch(
      /^messages\.1\.content\.0\.input: expected at most 200 levels/,
    )
    expect(refusalOf({ tools: [{ name: 'a', input_schema: deep }] })).toMatch(
      /^tools\.0\.input_schema: expected at most/,
    )
  })

  it('are accepted or refused, whatever becomes of one, and what is accepted is sound for the engine', () => {
    const random = new Random(11)
    let [accepted, refused] = [0, 0]
    for (let i = 0; i < 3000; i++) {
      let body: JsonObject = RICH
      for (let times = random.below(3); times >= 0; times--) body = mutated(body, random)
      if (refusal(messagesFace, body) === 'accepted') {
        const { messages } = asked(messagesFace, body)
        checkMessages(messages)
        accepted++
      } else refused++
    }
    expect(Math.min(accepted, refused)).toBeGreaterThan(500)
  })

  it('have their tokens counted as they would be asked', () => {
    const countTokensOf = (...given: unknown[]) => {
      expect(given).toEqual([asked(messagesFace, RICH).messages, expect.objectContaining({ maxTokens: 100 })])
      return 17
    }
    expect(countTokens({ countTokens: countTokensOf } as unknown as Engine, RICH)).toEqual({ input_tokens: 17 })
  })
})

const USAGE = {
  input_tokens: 18,
  cache_read_input_tokens: 32,
  cache_creation_input_tokens: 0,
  output_tokens: 20,
  output_tokens_details: { thinking_tokens: 7 },
}
const TOOL_CALL = { id: 'call_1', name: 'look_up', arguments: { key: 'lamp' } }

function bodyOf(result: Result): JsonObject {
  return exchangeOf(messagesFace, { messages: [HI] }).body(result)
}

function eventsOf(chunks: readonly Chunk[], result: Result): ServerEvent[] {
  const events = exchangeOf(messagesFace, { messages: [HI] }).events()
  return [...events.begin(50), ...chunks.flatMap((chunk) => events.chunk(chunk)), ...events.end(result)]
}

describe('whole answers', () => {
  it('have blocks of thinking, text and calls', () => {
    expect(bodyOf(resultOf({ reasoning: 'Hm.', text: 'I look.', toolCalls: [TOOL_CALL] }))).toEqual({
      id: 'msg_one',
      type: 'message',
      role: 'assistant',
      model: 'some-model',
      content: [
        { type: 'thinking', thinking: 'Hm.', signature: 'm2_one' },
        { type: 'text', text: 'I look.', citations: null },
        { type: 'tool_use', id: 'call_1', name: 'look_up', input: { key: 'lamp' } },
      ],
      stop_reason: 'tool_use',
      stop_sequence: null,
      usage: USAGE,
    })
  })

  it.each<[Partial<Result>, string, string | null]>([
    [{}, 'end_turn', null],
    [{ stopSequence: 'END' }, 'stop_sequence', 'END'],
    [{ finishReason: 'length' }, 'max_tokens', null],
    [{ finishReason: 'abort' }, 'max_tokens', null],
  ])('say why they end: %j', (fields, stop_reason, stop_sequence) => {
    expect(bodyOf(resultOf({ text: 'a', ...fields }))).toMatchObject({ stop_reason, stop_sequence })
  })
})

describe('streamed answers', () => {
  it('are blocks one after the other', () => {
    const chunks = [
      chunkOf({ reasoning: 'Hm' }),
      chunkOf({ reasoning: '.', text: 'I ' }),
      chunkOf({ text: 'look.', toolCalls: [{ index: 0, id: 'call_1', name: 'look_up', arguments: '' }] }),
      chunkOf({ toolCalls: [{ index: 0, arguments: '{"key":' }] }),
      chunkOf({
        toolCalls: [
          { index: 0, arguments: '"lamp"}' },
          { index: 1, id: 'call_2', name: 'clock', arguments: '{}' },
        ],
      }),
    ]
    const toolCalls = [TOOL_CALL, { id: 'call_2', name: 'clock', arguments: {} }]
    const told = eventsOf(chunks, resultOf({ reasoning: 'Hm.', text: 'I look.', toolCalls }))
    const start = {
      id: 'msg_one',
      type: 'message',
      role: 'assistant',
      model: 'some-model',
      content: [],
      stop_reason: null,
      stop_sequence: null,
    }
    const noUsage = {
      input_tokens: 50,
      cache_read_input_tokens: 0,
      cache_creation_input_tokens: 0,
      output_tokens: 0,
      output_tokens_details: { thinking_tokens: 0 },
    }
    const delta = (index: number, delta: JsonObject) => ({ type: 'content_block_delta', index, delta })
    const block = (index: number, content_block: JsonObject) => ({ type: 'content_block_start', index, content_block })
    const stop = (index: number) => ({ type: 'content_block_stop', index })
    expect(told.map(({ data }) => data)).toEqual([
      { type: 'message_start', message: { ...start, usage: noUsage } },
      block(0, { type: 'thinking', thinking: '', signature: '' }),
      delta(0, { type: 'thinking_delta', thinking: 'Hm' }),
      delta(0, { type: 'thinking_delta', thinking: '.' }),
      delta(0, { type: 'signature_delta', signature: 'm2_one' }),
      stop(0),
      block(1, { type: 'text', text: '', citations: null }),
      delta(1, { type: 'text_delta', text: 'I ' }),
      delta(1, { type: 'text_delta', text: 'look.' }),
      stop(1),
      block(2, { type: 'tool_use', id: 'call_1', name: 'look_up', input: {} }),
      delta(2, { type: 'input_json_delta', partial_json: '{"key":' }),
      delta(2, { type: 'input_json_delta', partial_json: '"lamp"}' }),
      stop(2),
      block(3, { type: 'tool_use', id: 'call_2', name: 'clock', input: {} }),
      delta(3, { type: 'input_json_delta', partial_json: '{}' }),
      stop(3),
      { type: 'message_delta', delta: { stop_reason: 'tool_use', stop_sequence: null }, usage: USAGE },
      { type: 'message_stop' },
    ])
    for (const { event, data } of told) expect(event).toBe((data as JsonObject).type)
  })

  it('have the blocks of the whole answer, however they are cut', () => {
    const random = new Random(5)
    for (let i = 0; i < 500; i++) {
      const result = randomResult(random)
      expect(messageOf(eventsOf(randomChunks(result, random), result))).toEqual(bodyOf(result))
    }
  })

  it('have text between calls in a block of its own', () => {
    const call = (index: number) => ({ index, id: `call_${index}`, name: 'clock', arguments: '{}' })
    const events = eventsOf(
      [chunkOf({ toolCalls: [call(0)] }), chunkOf({ text: 'and', toolCalls: [call(1)] })],
      resultOf({}),
    )
    expect(messageOf(events).content).toMatchObject([{ id: 'call_0' }, { text: 'and' }, { id: 'call_1' }])
  })
})

function thrownBy(call: () => unknown): M2Error {
  try {
    call()
  } catch (error) {
    return error as M2Error
  }
  throw new Error('nothing was thrown')
}

/** What a client puts together. Fails where blocks are not in sequence. */
function messageOf(events: readonly ServerEvent[]): JsonObject {
  const message: JsonObject & { content: JsonObject[] } = { content: [] }
  let open = -1
  let json = ''
  for (const { data } of events) {
    const event = data as Record<string, JsonObject> & { type: string; index: unknown }
    if (event.type === 'message_start') Object.assign(message, event.message)
    else if (event.type === 'message_delta') Object.assign(message, event.delta, { usage: event.usage })
    else if (event.type === 'content_block_start') {
      expect([open, event.index]).toEqual([-1, message.content.length])
      open = message.content.push({ ...event.content_block }) - 1
      json = ''
    } else if (event.type !== 'message_stop') {
      expect(event.index).toBe(open)
      const block = message.content[open]!
      if (event.type === 'content_block_stop') {
        if (block.type === 'tool_use') block.input = JSON.parse(json)
        open = -1
      } else {
        const { type: _, partial_json = '', ...texts } = event.delta!
        json += partial_json as string
        for (const [key, text] of Object.entries(texts)) block[key] = `${block[key]}${text}`
      }
    }
  }
  expect(open).toBe(-1)
  return message
}

describe('errors', () => {
  it('tell clients that keep only what is new that all is wanted', () => {
    const read = () => exchangeOf(messagesFace, { thread: { type: 'create' }, messages: [HI] })
    const error = thrownBy(read)
    expect(messagesFace.errorBody(error, 400).error).toEqual({
      type: 'invalid_request_error',
      message: error.message,
      details: { error_code: 'thread_unsupported_request' },
    })
  })

  it.each([
    [400, 'invalid_request_error'],
    [401, 'authentication_error'],
    [404, 'not_found_error'],
    [405, 'invalid_request_error'],
    [413, 'request_too_large'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [503, 'overloaded_error'],
  ])('of status %i are of type %s', (status, type) => {
    const body = messagesFace.errorBody(new M2Error('BAD_INPUT', 'why'), status)
    expect(body).toEqual({ type: 'error', error: { type, message: 'why' } })
  })

  it.each([
    ['topP: expected a number', 'top_p: expected a number'],
    ['toolChoice: "required" is not available', 'tool_choice: "required" is not available'],
    ['messages.0: expected an object', 'messages.0: expected an object'],
  ])('name the field: %s', (message, expected) => {
    expect(messagesFace.errorBody(new M2Error('BAD_OPTION', message), 400).error).toMatchObject({ message: expected })
  })

  it.each([
    ['CONTEXT_LENGTH_EXCEEDED', 'invalid_request_error'],
    ['QUEUE_FULL', 'rate_limit_error'],
    ['CLOSED', 'overloaded_error'],
    ['DEVICE_ERROR', 'overloaded_error'],
    ['BAD_CHECKPOINT', 'api_error'],
  ] as const)('with the code %s are events of type %s', (code, type) => {
    const [event, ...rest] = exchangeOf(messagesFace, { messages: [HI] })
      .events()
      .error(new M2Error(code, 'it: why'))
    const message = code === 'CONTEXT_LENGTH_EXCEEDED' ? 'prompt is too long: why' : 'it: why'
    expect(event).toEqual({ event: 'error', data: { type: 'error', error: { type, message } } })
    expect(rest).toEqual([])
  })
})
