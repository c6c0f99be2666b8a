/**
 * What the server asks of an API that it speaks: how a request's body becomes a generation, and a generation the body or the events of its answer. Faces
 * are pure translations: they know neither sockets nor headers.
 */
import type { Engine } from '../engine'
import type { M2Error } from '../errors'
import type { Chunk, Generation, Result } from '../generation'
import type { JsonObject } from '../text/input'
import type { Tokenizer } from '../text/tokenizer'

/** What a face knows of a request besides its body. */
export interface RequestContext {
  /** Unique, without a prefix; the ids of the answer are made of it. */
  id: string
  /** When the request came, in seconds since 1970. */
  created: number
  /** What the request's `model` says, else the name that the server serves its model as. */
  model: string
  /** Null where the model has none. */
  tokenizer: Tokenizer | null
}

/** One server-sent event. */
export interface ServerEvent {
  /** Its name; OpenAI's chat has none. */
  event?: string
  /** Becomes JSON, unless it is a string. */
  data: JsonObject | string
}

/** A request that a face has read. */
export interface Exchange {
  /** The client wants events. */
  readonly stream: boolean
  /** Errors of arguments come out of the generation, as everywhere. */
  start(engine: Engine, signal: AbortSignal): Generation | Promise<Generation>
  /** The body of a whole answer. */
  body(result: Result): JsonObject
  /** The events of a streamed one. */
  events(): EventWriter
}

/** Translates one generation, in this order; `error` may come in the place of anything. */
export interface EventWriter {
  /** The request was accepted. `promptTokens`: of its prompt. */
  begin(promptTokens: number): ServerEvent[]
  chunk(chunk: Chunk): ServerEvent[]
  end(result: Result): ServerEvent[]
  error(error: M2Error): ServerEvent[]
}

export interface Face {
  /** @throws {M2Error} BAD_INPUT or BAD_OPTION naming the field, by its name in this API. */
  read(body: JsonObject, context: RequestContext): Exchange
  /** An error in the API's own shape, for an answer with that HTTP status. */
  errorBody(error: Pick<M2Error, 'code' | 'message'>, status: number): JsonObject
}
