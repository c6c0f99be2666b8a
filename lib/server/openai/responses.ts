/** OpenAI's Responses API, without a memory: what a conversation needs is in each request. */
import { partsOf } from '../answer-parts'
import type { Face } from '../face'
import { finishedResponse } from './responses-body'
import { ResponseEvents } from './responses-events'
import { readRequest } from './responses-request'

/** `POST /v1/responses`. */
export const responsesFace: Face = {
  read(body, context) {
    const { messages, options, stream, sealed, echo } = readRequest(body)
    const frame = { context, echo, sealed }
    return {
      stream,
      start: (engine, signal) => engine.chat(messages, { ...options, signal }),
      body: (result) => finishedResponse(frame, partsOf(result), result),
      events: () => new ResponseEvents(frame),
    }
  },
  errorBody: ({ code, message }, status) => ({
    error: { message, type: status < 500 ? 'invalid_request_error' : 'server_error', param: null, code },
  }),
}
