/** What is where. */
import type { Engine } from '../engine'
import type { JsonObject } from '../text/input'
import { countTokens, messagesFace } from './anthropic/messages'
import type { Face } from './face'
import { HttpError } from './failure'
import { chatCompletions } from './openai/chat'
import { completions } from './openai/completions'
import { responsesFace } from './openai/responses'
import { detokenize, tokenize } from './tokens'

/** `face`: its generations. `answer`: a body for a body. `page`: something to read. */
export type Route =
  | { method: 'POST'; face: Face }
  | { method: 'POST'; answer: (engine: Engine, body: JsonObject) => JsonObject; shape: Pick<Face, 'errorBody'> }
  | { method: 'GET'; page: 'health' | 'metrics' | 'models' | 'model' }

const ROUTES: Record<string, Route> = {
  '/v1/chat/completions': { method: 'POST', face: chatCompletions },
  '/v1/completions': { method: 'POST', face: completions },
  '/v1/responses': { method: 'POST', face: responsesFace },
  '/v1/messages': { method: 'POST', face: messagesFace },
  '/v1/messages/count_tokens': { method: 'POST', answer: countTokens, shape: messagesFace },
  '/tokenize': { method: 'POST', answer: tokenize, shape: completions },
  '/detokenize': { method: 'POST', answer: detokenize, shape: completions },
  '/v1/models': { method: 'GET', page: 'models' },
  '/v1/models/{id}': { method: 'GET', page: 'model' },
  '/health': { method: 'GET', page: 'health' },
  '/metrics': { method: 'GET', page: 'metrics' },
}

const MODEL = '/v1/models/'

/** The path of a request's target: proxies may put scheme and host before it. */
export function pathOf(target: string): string {
  return target.replace(/^https?:\/\/[^/?#]*/i, '').replace(/[?#].*$/, '')
}

/** The name of the route that a path belongs to; "other" where there is none. */
export function routeName(path: string): string {
  if (Object.hasOwn(ROUTES, path) && !path.includes('{')) return path
  return path.startsWith(MODEL) && path.length > MODEL.length ? `${MODEL}{id}` : 'other'
}

/** @throws {HttpError} 404, 405 */
export function findRoute(path: string, method: string): Route {
  const route = ROUTES[routeName(path)]
  if (!route) throw notFound(path)
  if (method === route.method || (method === 'HEAD' && route.method === 'GET')) return route
  throw new HttpError(405, `method: expected ${route.method}, found ${method}`, { allow: route.method })
}

function notFound(path: string): HttpError {
  const meant = meantBy(path)
  const expected = meant ? `${meant} (is the base URL right?)` : `one of ${Object.keys(ROUTES).join(', ')}`
  return new HttpError(404, `path: expected ${expected}, found ${JSON.stringify(path.slice(0, 100))}`)
}

/** The route that a client means whose base URL has no /v1, or has it twice, or more than belongs there. */
function meantBy(path: string): string | undefined {
  const bare = path.replace(/\/$/, '')
  const names = Object.keys(ROUTES).filter((name) => bare.endsWith(name.replace(/^\/v1/, '')))
  return names.sort((a, b) => b.length - a.length)[0]
}

/** The name in a path of a model: it may have slashes, escaped or not. */
export function modelOf(path: string): string {
  try {
    return decodeURIComponent(path.slice(MODEL.length))
  } catch {
    return path.slice(MODEL.length)
  }
}

/** In whose shape errors at a path are: below a route that of the route, elsewhere that of the one that is meant. */
export function shapeAt(path: string): Pick<Face, 'errorBody'> {
  const names = Object.keys(ROUTES).filter((name) => path === name || path.startsWith(`${name}/`))
  const route = ROUTES[names.sort((a, b) => b.length - a.length)[0] ?? meantBy(path) ?? '']
  if (route && 'face' in route) return route.face
  return route && 'shape' in route ? route.shape : completions
}
