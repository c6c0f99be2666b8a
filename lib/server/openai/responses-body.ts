/** A response of OpenAI's Responses API, and its items. */
import type { Result } from '../../generation'
import type { JsonObject } from '../../text/input'
import type { Part } from '../answer-parts'
import type { RequestContext } from '../face'
import { sealThinking } from './responses-thinking'

/** What does not change while a response comes into being. */
export interface ResponseFrame {
  context: RequestContext
  /** What is repeated of the request. */
  echo: JsonObject
  /** Thinking is also there in a form that is sent back unread. */
  sealed: boolean
}

/** A response without output, but for what `more` says. */
export function responseOf({ context, echo }: ResponseFrame, status: string, more: JsonObject = {}): JsonObject {
  return {
    id: `resp_${context.id}`,
    object: 'response',
    created_at: context.created,
    model: context.model,
    ...echo,
    status,
    output: [],
    error: null,
    incomplete_details: null,
    usage: null,
    ...more,
  }
}

/** What was cut short by the server, which shuts down, is to a client what was cut short by a limit. */
export function isWhole({ finishReason }: Result): boolean {
  return finishReason === 'stop' || finishReason === 'tool_calls'
}

export function finishedResponse(frame: ResponseFrame, parts: readonly Part[], result: Result): JsonObject {
  const whole = isWhole(result)
  return responseOf(frame, whole ? 'completed' : 'incomplete', {
    incomplete_details: whole ? null : { reason: 'max_output_tokens' },
    output: parts.map((part, i) => {
      return itemOf(frame, part, i, whole || i < parts.length - 1 ? 'completed' : 'incomplete')
    }),
    usage: usageOf(result),
  })
}

export function itemId({ context }: ResponseFrame, { kind }: Part, index: number): string {
  const prefix = { reasoning: 'rs', text: 'msg', call: 'fc' }[kind]
  return `${prefix}_${context.id}_${index}`
}

/** An item; one that is in progress has nothing in it yet. */
export function itemOf(frame: ResponseFrame, part: Part, index: number, status: string): JsonObject {
  const id = itemId(frame, part, index)
  const begun = status === 'in_progress'
  const content = begun ? [] : [contentOf(part)]
  switch (part.kind) {
    case 'reasoning': {
      const sealed = frame.sealed && { encrypted_content: begun ? '' : sealThinking(part.text) }
      return { id, type: 'reasoning', status, summary: [], content, ...sealed }
    }
    case 'text':
      return { id, type: 'message', status, role: 'assistant', content }
    case 'call':
      return { id, type: 'function_call', status, call_id: part.id, name: part.name, arguments: begun ? '' : part.text }
  }
}

/** What an item of thinking or text has in it. */
export function contentOf({ kind, text }: Pick<Part, 'kind' | 'text'>): JsonObject {
  return kind === 'reasoning'
    ? { type: 'reasoning_text', text }
    : { type: 'output_text', text, annotations: [], logprobs: [] }
}

function usageOf({ usage }: Result): JsonObject {
  return {
    input_tokens: usage.promptTokens,
    input_tokens_details: { cached_tokens: usage.cachedTokens, cache_write_tokens: 0 },
    output_tokens: usage.completionTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.promptTokens + usage.completionTokens,
  }
}
