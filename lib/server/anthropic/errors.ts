import type { M2Error, M2ErrorCode } from '../../errors'
import type { JsonObject } from '../../text/input'

const TYPE_OF_STATUS: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  503: 'overloaded_error',
}

/** The status that an error in the middle of a stream would have had. */
const STATUS_OF_CODE: Partial<Record<M2ErrorCode, number>> = {
  BAD_OPTION: 400,
  BAD_INPUT: 400,
  CONTEXT_LENGTH_EXCEEDED: 400,
  QUEUE_FULL: 429,
  CLOSED: 503,
}

/** An error in Anthropic's shape. */
export function errorBody({ message }: Pick<M2Error, 'message'>, status: number): JsonObject {
  const other = status < 500 ? 'invalid_request_error' : 'api_error'
  return { type: 'error', error: { type: TYPE_OF_STATUS[status] ?? other, message } }
}

export function streamErrorBody(error: M2Error): JsonObject {
  return errorBody(error, STATUS_OF_CODE[error.code] ?? 500)
}
