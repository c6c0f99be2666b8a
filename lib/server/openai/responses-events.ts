import type { M2Error } from '../../errors'
import type { Chunk, Result } from '../../generation'
import type { JsonObject } from '../../text/input'
import { type Part, type PartEvents, PartStream } from '../answer-parts'
import type { EventWriter, ServerEvent } from '../face'
import { contentOf, finishedResponse, isWhole, itemId, itemOf, type ResponseFrame, responseOf } from './responses-body'

/** The events of a streamed response. */
export class ResponseEvents implements EventWriter, PartEvents {
  private readonly stream = new PartStream(this)
  private count = 0
  /** Of the item that is closed next. */
  private status = 'completed'

  constructor(private readonly frame: ResponseFrame) {}

  begin(): ServerEvent[] {
    const response = responseOf(this.frame, 'in_progress')
    return [this.event('response.created', { response }), this.event('response.in_progress', { response })]
  }

  chunk(chunk: Chunk): ServerEvent[] {
    return this.stream.chunk(chunk)
  }

  end(result: Result): ServerEvent[] {
    if (!isWhole(result)) this.status = 'incomplete'
    const closed = this.stream.end()
    const response = finishedResponse(this.frame, this.stream.parts, result)
    return [...closed, this.event(`response.${response.status}`, { response })]
  }

  error({ code, message }: M2Error): ServerEvent[] {
    const error = { code: code === 'QUEUE_FULL' ? 'rate_limit_exceeded' : 'server_error', message }
    return [this.event('response.failed', { response: responseOf(this.frame, 'failed', { error }) })]
  }

  open(part: Part, index: number): ServerEvent[] {
    const added = this.event('response.output_item.added', {
      output_index: index,
      item: itemOf(this.frame, part, index, 'in_progress'),
    })
    if (part.kind === 'call') return [added]
    const content = { ...this.inContent(part, index), part: contentOf(part) }
    return [added, this.event('response.content_part.added', content)]
  }

  delta(part: Part, index: number, delta: string): ServerEvent[] {
    switch (part.kind) {
      case 'reasoning':
        return [this.event('response.reasoning_text.delta', { ...this.inContent(part, index), delta })]
      case 'text':
        return [this.event('response.output_text.delta', { ...this.inContent(part, index), delta, logprobs: [] })]
      case 'call':
        return [this.event('response.function_call_arguments.delta', { ...this.inItem(part, index), delta })]
    }
  }

  close(part: Part, index: number): ServerEvent[] {
    const item = itemOf(this.frame, part, index, this.status)
    return [...this.contentDone(part, index), this.event('response.output_item.done', { output_index: index, item })]
  }

  private contentDone(part: Part, index: number): ServerEvent[] {
    const { text } = part
    if (part.kind === 'call') {
      const done = { ...this.inItem(part, index), name: part.name, arguments: text }
      return [this.event('response.function_call_arguments.done', done)]
    }
    const place = this.inContent(part, index)
    const done =
      part.kind === 'reasoning'
        ? this.event('response.reasoning_text.done', { ...place, text })
        : this.event('response.output_text.done', { ...place, text, logprobs: [] })
    return [done, this.event('response.content_part.done', { ...place, part: contentOf(part) })]
  }

  private inItem(part: Part, index: number): JsonObject {
    return { item_id: itemId(this.frame, part, index), output_index: index }
  }

  private inContent(part: Part, index: number): JsonObject {
    return { ...this.inItem(part, index), content_index: 0 }
  }

  private event(type: string, data: JsonObject): ServerEvent {
    return { event: type, data: { type, sequence_number: this.count++, ...data } }
  }
}
