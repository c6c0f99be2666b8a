/** Trying again: what may pass by itself, how long to wait, and when to give up. */
import { setTimeout } from 'node:timers/promises'
import { M2Error } from '../errors'

/** A failure that may pass by itself: a lost connection, a busy server. */
export class TransientError extends Error {
  constructor(
    message: string,
    /** How long the server asked to wait. */
    readonly retryAfterMs?: number,
  ) {
    super(message)
  }
}

const FIRST_MS = 500
const LONGEST_MS = 60_000
/** A server that asks for more than this is refused its wish. */
const LONGEST_ASKED_MS = 300_000

export type Pause = (ms: number, signal: AbortSignal) => Promise<void>

/** Waits; rejects when the signal comes. */
export const pause: Pause = (ms, signal) => setTimeout(ms, undefined, { signal })

/** Counts failures in a row; `after` waits longer each time, until there were too many. */
export class Retries {
  private failures = 0

  constructor(
    private readonly what: string,
    private readonly most: number,
    private readonly signal: AbortSignal,
    private readonly wait: Pause,
    private readonly onNotice: (message: string) => void,
  ) {}

  /** Something worked: failures are counted anew. */
  reset(): void {
    this.failures = 0
  }

  /** @throws what is not transient, as it is; M2Error DOWNLOAD_FAILED when there were too many failures in a row. */
  async after(error: unknown): Promise<void> {
    if (!(error instanceof TransientError)) throw error
    if (++this.failures > this.most) {
      throw new M2Error('DOWNLOAD_FAILED', `${this.what}: ${error.message}, ${this.failures} times in a row`, {
        cause: error,
      })
    }
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.failures - 1))
    // Not all clients of a server that was down should come back in the same moment.
    const ms = Math.min(LONGEST_ASKED_MS, error.retryAfterMs ?? longest * (0.5 + Math.random() / 2))
    this.onNotice(`${this.what}: ${error.message}; trying again in ${Math.ceil(ms / 1000)} s`)
    await this.wait(ms, this.signal)
  }
}
