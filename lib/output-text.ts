import type { Delta, OutputParser, ToolCall } from './text/output-parser'
import { StopMatcher } from './text/stop-matcher'
import { StreamDecoder } from './text/stream-decoder'
import type { Tokenizer } from './text/tokenizer'

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
  private readonly stops: StopMatcher
  private calls = 0

  constructor(
    tokenizer: Tokenizer,
    stop: readonly string[],
    private readonly parser?: OutputParser,
  ) {
    this.decoder = new StreamDecoder(tokenizer)
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

  /** The tool calls given out so far, as wholes. */
  get toolCalls(): ToolCall[] {
    return this.parser ? this.parser.end().toolCalls.slice(0, this.calls) : []
  }

  /** Text that stands before the ids, such as the beginning of an answer that the caller wrote. */
  pushText(text: string): Delta {
    if (text !== '') this.endsLine = text.endsWith('\n')
    return this.match(this.parser ? this.parser.push(text) : { text })
  }

  push(ids: readonly number[]): Delta {
    return this.pushText(this.decoder.push(ids))
  }

  /** What was held back, when no id follows. */
  end(): Delta {
    if (this.stopped) return {}
    const rest = this.pushText(this.decoder.end())
    const last = this.parser && !this.stopped ? this.match(this.parser.flush()) : {}
    const text = this.stopped ? '' : this.stops.end()
    return joined(joined(rest, last), { text })
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
  const toolCalls = [...(a.toolCalls ?? []), ...(b.toolCalls ?? [])]
  return {
    text: (a.text ?? '') + (b.text ?? ''),
    ...((a.reasoning ?? b.reasoning) !== undefined && { reasoning: (a.reasoning ?? '') + (b.reasoning ?? '') }),
    ...(toolCalls.length > 0 && { toolCalls }),
  }
}
