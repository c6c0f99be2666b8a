import { type Delta, OutputParser, type OutputParserOptions, type ToolCall } from './text/output-parser'
import { StopMatcher } from './text/stop-matcher'
import { StreamDecoder } from './text/stream-decoder'
import type { Tokenizer } from './text/tokenizer'
import { joinToolCalls } from './text/tool-call'

const NEWLINE = 0x0a

/**
 * One sample's ids on their way to text: whole characters, then (in a chat) reasoning, content and tool calls, then stop strings in the
 * content. Everything else is held back as long as it must be.
 */
export class OutputText {
  /** The stop string that is complete: nothing comes after it. */
  stopSequence: string | undefined
  /** The last of the text so far, held back or not, is a newline. */
  endsLine = false
  private readonly decoder: StreamDecoder
  private readonly parser: OutputParser | undefined
  private readonly stops: StopMatcher
  private calls = 0

  /** `chat`: how the output is parsed; without it all of it is content. */
  constructor(
    private readonly tokenizer: Tokenizer,
    stop: readonly string[],
    chat?: Omit<OutputParserOptions, 'tokenizer'>,
  ) {
    this.decoder = new StreamDecoder(tokenizer)
    this.parser = chat && new OutputParser({ ...chat, tokenizer })
    this.stops = new StopMatcher(stop)
  }

  /** A stop string is complete. */
  get stopped(): boolean {
    return this.stopSequence !== undefined
  }

  /** The model is in its thinking. */
  get inReasoning(): boolean {
    return this.parser?.state === 'reasoning'
  }

  /** Tool calls that have ended. */
  get completeCalls(): number {
    return this.parser?.completeCalls ?? 0
  }

  /** The tool calls given out so far; at the end, as wholes. */
  get toolCalls(): ToolCall[] {
    return this.parser ? this.parser.end().toolCalls.slice(0, this.calls) : []
  }

  /** Text that stands before the ids, such as the beginning of an answer that the caller wrote: tags in it are content. */
  pushText(text: string): Delta {
    return this.push(this.tokenizer.encode(text, { special: false }))
  }

  /** One by one, because nothing counts behind a stop string. */
  push(ids: ArrayLike<number>): Delta {
    let delta: Delta = { text: '' }
    for (let i = 0; i < ids.length && !this.stopped; i++) delta = joined(delta, this.pushId(ids[i]!))
    return delta
  }

  /** What was held back, when no id follows. */
  end(): Delta {
    if (this.stopped) return {}
    const last = this.match(this.parser ? this.parser.flush() : { text: this.decoder.end() })
    return joined(last, { text: this.stopped ? '' : this.stops.end() })
  }

  private pushId(id: number): Delta {
    const delta = this.parser ? this.parser.push('', [id]) : { text: this.decoder.push([id]) }
    this.endsLine = this.tokenizer.bytesOf(id).at(-1) === NEWLINE
    return this.match(delta)
  }

  private match(delta: Delta): Delta {
    for (const { index } of delta.toolCalls ?? []) this.calls = Math.max(this.calls, index + 1)
    if (delta.text === undefined) return delta
    const { text, stopped } = this.stops.push(delta.text)
    this.stopSequence = stopped
    return { ...delta, text }
  }
}

function joined(a: Delta, b: Delta): Delta {
  const toolCalls = a.toolCalls ?? []
  if (b.toolCalls) joinToolCalls(toolCalls, b.toolCalls)
  return {
    text: (a.text ?? '') + (b.text ?? ''),
    ...((a.reasoning ?? b.reasoning) !== undefined && { reasoning: (a.reasoning ?? '') + (b.reasoning ?? '') }),
    ...(toolCalls.length > 0 && { toolCalls }),
  }
}
