/** POST /v1/chat/completions */
import { M2Error } from '../../errors'
import type { Chunk, Result } from '../../generation'
import type { ChatOptions } from '../../options'
import type { JsonObject } from '../../text/input'
import { type ChatMessage, checkMessages, type TextPart } from '../../text/messages'
import type { EventWriter, Exchange, Face, RequestContext, ServerEvent } from '../face'
import { Fields } from '../fields'
import { errorBody, errorEvent } from './errors'
import { chatLogprobs } from './logprobs'
import { generateOptions, includesUsage, refuse } from './options'
import { finishReason, samplesOf, saysNothing, usageOf } from './result'

export const chatCompletions: Face = {
  read: (body, context) => {
    const fields = new Fields(body)
    const options = chatOptions(fields)
    const asked: Asked = {
      tokenIds: fields.boolean('return_token_ids') ?? false,
      usage: includesUsage(fields),
    }
    return {
      stream: fields.boolean('stream') ?? false,
      start: (engine, signal) => engine.chat(messagesOf(fields), { ...options, signal }),
      body: (result) => completion(result, context, asked),
      events: () => new ChunkWriter(context, asked),
    } satisfies Exchange
  },
  errorBody: (error, status) => errorBody({ code: error.code, message: inChatsNames(error.message) }, status),
}

/** Where this API has other fields than completions. */
function inChatsNames(message: string): string {
  return message
    .replace(/^prompt:/, 'messages:')
    .replace(/^responseFormat\.schema\b/, 'response_format.json_schema.schema')
}

/** The engine checks and names them. It takes one system message, at the beginning; clients have several there, and later ones too. */
function messagesOf(fields: Fields): ChatMessage[] {
  const messages = fields.value('messages')
  if (!Array.isArray(messages)) return messages as ChatMessage[]
  const taken = messages.map((message: ChatMessage | null, i) => {
    return i > 0 && isSystem(message) ? { ...message, role: 'user' as const, aside: true } : message
  }) as ChatMessage[]
  const count = messages.findIndex((message) => !isSystem(message))
  const leading = count < 0 ? taken.length : count
  if (leading < 2) return taken
  checkMessages(taken) // while they have the places that errors name
  const content = taken.slice(0, leading).map(textOf).filter(Boolean).join('\n\n')
  return [{ ...taken[0]!, content }, ...taken.slice(leading)]
}

function isSystem(message: ChatMessage | null): boolean {
  return message?.role === 'system' || message?.role === 'developer'
}

function textOf({ content }: ChatMessage): string {
  return typeof content === 'string' ? content : (content ?? []).map((part) => (part as TextPart).text).join('')
}

/** What the client wants to be told. */
interface Asked {
  tokenIds: boolean
  /** In a stream. */
  usage: boolean
}

function chatOptions(fields: Fields): ChatOptions {
  refuse(fields, {
    functions: 'expected tools',
    function_call: 'expected tool_choice',
    audio: 'this model reads and writes text',
    web_search_options: 'expected tools',
  })
  const maxTokens = fields.integer('max_completion_tokens', { least: 1 })
  const options: ChatOptions = {
    ...generateOptions(fields),
    logprobs: logprobsOf(fields),
    tools: fields.list('tools') as ChatOptions['tools'],
    toolChoice: toolChoice(fields),
    parallelToolCalls: fields.boolean('parallel_tool_calls'),
    responseFormat: responseFormat(fields),
    maxReasoningTokens: fields.value('max_reasoning_tokens') as number | undefined,
    keepReasoning: fields.value('keep_reasoning') as ChatOptions['keepReasoning'],
    thinking: thinking(fields),
    reasoning: fields.boolean('reasoning_split') === false ? 'inline' : 'split',
  }
  return maxTokens === undefined ? options : { ...options, maxTokens }
}

function logprobsOf(fields: Fields): number | undefined {
  const top = fields.integer('top_logprobs', { least: 0, most: 20 })
  if (fields.boolean('logprobs')) return top ?? 0
  if (top === undefined) return undefined
  throw new M2Error('BAD_INPUT', 'top_logprobs: expected logprobs: true beside it, found none')
}

const TOOL_CHOICES = ['auto', 'none', 'required'] as const

function toolChoice(fields: Fields): ChatOptions['toolChoice'] {
  if (typeof fields.value('tool_choice') !== 'object') return fields.choice('tool_choice', TOOL_CHOICES)
  const choice = fields.fields('tool_choice')!
  const fn = choice.value('type') === 'function' && choice.fields('function')
  if (!fn) throw choice.unexpected('type', '"function", and beside it function: { name }')
  return { name: fn.name('name') }
}

function responseFormat(fields: Fields): ChatOptions['responseFormat'] {
  const format = fields.fields('response_format')
  if (!format) return undefined
  switch (format.value('type')) {
    case 'text':
      return undefined
    case 'json_object':
      return { type: 'json_object' }
    case 'json_schema': {
      const schema = format.fields('json_schema')?.value('schema')
      if (typeof schema === 'object') return { type: 'json_schema', schema: schema as object }
      throw new M2Error('BAD_INPUT', 'response_format.json_schema.schema: expected a JSON schema object, found none')
    }
    case 'regex':
      return { type: 'regex', pattern: format.name('pattern') }
    default:
      throw format.unexpected('type', '"text", "json_object", "json_schema" or "regex"')
  }
}

/** `thinking: false`, as other servers have it ({ type: "disabled" }), or as their chat templates have it. */
function thinking(fields: Fields): boolean | undefined {
  const own = fields.value('thinking')
  if (typeof own === 'object') {
    return fields.fields('thinking')!.choice('type', ['enabled', 'disabled', 'adaptive']) !== 'disabled'
  }
  const kwargs = fields.fields('chat_template_kwargs')
  return fields.boolean('thinking') ?? kwargs?.boolean('enable_thinking') ?? kwargs?.boolean('thinking')
}

function completion(result: Result, context: RequestContext, asked: Asked): JsonObject {
  const { id, created, model, tokenizer } = context
  return {
    id: `chatcmpl-${id}`,
    object: 'chat.completion',
    created,
    model,
    choices: samplesOf(result).map((sample, index) => ({
      index,
      message: message(sample),
      logprobs: sample.logprobs ? chatLogprobs(sample.logprobs, tokenizer) : null,
      finish_reason: finishReason(sample.finishReason),
      ...(asked.tokenIds && { token_ids: sample.tokenIds }),
    })),
    usage: usageOf(result),
    ...(asked.tokenIds && { prompt_token_ids: result.promptTokenIds }),
  }
}

function message({ text, reasoning, toolCalls: calls }: Result): JsonObject {
  return {
    role: 'assistant',
    content: text === '' && calls.length > 0 ? null : text,
    refusal: null,
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(calls.length > 0 && {
      tool_calls: calls.map(({ id, name, arguments: args }) => ({
        id,
        type: 'function',
        function: { name, arguments: JSON.stringify(args) },
      })),
    }),
  }
}

class ChunkWriter implements EventWriter {
  /** The choices that have begun. */
  private readonly begun = new Set<number>()

  constructor(
    private readonly context: RequestContext,
    private readonly asked: Asked,
  ) {}

  begin(): ServerEvent[] {
    return this.open(0)
  }

  chunk(chunk: Chunk): ServerEvent[] {
    const { index, tokenIds, logprobs } = chunk
    const tellsTokens = tokenIds.length > 0 && (this.asked.tokenIds || logprobs !== undefined)
    if (saysNothing(chunk) && !tellsTokens) return []
    const choice = {
      delta: this.delta(chunk),
      logprobs: logprobs ? chatLogprobs(logprobs, this.context.tokenizer) : null,
      finish_reason: null,
      ...(this.asked.tokenIds && { token_ids: tokenIds }),
    }
    return [...this.open(index), this.event([{ index, ...choice }])]
  }

  end(result: Result): ServerEvent[] {
    const ends = samplesOf(result).flatMap((sample, index) => [
      ...this.open(index),
      this.event(
        [{ index, delta: {}, logprobs: null, finish_reason: finishReason(sample.finishReason) }],
        this.asked.tokenIds ? { prompt_token_ids: result.promptTokenIds } : {},
      ),
    ])
    const usage = this.asked.usage ? [this.event([], { usage: usageOf(result) })] : []
    return [...ends, ...usage, { data: '[DONE]' }]
  }

  error(error: M2Error): ServerEvent[] {
    return errorEvent(error)
  }

  /** The first delta of a choice has its role. */
  private open(index: number): ServerEvent[] {
    if (this.begun.has(index)) return []
    this.begun.add(index)
    const delta = { role: 'assistant', content: '' }
    return [this.event([{ index, delta, logprobs: null, finish_reason: null }])]
  }

  private delta({ text, reasoning, toolCalls = [] }: Chunk): JsonObject {
    const calls = toolCalls.map(({ index, id, name, arguments: fragment }) => ({
      index,
      ...(id !== undefined && { id, type: 'function' }),
      function: { ...(name !== undefined && { name }), arguments: fragment },
    }))
    return {
      ...(reasoning && { reasoning_content: reasoning }),
      ...(text !== '' && { content: text }),
      ...(calls.length > 0 && { tool_calls: calls }),
    }
  }

  private event(choices: JsonObject[], more: JsonObject = {}): ServerEvent {
    const { id, created, model } = this.context
    const usage = this.asked.usage ? { usage: null } : {}
    return {
      data: { id: `chatcmpl-${id}`, object: 'chat.completion.chunk', created, model, choices, ...usage, ...more },
    }
  }
}
