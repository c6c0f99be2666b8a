/**
 * A Hugging Face compatible hub over HTTP. fetch follows the hub's redirects to where files lie and, as its standard asks, takes the token off where
 * that is another host.
 */
import { M2Error } from '../errors'
import { packageVersion } from '../package-version'
import type { HubFile } from './listing'
import { type Pause, Retries, TransientError } from './retries'

/** A connection that has been silent for so long is taken as lost. */
const SILENCE_MS = 30_000
/** Failures in a row: a list is soon given up, so that a machine without network says so; files outlast a few minutes without. */
const LIST_RETRIES = 3
const FILE_RETRIES = 8

export interface HubOptions {
  /** Such as "https://huggingface.co". */
  endpoint: string
  token?: string
  signal: AbortSignal
  pause: Pause
  /** Told what goes wrong and is tried again. */
  onNotice: (message: string) => void
}

/** Bytes of a file and where they belong in it. */
export interface Piece {
  at: number
  bytes: Uint8Array
}

export class HubClient {
  constructor(
    readonly repo: string,
    private readonly hub: HubOptions,
  ) {}

  /** @throws the reason why the download is to stop, when it is */
  throwIfStopped(): void {
    this.hub.signal.throwIfAborted()
  }

  /** What the hub has at a revision, unread. @throws {M2Error} MODEL_NOT_FOUND, DOWNLOAD_FAILED */
  async list(revision: string): Promise<unknown> {
    const retries = this.retries(this.repo, LIST_RETRIES)
    const path = `/api/models/${this.repo}/revision/${encodeURIComponent(revision)}?blobs=true`
    while (true) {
      try {
        const parts: Uint8Array[] = []
        const what = `a model with the revision ${revision}`
        for await (const { bytes } of this.read(path, 0, what)) parts.push(bytes)
        return JSON.parse(Buffer.concat(parts).toString('utf8'))
      } catch (error) {
        if (error instanceof SyntaxError) return undefined
        await retries.after(error)
      }
    }
  }

  /**
   * The bytes of a file from `offset` on, in order, or from 0 on where the server cannot begin elsewhere. They may end early.
   * @throws {TransientError} when it is worth another try; M2Error when not
   */
  file(file: HubFile, commit: string, offset: number): AsyncGenerator<Piece> {
    const name = file.name.split('/').map(encodeURIComponent).join('/')
    return this.read(`/${this.repo}/resolve/${commit}/${name}`, offset, `the file ${file.name} in ${commit}`)
  }

  retriesOf(file: HubFile): Retries {
    return this.retries(file.name, FILE_RETRIES)
  }

  private retries(what: string, most: number): Retries {
    return new Retries(what, most, this.hub.signal, this.hub.pause, this.hub.onNotice)
  }

  /** @param what is expected there */
  private async *read(path: string, offset: number, what: string): AsyncGenerator<Piece> {
    const silence = new AbortController()
    const timer = setTimeout(() => silence.abort(), SILENCE_MS)
    try {
      const response = await fetch(this.hub.endpoint + path, {
        headers: this.headers(offset),
        signal: AbortSignal.any([this.hub.signal, silence.signal]),
      })
      if (!response.ok) {
        await response.body?.cancel()
        throw this.refusal(response, what)
      }
      let at = beginOf(response, offset)
      for await (const bytes of response.body ?? []) {
        timer.refresh()
        yield { at, bytes }
        at += bytes.length
      }
    } catch (error) {
      this.throwIfStopped()
      if (silence.signal.aborted) throw new TransientError(`the connection was silent for ${SILENCE_MS / 1000} s`)
      // fetch's one class for all that a network does; without a cause it is a bug of ours.
      if (error instanceof TypeError && error.cause) throw new TransientError(this.networkError(error))
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  private headers(offset: number): Record<string, string> {
    return {
      'user-agent': `m2-engine/${packageVersion()}`,
      'accept-encoding': 'identity', // a compressed body has another length and other offsets
      ...(this.hub.token ? { authorization: `Bearer ${this.hub.token}` } : {}),
      ...(offset > 0 ? { range: `bytes=${offset}-` } : {}),
    }
  }

  private refusal(response: Response, what: string): Error {
    const { status } = response
    const { repo } = this
    const { endpoint, token } = this.hub
    // A storage host refuses links that are too old: the hub will give a new one.
    const elsewhere = new URL(response.url).origin !== new URL(endpoint).origin
    if (status === 408 || status === 416 || status === 429 || status >= 500 || (elsewhere && status !== 404)) {
      return new TransientError(`${new URL(response.url).host} answered ${status}`, retryAfterMs(response))
    }
    if (status === 401 && !token) {
      const how = `set HF_TOKEN (${endpoint}/settings/tokens) if it is`
      return new M2Error(
        'MODEL_NOT_FOUND',
        `${repo}: expected a public model on ${endpoint}, found none (401): it does not exist, or it is private or gated: ${how}`,
      )
    }
    if (status === 401) {
      return new M2Error('MODEL_NOT_FOUND', `${repo}: ${endpoint} does not accept the token (401): it may have expired`)
    }
    if (status === 403) {
      return new M2Error(
        'MODEL_NOT_FOUND',
        `${repo}: no access (403): accept its terms at ${endpoint}/${repo}, and give HF_TOKEN a token that may read it`,
      )
    }
    if (status === 404) {
      const found = NOT_FOUND.get(response.headers.get('x-error-code') ?? '') ?? 'nothing'
      return new M2Error('MODEL_NOT_FOUND', `${repo}: expected ${what} on ${endpoint}, found ${found} (404)`)
    }
    return new M2Error('DOWNLOAD_FAILED', `${repo}: ${endpoint} answered ${status} ${response.statusText}`.trim())
  }

  private networkError(error: TypeError): string {
    const cause = error.cause as NodeJS.ErrnoException | undefined
    const reason = cause?.code ?? cause?.message ?? error.message
    const { host } = new URL(this.hub.endpoint)
    return NO_WAY.has(reason) ? `cannot reach ${host} (${reason})` : `the connection was lost (${reason})`
  }
}

/** What the hub's own codes say. */
const NOT_FOUND = new Map([
  ['RepoNotFound', 'no such model'],
  ['RevisionNotFound', 'no such revision'],
  ['EntryNotFound', 'no such file'],
])

/** Failures before anything was sent. */
const NO_WAY = new Set([
  ...['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH', 'ETIMEDOUT'],
  'UND_ERR_CONNECT_TIMEOUT',
])

/** Where a response's first byte belongs. */
function beginOf(response: Response, offset: number): number {
  if (response.status !== 206) return 0 // the whole file, whatever was asked for
  const range = response.headers.get('content-range') ?? 'nothing'
  if (range.startsWith(`bytes ${offset}-`)) return offset
  throw new TransientError(`expected the bytes from ${offset} on, found ${range}`)
}

/** Seconds or a date. */
function retryAfterMs(response: Response): number | undefined {
  const text = response.headers.get('retry-after')
  if (text === null) return undefined
  const ms = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}
