/** Who may ask, from where, and under what name a request is known. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { HttpError } from './failure'

/** OpenAI's clients look for it in the first, Anthropic's in the second. */
export const REQUEST_ID_HEADERS = ['x-request-id', 'request-id']

/** @throws {HttpError} 401 */
export function checkKey({ headers }: IncomingMessage, key: string | undefined): void {
  if (key === undefined) return
  const bearer = /^bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1]
  const given = [bearer, headers['x-api-key']].filter((one) => typeof one === 'string')
  if (given.some((one) => isSame(one, key))) return
  const found = given.length === 0 ? 'none' : 'another'
  throw new HttpError(401, `API key: expected that of this server as a bearer token or as x-api-key, found ${found}`, {
    'www-authenticate': 'Bearer',
  })
}

/** In a time that says nothing about where they differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

/** A client's own name for its request, if it can stand in a log; else a new one. */
export function requestId({ headers }: IncomingMessage, otherwise: string): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && /^[\w.:/+=@-]{1,128}$/.test(given) ? given : otherwise
}

/** Lets pages of `origin` read the answers. True: the request only asked for that, and is answered. */
export function allowOrigin(req: IncomingMessage, res: ServerResponse, origin: string | undefined): boolean {
  if (origin === undefined) return false
  res.setHeader('access-control-allow-origin', origin)
  res.setHeader('access-control-expose-headers', [...REQUEST_ID_HEADERS, 'retry-after'].join(', '))
  if (origin !== '*') res.setHeader('vary', 'origin')
  if (req.method !== 'OPTIONS' || req.headers['access-control-request-method'] === undefined) return false
  res.setHeader('access-control-allow-methods', 'GET, POST')
  res.setHeader('access-control-allow-headers', req.headers['access-control-request-headers'] ?? '*')
  res.setHeader('access-control-max-age', 86_400)
  res.writeHead(204).end()
  return true
}
