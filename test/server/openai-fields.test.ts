/** What OpenAI's fields are to the engine, and what is said of those that are wrong. No sockets, no model. */
import { describe, expect, it } from 'vitest'
import type { Engine } from '../../lib/engine'
import { M2Error } from '../../lib/errors'
import type { Chunk, Result } from '../../lib/generation'
import type { Face, RequestContext } from '../../lib/server/face'
import { chatCompletions } from '../../lib/server/openai/chat'
import { completions } from '../../lib/server/openai/completions'
import type { JsonObject } from '../../lib/text/input'
import { generation, RESULT } from './scripted-engine'

const CONTEXT: RequestContext = { id: 'one', created: 1, model: 'm', tokenizer: null }
const ASK = { messages: [{ role: 'user', content: 'Yes?' }] }
const { signal } = new AbortController()

/** What the engine is called with. */
function calls(face: Face, body: JsonObject): unknown[][] {
  const seen: unknown[][] = []
  const record = (...args: unknown[]) => {
    seen.push(args)
    return generation()
  }
  face.read(body, CONTEXT).start({ chat: record, generate: record } as unknown as Engine, signal)
  return seen
}

function optionsOf(face: Face, body: JsonObject): object {
  const [, options] = calls(face, body)[0] as [unknown, object]
  return Object.fromEntries(Object.entries(options).filter(([key, value]) => value !== undefined && key !== 'signal'))
}

const chatOptions = (body: JsonObject) => optionsOf(chatCompletions, { ...ASK, ...body })

describe('fields of a chat', () => {
  it('are the options of the engine', () => {
    const fields = { temperature: 0.5, top_p: 0.9, n: 2, stop: ['a'], seed: 7, presence_penalty: 1, top_k: 40 }
    const others = { frequency_penalty: 2, logit_bias: { '5': 1 }, min_p: 0.1, repetition_penalty: 1.1, priority: 3 }
    const extras = { stop_token_ids: [9], ignore_eos: true, cache_salt: 's', max_reasoning_tokens: 5, max_tokens: 10 }
    expect(chatOptions({ ...fields, ...others, ...extras, keep_reasoning: 'always' })).toEqual({
      ...{ temperature: 0.5, topP: 0.9, n: 2, stop: ['a'], seed: 7, presencePenalty: 1, topK: 40 },
      ...{ frequencyPenalty: 2, logitBias: { '5': 1 }, minP: 0.1, repetitionPenalty: 1.1, priority: 3 },
      ...{ stopTokenIds: [9], ignoreEos: true, cacheSalt: 's', maxReasoningTokens: 5, maxTokens: 10 },
      ...{ keepReasoning: 'always', reasoning: 'split' },
    })
  })

  it('that are null are absent, and those of no meaning here are let through', () => {
    const absent = Object.fromEntries(
      ['temperature', 'stop', 'tools', 'tool_choice', 'response_format', 'logprobs', 'stream', 'n', 'functions'].map(
        (name) => [name, null],
      ),
    )
    const ignored = { user: 'u', metadata: {}, store: true, reasoning_effort: 'high', service_tier: 'auto', foo: 1 }
    expect(chatOptions({ ...absent, ...ignored })).toEqual({ reasoning: 'split' })
  })

  it.each([
    [{ max_completion_tokens: 5 }, { maxTokens: 5 }],
    [{ max_completion_tokens: 5, max_tokens: 7 }, { maxTokens: 5 }],
    [{ logprobs: true }, { logprobs: 0 }],
    [{ logprobs: true, top_logprobs: 3 }, { logprobs: 3 }],
    [{ logprobs: false }, {}],
    [{ tool_choice: 'required' }, { toolChoice: 'required' }],
    [{ tool_choice: { type: 'function', function: { name: 'f' } } }, { toolChoice: { name: 'f' } }],
    [{ response_format: { type: 'text' } }, {}],
    [{ response_format: { type: 'json_object' } }, { responseFormat: { type: 'json_object' } }],
    [
      { response_format: { type: 'json_schema', json_schema: { name: 'n', strict: true, schema: { type: 'null' } } } },
      { responseFormat: { type: 'json_schema', schema: { type: 'null' } } },
    ],
    [{ response_format: { type: 'regex', pattern: 'a+' } }, { responseFormat: { type: 'regex', pattern: 'a+' } }],
    [{ thinking: false }, { thinking: false }],
    [{ thinking: { type: 'disabled' } }, { thinking: false }],
    [{ thinking: { type: 'enabled', budget_tokens: 5 } }, { thinking: true }],
    [{ chat_template_kwargs: { enable_thinking: false } }, { thinking: false }],
    [{ reasoning_split: false }, { reasoning: 'inline' }],
  ])('%j', (fields, options) => {
    expect(chatOptions(fields)).toEqual({ reasoning: 'split', ...options })
  })

  it.each<[JsonObject, string]>([
    [{ max_completion_tokens: 0 }, 'max_completion_tokens: expected an integer of at least 1, found 0'],
    [{ top_logprobs: 3 }, 'top_logprobs: expected logprobs: true beside it, found none'],
    [{ logprobs: true, top_logprobs: 21 }, 'top_logprobs: expected'],
    [{ logprobs: 5 }, 'logprobs: expected true or false, found 5'],
    [{ stream: 'yes' }, 'stream: expected true or false'],
    [{ stream_options: { include_usage: 1 } }, 'stream_options.include_usage: expected true or false'],
    [{ tools: {} }, 'tools: expected an array'],
    [{ tool_choice: 'all' }, 'tool_choice: expected "auto" or "none" or "required", found "all"'],
    [{ tool_choice: { type: 'allowed_tools', allowed_tools: {} } }, 'tool_choice.type: expected "function"'],
    [{ tool_choice: { type: 'function' } }, 'tool_choice.type: expected "function", and beside it function'],
    [{ tool_choice: { type: 'function', function: {} } }, 'tool_choice.function.name: expected a non-empty string'],
    [{ response_format: 'json' }, 'response_format: expected an object'],
    [{ response_format: { type: 'xml' } }, 'response_format.type: expected "text"'],
    [{ response_format: { type: 'json_schema' } }, 'response_format.json_schema.schema: expected'],
    [{ functions: [] }, 'functions: not supported; expected tools'],
  ])('%j is refused by name', (fields, message) => {
    expect(() => chatOptions(fields)).toThrow(message)
  })
})

describe('messages', () => {
  it('of the system are asides where they come later', () => {
    const [system, user, tool] = [
      { role: 'system', content: 's' },
      { role: 'user', content: 'u' },
      { role: 'tool', content: 't' },
    ]
    const developer = { role: 'developer', content: [{ type: 'text', text: 'd' }] }
    const [[messages]] = calls(chatCompletions, { messages: [system, user, tool, developer, null] }) as [[unknown]]
    expect(messages).toEqual([system, user, tool, { ...developer, role: 'user', aside: true }, null])
  })

  it('of the system are paragraphs of one where several come first', () => {
    const user = { role: 'user', content: 'u' }
    const first = [
      { role: 'system', content: 'a', current_date: 'today' },
      { role: 'system', content: null },
      { role: 'developer', content: [{ type: 'text', text: 'b' }] },
    ]
    const [[messages]] = calls(chatCompletions, { messages: [...first, user] }) as [[unknown]]
    expect(messages).toEqual([{ role: 'system', content: 'a\n\nb', current_date: 'today' }, user])
    const [[alone]] = calls(chatCompletions, { messages: first }) as [[unknown]]
    expect(alone).toEqual([{ role: 'system', content: 'a\n\nb', current_date: 'today' }])
    const unsound = { messages: [...first, { role: 'user', content: [{ type: 'image_url' }] }] }
    expect(() => calls(chatCompletions, unsound)).toThrow('messages[3].content[0].type')
  })
})

describe('errors of the engine', () => {
  it.each([
    ['maxTokens: expected an integer of at least 1, found "a"', 'max_tokens'],
    ['logitBias[7]: expected a number, found "a"', 'logit_bias[7]'],
    ['toolChoice: "required" is not available yet', 'tool_choice'],
    ['responseFormat.schema.items: expected another', 'response_format.json_schema.schema.items'],
    ['messages[0].content: expected a string', 'messages[0].content'],
    ['n: expected at most 64', 'n'],
  ])('%s: the parameter is %s', (message, param) => {
    const { error } = chatCompletions.errorBody(new M2Error('BAD_OPTION', message), 400) as { error: JsonObject }
    expect(error.param).toBe(param)
    expect(error.message).toMatch(new RegExp(`^${param.replace(/[[\]]/g, '\\$&')}: `))
  })
})

describe('completions', () => {
  it('have 16 tokens where nothing else is said', () => {
    expect(optionsOf(completions, { prompt: 'a' })).toEqual({ maxTokens: 16 })
    expect(optionsOf(completions, { prompt: 'a', max_tokens: null })).toEqual({ maxTokens: 16 })
    expect(optionsOf(completions, { prompt: 'a', max_tokens: 3, logprobs: 2 })).toEqual({ maxTokens: 3, logprobs: 2 })
  })

  it.each([
    ['a', ['a']],
    [[1, 2], [[1, 2]]],
    [
      ['a', 'b'],
      ['a', 'b'],
    ],
    [
      ['a', [1, 2]],
      ['a', [1, 2]],
    ],
  ])('of %j are generations of each prompt', (prompt, prompts) => {
    expect(calls(completions, { prompt }).map(([one]) => one)).toEqual(prompts)
  })

  it.each<[JsonObject, string]>([
    [{}, 'prompt: expected a string'],
    [{ prompt: [] }, 'prompt: expected'],
    [{ prompt: [1, 'a'] }, 'prompt: expected'],
    [{ prompt: 'a', suffix: 'b' }, 'suffix: not supported'],
    [{ prompt: 'a', best_of: 2 }, 'best_of: expected n, which is 1, found 2'],
    [{ prompt: 'a', echo: true, logprobs: 1 }, 'echo: not supported with logprobs'],
    [{ prompt: 'a', n: 0 }, 'n: expected an integer of at least 1'],
  ])('%j are refused by name', (body, message) => {
    expect(() => completions.read(body, CONTEXT)).toThrow(message)
  })
})

describe('a stream of a chat', () => {
  const events = (body: JsonObject, chunks: Chunk[], result: Result = RESULT) => {
    const writer = chatCompletions.read({ ...ASK, stream: true, ...body }, CONTEXT).events()
    return [...writer.begin(2), ...chunks.flatMap((chunk) => writer.chunk(chunk)), ...writer.end(result)]
  }
  const deltas = (...args: Parameters<typeof events>) =>
    events(...args).flatMap(({ data }) =>
      typeof data === 'string' ? [data] : (data.choices as { delta: unknown }[]).map(({ delta }) => delta),
    )
  const token = (more: Partial<Chunk>): Chunk => ({ text: '', tokenIds: [7], index: 0, ...more })

  it('has no delta for a token that says nothing yet, unless tokens were asked for', () => {
    const chunks = [token({}), token({ text: 'yes' })]
    expect(deltas({}, chunks)).toEqual([{ role: 'assistant', content: '' }, { content: 'yes' }, {}, '[DONE]'])
    expect(deltas({ return_token_ids: true }, chunks)).toHaveLength(5)
    const logprobs = [{ id: 7, logprob: -1, top: [] }]
    const [, first] = events({ logprobs: true }, [token({ logprobs })])
    expect(first).toMatchObject({
      data: {
        choices: [{ delta: {}, logprobs: { content: [{ token: 'token_id:7', logprob: -1, top_logprobs: [] }] } }],
      },
    })
  })

  it('names a call once, whatever it is cut into', () => {
    const cut = [
      token({ toolCalls: [{ index: 0, id: 'c1', name: 'f', arguments: '' }] }),
      token({ toolCalls: [{ index: 0, arguments: '{"a":' }] }),
      token({
        toolCalls: [
          { index: 0, arguments: '1}' },
          { index: 1, id: 'c2', name: 'g', arguments: '{}' },
        ],
      }),
    ]
    expect(deltas({}, cut).slice(1, -2)).toEqual([
      { tool_calls: [{ index: 0, id: 'c1', type: 'function', function: { name: 'f', arguments: '' } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"a":' } }] },
      {
        tool_calls: [
          { index: 0, function: { arguments: '1}' } },
          { index: 1, id: 'c2', type: 'function', function: { name: 'g', arguments: '{}' } },
        ],
      },
    ])
  })

  it('opens and ends each of n choices', () => {
    const samples = [RESULT, { ...RESULT, finishReason: 'abort' as const }]
    const all = events({ n: 2, stream_options: { include_usage: true } }, [token({ text: 'b', index: 1 })], {
      ...RESULT,
      samples,
    })
    const said = all.slice(0, -1).map(({ data }) => {
      const { choices, usage } = data as { choices: { index: number; finish_reason: string }[]; usage: unknown }
      return [choices[0]?.index, choices[0]?.finish_reason, usage === null]
    })
    expect(said).toEqual([
      [0, null, true],
      [1, null, true],
      [1, null, true],
      [0, 'stop', true],
      [1, 'length', true],
      [undefined, undefined, false],
    ])
    expect(all.at(-2)!.data).toMatchObject({
      usage: { prompt_tokens: 2, completion_tokens: 2, prompt_tokens_details: { cached_tokens: 1 } },
    })
  })
})
