/** OpenAI's Responses API, without a memory: what a conversation needs is in each request. */
import { partsOf } from '../answer-parts'
import type { Face } from '../face'
import { errorBody } from './errors'
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
  errorBody: ({ code, message }, status) => errorBody({ code, message: inFieldNames(message) }, status),
}

/** Where this API has other fields than OpenAI's others. */
function inFieldNames(message: string): string {
  return message.replace(/^responseFormat\b/, 'text.format').replace(/^prompt:/, 'input:')
}
