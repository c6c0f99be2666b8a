import { randomUUID } from 'node:crypto'
import { type IncomingMessage, Server, type ServerResponse } from 'node:http'
import path from 'node:path'
import type { Engine } from '../engine'
import type { JsonObject } from '../text/input'
import { allowOrigin, checkKey, REQUEST_ID_HEADERS, requestId } from './access'
import { Connections } from './connections'
import type { RequestContext } from './face'
import { failureOf, HttpError } from './failure'
import { answer, type Outcome } from './generate'
import { Metrics } from './metrics'
import { modelObject } from './openai/models'
import { checkServerOptions, type RequestLog, type ServerOptions, type ServerSettings } from './options'
import { Reply } from './reply'
import { readJson } from './request-body'
import { findRoute, modelOf, pathOf, type Route, routeName, shapeAt } from './routes'

// A user without @types/node must be able to compile against this package; there it is any.
// biome-ignore lint/suspicious/noTsIgnore: there is an error only there
/** @ts-ignore */
type HttpServer = import('node:http').Server

/**
 * An HTTP server for an engine: OpenAI's and Anthropic's APIs, `/health`, `/metrics`, `/tokenize` and `/detokenize`. It does not close the engine.
 * `close()` takes no further connection, lets running requests end, and closes what is idle; `engine.close()` ends them with what there is.
 * @param engine a promise of one while the model loads: until then requests are answered with 503.
 * @throws {M2Error} BAD_OPTION
 * @example
 * createServer(await Engine.load(), { apiKey: process.env.KEY }).listen(8000)
 */
export function createServer(engine: Engine | Promise<Engine>, options: ServerOptions = {}): HttpServer {
  return new ApiServer(engine, checkServerOptions(options))
}

/** Milliseconds for a request's head, and for all of it. */
const TIMEOUTS = { headersTimeout: 20_000, requestTimeout: 300_000, connectionsCheckingInterval: 1000 }
/** Longer than clients and proxies keep theirs, so that it is not closed under a request that is on its way. */
const KEEP_ALIVE_MS = 75_000

class ApiServer extends Server {
  private readonly sockets = new Connections(this)
  private readonly metrics = new Metrics(() => this.engine)
  private readonly createdAt = Math.floor(Date.now() / 1000)
  private engine: Engine | undefined
  /** Why there is none, where it could not be loaded. */
  private loadFailure: string | undefined

  constructor(
    engine: Engine | Promise<Engine>,
    private readonly settings: ServerSettings,
  ) {
    super({ ...TIMEOUTS, keepAliveTimeout: KEEP_ALIVE_MS })
    Promise.resolve(engine).then(
      (loaded) => {
        this.engine = loaded
      },
      (error) => {
        this.loadFailure = failureOf(error).error.message
      },
    )
    const listener = (req: IncomingMessage, res: ServerResponse) => void this.serve(req, res)
    this.on('request', listener)
    this.on('checkContinue', listener) // the body is asked for once the head has been found good
  }

  override close(done?: (error?: Error) => void): this {
    super.close(done)
    this.sockets.closeIdle()
    return this
  }

  /** Never rejects. */
  private async serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const startedAt = performance.now()
    const url = pathOf(req.url ?? '')
    const id = randomUUID().replaceAll('-', '')
    const request = { id, path: url, route: routeName(url), method: req.method ?? '' }
    const requestName = requestId(req, id)
    const reply = new Reply(req, res)
    this.sockets.add(reply)
    for (const header of REQUEST_ID_HEADERS) res.setHeader(header, requestName)
    if (!this.listening) res.setHeader('connection', 'close')
    const { result, error } = await this.respond(request, reply)
    const ms = performance.now() - startedAt
    const status = reply.signal.aborted ? 499 : res.statusCode
    this.metrics.observe(request.route, status, ms, result)
    void this.log({
      id: requestName,
      method: request.method,
      route: request.route,
      status,
      ms,
      ...tokensOf(result),
      error,
    })
  }

  private async respond(request: Request, reply: Reply): Promise<Outcome> {
    const { apiKey, cors } = this.settings
    try {
      if (allowOrigin(reply.req, reply.res, cors)) return {}
      if (request.route !== '/health') checkKey(reply.req, apiKey)
      const route = findRoute(request.path, request.method)
      return (await this.take(route, request, reply)) ?? {}
    } catch (error) {
      const failure = failureOf(error)
      const body = shapeAt(request.path).errorBody(failure.error, failure.status)
      if (!reply.res.headersSent) reply.json(failure.status, body, failure.headers)
      else reply.res.destroy()
      return { error }
    }
  }

  private async take(route: Route, request: Request, reply: Reply): Promise<Outcome | undefined> {
    if ('page' in route) return this.show(route.page, request, reply)
    const { req, res } = reply
    const engine = this.readyEngine()
    const body = await readJson(req, res, this.settings.maxBodyBytes)
    if ('answer' in route) {
      reply.json(200, route.answer(engine, body))
      return undefined
    }
    const exchange = route.face.read(body, this.contextOf(request, body, engine))
    return answer(exchange, engine, reply, this.settings.pingMs)
  }

  private async show(page: (Route & { page: unknown })['page'], request: Request, reply: Reply): Promise<undefined> {
    if (page === 'health') {
      reply.json(...this.health())
    } else if (page === 'metrics') {
      reply.send(200, this.metrics.contentType, await this.metrics.text())
    } else {
      const engine = this.readyEngine()
      const name = this.nameOf(engine)
      const model = modelObject(name, this.createdAt, engine.model.context)
      if (page === 'models') reply.json(200, { object: 'list', data: [model] })
      else if (modelOf(request.path) === name) reply.json(200, model)
      else throw new HttpError(404, `model: expected ${JSON.stringify(name)}, found another`)
    }
  }

  /** The HTTP status, and what is said beside it. */
  private health(): [number, { status: string; error?: string }] {
    if (!this.listening) return [503, { status: 'draining' }]
    const failure = this.loadFailure ?? this.engine?.refusal?.message
    if (failure !== undefined) return [503, { status: 'failed', error: failure }]
    return this.engine ? [200, { status: 'ok' }] : [503, { status: 'loading' }]
  }

  /** @throws {HttpError} 503 */
  private readyEngine(): Engine {
    if (!this.listening) throw new HttpError(503, 'the server is shutting down', { 'retry-after': '5' })
    if (this.engine) return this.engine
    if (this.loadFailure !== undefined) throw new HttpError(503, `the model could not be loaded: ${this.loadFailure}`)
    throw new HttpError(503, 'the model is not loaded yet', { 'retry-after': '5' })
  }

  private contextOf({ id }: Request, { model }: JsonObject, engine: Engine): RequestContext {
    return {
      id,
      created: Math.floor(Date.now() / 1000),
      model: typeof model === 'string' ? model : this.nameOf(engine),
      tokenizer: engine.tokenizer,
    }
  }

  private nameOf(engine: Engine): string {
    return this.settings.servedName ?? path.basename(engine.model.directory)
  }

  /** A log that throws or rejects is the caller's bug, which must not end their server. */
  private async log(entry: RequestLog): Promise<void> {
    try {
      await this.settings.onRequest(entry)
    } catch {}
  }
}

interface Request {
  /** Unique. */
  id: string
  path: string
  /** The name of its route. */
  route: string
  method: string
}

function tokensOf(result: Outcome['result']) {
  if (!result) return {}
  const { promptTokens, cachedTokens } = result.usage
  const samples = result.samples ?? [result]
  const completion = samples.reduce((sum, { usage }) => sum + usage.completionTokens, 0)
  return { tokens: { prompt: promptTokens, cached: cachedTokens, completion } }
}
