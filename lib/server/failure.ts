/** What an error is to a client: a status, and one line. */
import { M2Error, type M2ErrorCode } from '../errors'

/** A request that never reaches a generation: a wrong path, a missing key, a body that is none. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Record<string, string> = {},
  ) {
    super(message)
    this.name = 'HttpError'
  }
}

export interface Failure {
  status: number
  error: Pick<M2Error, 'code' | 'message'>
  headers: Record<string, string>
}

const STATUS: Record<M2ErrorCode, number> = {
  BAD_INPUT: 400,
  BAD_OPTION: 400,
  CONTEXT_LENGTH_EXCEEDED: 400,
  QUEUE_FULL: 429,
  CLOSED: 503,
  DEVICE_ERROR: 503,
  OUT_OF_MEMORY: 503,
  // Those of loading: no request causes them.
  MODEL_NOT_FOUND: 500,
  BAD_CHECKPOINT: 500,
  UNSUPPORTED_MODEL: 500,
  DOWNLOAD_FAILED: 500,
  DEVICE_UNAVAILABLE: 500,
}

/** Seconds after which a request that found no room may be tried again. */
const RETRY_AFTER = { 'retry-after': '1' }

export function failureOf(error: unknown): Failure {
  if (error instanceof HttpError) {
    return { status: error.status, error: { code: 'BAD_INPUT', message: error.message }, headers: error.headers }
  }
  if (error instanceof M2Error) {
    const status = STATUS[error.code]
    return { status, error, headers: status === 429 || status === 503 ? RETRY_AFTER : {} }
  }
  return { status: 500, error: { code: 'DEVICE_ERROR', message: 'internal error of the server' }, headers: {} }
}
