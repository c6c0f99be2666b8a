/** Anthropic's Messages API. */
import type { Engine } from '../../engine'
import type { JsonObject } from '../../text/input'
import type { Face } from '../face'
import { errorBody } from './errors'
import { MessageEvents, messageBody } from './message'
import { readRequest } from './request'

/** `POST /v1/messages`. */
export const messagesFace: Face = {
  read(body, context) {
    const { messages, options, parts, stream } = readRequest(body)
    return {
      stream,
      start: (engine, signal) => engine.chat(messages, { ...options, signal }),
      body: (result) => messageBody(result, context, parts),
      events: () => new MessageEvents(context, parts),
    }
  },
  errorBody,
}

/**
 * `POST /v1/messages/count_tokens`: the tokens of the prompt that the same body has at `/v1/messages`.
 * @throws {M2Error} as that request and its generation would
 */
export function countTokens(engine: Engine, body: JsonObject): JsonObject {
  const { messages, options } = readRequest(body)
  return { input_tokens: engine.countTokens(messages, options) }
}
