import { M2Error } from '../errors'
import { checkKeys, optionalFunction, optionalInteger, optionalString } from '../option-values'

/** One request, for a log. Only `error` may quote what was asked. */
export interface RequestLog {
  /** The client's `x-request-id`, or one that was made. It is in the answer's headers. */
  id: string
  method: string
  /** The path, where it is one of the server's; else "other". */
  route: string
  /** HTTP status; 499 when the client left before the end. */
  status: number
  /** Milliseconds from the request's arrival to the end of its answer. */
  ms: number
  /** Where there was a generation. */
  tokens?: { prompt: number; cached: number; completion: number }
  /** What went wrong. */
  error?: unknown
}

/** Options of `createServer`. */
export interface ServerOptions {
  /** What the model is called in answers and in `/v1/models`. Default: the name of its folder. */
  servedName?: string
  /** Asked of every request but those to `/health`, as a bearer token or `x-api-key`. Default: none. */
  apiKey?: string
  /** The origin whose pages may use the server; "*": any. Default: none. */
  cors?: string
  /** Bytes of a request's body; more is answered with 413. Default 32 MiB. */
  maxBodyBytes?: number
  /** Milliseconds of silence in a stream after which a comment is sent, for proxies and clients that give up otherwise. Default 5,000. */
  pingMs?: number
  /** Called after each request. Default: nothing is logged. */
  onRequest?: (entry: RequestLog) => void
}

export interface ServerSettings {
  servedName: string | undefined
  apiKey: string | undefined
  cors: string | undefined
  maxBodyBytes: number
  pingMs: number
  onRequest: (entry: RequestLog) => void
}

const KEYS: Record<keyof ServerOptions, true> = {
  servedName: true,
  apiKey: true,
  cors: true,
  maxBodyBytes: true,
  pingMs: true,
  onRequest: true,
}

/** @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found. */
export function checkServerOptions(options: ServerOptions): ServerSettings {
  checkKeys('createServer', options, KEYS)
  return {
    servedName: optionalText('servedName', options.servedName),
    apiKey: optionalText('apiKey', options.apiKey),
    cors: optionalText('cors', options.cors),
    maxBodyBytes: optionalInteger('maxBodyBytes', options.maxBodyBytes, { least: 1 }) ?? 32 * 2 ** 20,
    pingMs: optionalInteger('pingMs', options.pingMs, { least: 1, most: 2 ** 31 - 1 }) ?? 5000,
    onRequest: optionalFunction('onRequest', options.onRequest) ?? (() => {}),
  }
}

/** What is not empty and can stand in a header. */
function optionalText(name: string, value: unknown): string | undefined {
  const text = optionalString(name, value)
  if (text === undefined || /^[\x20-\x7e]+$/.test(text)) return text
  throw new M2Error(
    'BAD_OPTION',
    `${name}: expected printable ASCII, found ${text === '' ? 'none' : 'other characters'}`,
  )
}
