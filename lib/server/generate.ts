/** One generation for one client: whole, or as events. */
import type { Engine } from '../engine'
import { M2Error } from '../errors'
import type { Generation, Result } from '../generation'
import type { Exchange } from './face'
import { failureOf } from './failure'
import type { EventStream, Reply } from './reply'

/**
 * Answers the request, and says how it went. Whoever leaves ends the generation.
 * @throws what the generation throws before a first word was said.
 */
export async function answer(exchange: Exchange, engine: Engine, reply: Reply, pingMs: number): Promise<Outcome> {
  const generation = await exchange.start(engine, reply.signal)
  const isRefused = generation.promptTokens === 0 // known from the call on, so a stream need not begin to hear of it
  if (exchange.stream && !isRefused) return stream(exchange, generation, reply.events(pingMs))
  const result = await generation.result()
  reply.json(200, exchange.body(result))
  return { result }
}

export interface Outcome {
  result?: Result
  /** That ended a stream which had begun. */
  error?: unknown
}

async function stream(exchange: Exchange, generation: Generation, out: EventStream): Promise<Outcome> {
  const writer = exchange.events()
  try {
    await out.send(writer.begin(generation.promptTokens))
    for await (const chunk of generation) await out.send(writer.chunk(chunk))
    const result = await generation.result()
    await out.send(writer.end(result))
    return { result }
  } catch (error) {
    generation.abort()
    const { code, message } = failureOf(error).error
    await out.send(writer.error(new M2Error(code, message)))
    return { error }
  } finally {
    out.end()
  }
}
