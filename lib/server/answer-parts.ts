/** An answer as a row of parts, which APIs call content blocks or output items. */
import type { Chunk, Result } from '../generation'
import type { ToolCallDelta } from '../text/output-parser'
import type { ServerEvent } from './face'

/** `text`: of a call, the JSON of its arguments. */
export type Part = { text: string } & (
  | { kind: 'reasoning' }
  | { kind: 'text' }
  | { kind: 'call'; id: string; name: string }
)

/** What of an answer the client is given. */
export interface PartOptions {
  /** Characters at the beginning of the text that it has already. Default 0. */
  skipped?: number
}

/** The parts of a whole answer. None is empty. */
export function partsOf({ reasoning, text, toolCalls }: Result, { skipped }: PartOptions = {}): Part[] {
  const parts: Part[] = [
    { kind: 'reasoning', text: reasoning },
    { kind: 'text', text: text.slice(skipped) },
    ...toolCalls.map((call) => ({
      kind: 'call' as const,
      id: call.id,
      name: call.name,
      text: JSON.stringify(call.arguments),
    })),
  ]
  return parts.filter((part) => part.text !== '')
}

/** How an API says that a part begins, goes on, and is complete. `index` counts the parts of the answer from 0. */
export interface PartEvents {
  open(part: Part, index: number): ServerEvent[]
  /** @param delta not empty; it is at the end of `part.text` already. */
  delta(part: Part, index: number, delta: string): ServerEvent[]
  close(part: Part, index: number): ServerEvent[]
}

/**
 * The parts of an answer while it is streamed: one after the other, each closed before the next is opened. Text between two calls is a part of its own;
 * all else is as in the whole answer.
 */
export class PartStream {
  /** All so far. The last one may be open. */
  readonly parts: Part[] = []
  private isOpen = false
  /** Which of the answer's calls is the last part, where that is a call. */
  private call = -1
  private skipped: number

  constructor(
    private readonly events: PartEvents,
    { skipped = 0 }: PartOptions = {},
  ) {
    this.skipped = skipped
  }

  /** What a chunk merges comes in this order: thinking, the rest of a call that has begun, text, further calls. */
  chunk({ text, reasoning = '', toolCalls = [] }: Chunk): ServerEvent[] {
    const begun = toolCalls.filter((delta) => delta.index === this.call)
    const further = toolCalls.filter(({ index }) => index !== this.call)
    const fresh = text.slice(this.skipped)
    this.skipped -= text.length - fresh.length
    return [
      ...this.add('reasoning', reasoning),
      ...begun.flatMap((delta) => this.addCall(delta)),
      ...this.add('text', fresh),
      ...further.flatMap((delta) => this.addCall(delta)),
    ]
  }

  /** The answer is complete. */
  end(): ServerEvent[] {
    if (!this.isOpen) return []
    this.isOpen = false
    return this.events.close(this.parts.at(-1)!, this.parts.length - 1)
  }

  private add(kind: 'reasoning' | 'text', text: string): ServerEvent[] {
    if (text === '') return []
    const events = this.parts.at(-1)?.kind === kind ? [] : this.open({ kind, text: '' })
    return [...events, ...this.extend(text)]
  }

  private addCall({ index, id, name, arguments: json }: ToolCallDelta): ServerEvent[] {
    const events = index === this.call ? [] : this.open({ kind: 'call', id: id ?? '', name: name ?? '', text: '' })
    this.call = index
    return json === '' ? events : [...events, ...this.extend(json)]
  }

  private open(part: Part): ServerEvent[] {
    const closed = this.end()
    this.parts.push(part)
    this.isOpen = true
    return [...closed, ...this.events.open(part, this.parts.length - 1)]
  }

  private extend(text: string): ServerEvent[] {
    const part = this.parts.at(-1)!
    part.text += text
    return this.events.delta(part, this.parts.length - 1, text)
  }
}
