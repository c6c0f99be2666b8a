/** Answers in Anthropic's shape, whole and as events. */
import type { M2Error } from '../../errors'
import type { Chunk, Result } from '../../generation'
import type { JsonObject } from '../../text/input'
import { type Part, type PartEvents, type PartOptions, PartStream, partsOf } from '../answer-parts'
import type { EventWriter, RequestContext, ServerEvent } from '../face'
import { streamErrorBody } from './errors'

/** The body of a whole answer. */
export function messageBody(result: Result, context: RequestContext, options: PartOptions): JsonObject {
  return {
    ...messageHead(context),
    content: partsOf(result, options).map((part) => blockOf(part, context)),
    ...stopOf(result),
    usage: usageOf(result),
  }
}

function messageHead({ id, model }: RequestContext): JsonObject {
  return { id: `msg_${id}`, type: 'message', role: 'assistant', model }
}

function blockOf(part: Part, context: RequestContext): JsonObject {
  switch (part.kind) {
    case 'reasoning':
      return { type: 'thinking', thinking: part.text, signature: signatureOf(context) }
    case 'text':
      return { type: 'text', text: part.text, citations: null }
    case 'call':
      return { type: 'tool_use', id: part.id, name: part.name, input: JSON.parse(part.text) }
  }
}

/** Clients want one, and send it back with the thinking. Nobody checks it. */
function signatureOf({ id }: RequestContext): string {
  return `m2_${id}`
}

function stopOf({ finishReason, stopSequence }: Result): JsonObject {
  if (finishReason === 'tool_calls') return { stop_reason: 'tool_use', stop_sequence: null }
  if (finishReason !== 'stop') return { stop_reason: 'max_tokens', stop_sequence: null }
  const stopped = stopSequence !== undefined
  return { stop_reason: stopped ? 'stop_sequence' : 'end_turn', stop_sequence: stopSequence ?? null }
}

function usageOf({ usage }: Pick<Result, 'usage'>): JsonObject {
  return {
    input_tokens: usage.promptTokens - usage.cachedTokens,
    cache_read_input_tokens: usage.cachedTokens,
    cache_creation_input_tokens: 0,
    output_tokens: usage.completionTokens,
    output_tokens_details: { thinking_tokens: usage.reasoningTokens },
  }
}

/** The events of a streamed answer. */
export class MessageEvents implements EventWriter, PartEvents {
  private readonly parts: PartStream

  constructor(
    private readonly context: RequestContext,
    options: PartOptions,
  ) {
    this.parts = new PartStream(this, options)
  }

  /** How much of the prompt is cached is not known yet. */
  begin(promptTokens: number): ServerEvent[] {
    const usage = usageOf({ usage: { promptTokens, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 } })
    const message = { ...messageHead(this.context), content: [], stop_reason: null, stop_sequence: null, usage }
    return [event('message_start', { message })]
  }

  chunk(chunk: Chunk): ServerEvent[] {
    return this.parts.chunk(chunk)
  }

  end(result: Result): ServerEvent[] {
    const end = event('message_delta', { delta: stopOf(result), usage: usageOf(result) })
    return [...this.parts.end(), end, event('message_stop', {})]
  }

  error(error: M2Error): ServerEvent[] {
    return [{ event: 'error', data: streamErrorBody(error) }]
  }

  open(part: Part, index: number): ServerEvent[] {
    return [event('content_block_start', { index, content_block: emptyBlock(part) })]
  }

  delta(part: Part, index: number, delta: string): ServerEvent[] {
    return [event('content_block_delta', { index, delta: deltaOf(part, delta) })]
  }

  close(part: Part, index: number): ServerEvent[] {
    const signature = { type: 'signature_delta', signature: signatureOf(this.context) }
    return [
      ...(part.kind === 'reasoning' ? [event('content_block_delta', { index, delta: signature })] : []),
      event('content_block_stop', { index }),
    ]
  }
}

function event(type: string, data: JsonObject): ServerEvent {
  return { event: type, data: { type, ...data } }
}

function emptyBlock(part: Part): JsonObject {
  switch (part.kind) {
    case 'reasoning':
      return { type: 'thinking', thinking: '', signature: '' }
    case 'text':
      return { type: 'text', text: '', citations: null }
    case 'call':
      return { type: 'tool_use', id: part.id, name: part.name, input: {} }
  }
}

function deltaOf(part: Part, delta: string): JsonObject {
  switch (part.kind) {
    case 'reasoning':
      return { type: 'thinking_delta', thinking: delta }
    case 'text':
      return { type: 'text_delta', text: delta }
    case 'call':
      return { type: 'input_json_delta', partial_json: delta }
  }
}
