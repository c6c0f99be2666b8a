import { M2Error } from '../../errors'
import type { JsonObject } from '../../text/input'
import { failureOf } from '../failure'

const TYPE_OF_STATUS: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
}

/** What the engine's errors begin with, and the fields that it comes from. */
const FIELDS: Record<string, string> = {
  maxReasoningTokens: 'thinking.budget_tokens',
  responseFormat: 'output_config.format',
  stop: 'stop_sequences',
  toolChoice: 'tool_choice',
  topP: 'top_p',
}

/** The request goes on from a conversation that the server is to have kept. Clients that are told so send all of it. */
export class ThreadRefusal extends M2Error {
  readonly details = { error_code: 'thread_unsupported_request' }

  constructor() {
    super('BAD_INPUT', 'thread: expected all of the conversation in messages, as none is kept here, found a thread')
  }
}

/** An error in Anthropic's shape. Clients know by its first words that a conversation has become too long, and shorten it. */
export function errorBody(error: Pick<M2Error, 'code' | 'message'>, status: number): JsonObject {
  const { code, message } = error
  const type = TYPE_OF_STATUS[status] ?? (status < 500 ? 'invalid_request_error' : 'api_error')
  const text = code === 'CONTEXT_LENGTH_EXCEEDED' ? tooLong(message) : inFieldNames(message)
  const details = error instanceof ThreadRefusal && { details: error.details }
  return { type: 'error', error: { type, message: text, ...details } }
}

function inFieldNames(message: string): string {
  return message.replace(/^\w+(?=[:.])/, (name) => (Object.hasOwn(FIELDS, name) ? FIELDS[name]! : name))
}

/** In Anthropic's words, which clients take the numbers from. */
function tooLong(message: string): string {
  const [, most, found] = /at most (\d+) tokens.* found (\d+)/.exec(message) ?? []
  return `prompt is too long: ${found ? `${found} tokens > ${most} maximum` : message.replace(/^\w+: /, '')}`
}

/** One in the middle of a stream, as if it had come before. */
export function streamErrorBody(error: M2Error): JsonObject {
  return errorBody(error, failureOf(error).status)
}
