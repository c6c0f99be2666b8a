import type { M2ErrorCode } from '../index'

/** Bad usage or input: asking differently helps. */
export const USAGE = 2
/** Ctrl-C, after printing what there was. */
export const INTERRUPTED = 130
/** SIGTERM, where what was going on was not waited for. */
export const TERMINATED = 143

/** The exit status of each error: 2 when what was asked for or given is wrong, 1 when the work itself failed. */
export const EXIT_STATUS: Record<M2ErrorCode, number> = {
  MODEL_NOT_FOUND: USAGE,
  BAD_CHECKPOINT: USAGE,
  UNSUPPORTED_MODEL: USAGE,
  CONTEXT_LENGTH_EXCEEDED: USAGE,
  BAD_OPTION: USAGE,
  BAD_INPUT: USAGE,
  DEVICE_UNAVAILABLE: USAGE,
  DOWNLOAD_FAILED: 1,
  QUEUE_FULL: 1,
  OUT_OF_MEMORY: 1,
  DEVICE_ERROR: 1,
  CLOSED: 1,
}
