import type { M2Error } from '../../errors'
import type { JsonObject } from '../../text/input'
import type { ServerEvent } from '../face'
import { inFieldNames } from './options'

const CODES: Record<number, string> = { 401: 'invalid_api_key', 404: 'not_found', 429: 'queue_full' }

/** OpenAI's shape. `param` is the field that the message begins with. */
export function errorBody({ code, message }: Pick<M2Error, 'code' | 'message'>, status: number): JsonObject {
  const text = inFieldNames(message)
  const isLength = code === 'CONTEXT_LENGTH_EXCEEDED'
  return {
    error: {
      message: text,
      type: typeOf(status),
      param: status === 400 ? (/^([a-z][\w.[\]]*): /i.exec(text)?.[1] ?? null) : null,
      code: isLength ? 'context_length_exceeded' : (CODES[status] ?? null),
    },
  }
}

function typeOf(status: number): string {
  if (status >= 500) return 'server_error'
  return status === 429 ? 'rate_limit_error' : 'invalid_request_error'
}

/** In mid-stream: clients take an event with `error` for the end. */
export function errorEvent(error: M2Error): ServerEvent[] {
  return [{ data: errorBody(error, 503) }]
}
