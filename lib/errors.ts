export type M2ErrorCode =
  | 'MODEL_NOT_FOUND'
  | 'BAD_CHECKPOINT'
  | 'UNSUPPORTED_MODEL'
  | 'CONTEXT_LENGTH_EXCEEDED'
  | 'BAD_OPTION'
  | 'BAD_INPUT'
  | 'DOWNLOAD_FAILED'
  | 'QUEUE_FULL'
  | 'OUT_OF_MEMORY'
  | 'DEVICE_UNAVAILABLE'
  | 'DEVICE_ERROR'
  | 'CLOSED'

/** Every error this package raises on purpose: a stable `code`, and one line that names the thing, what was expected and what was found. */
export class M2Error extends Error {
  readonly code: M2ErrorCode

  constructor(code: M2ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'M2Error'
    this.code = code
  }
}
