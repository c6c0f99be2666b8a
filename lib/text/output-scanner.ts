/**
 * Finds the parts of a model's output while it arrives; the exact inverse of rendering an assistant's turn.
 *
 *   {reasoning}\n</think>\n\n{text}\n<minimax:tool_call>\n<invoke name="N">\n<parameter name="K">V</parameter>\n</invoke>\n</minimax:tool_call>
 *
 * All goes on as soon as it cannot be part of a tag any more. What is undecided waits in `pending`, which is never longer than a tag after
 * a push, and every decision looks at the same characters however they arrived: any chunking gives the same sum, in linear time.
 */
import { CALLS, CALLS_END, THINK, THINK_END } from './markup'
import {
  ALL_SPELLED,
  BEHIND_VALUE,
  INVOKE,
  INVOKE_END,
  MEANT,
  PARAMETER,
  PARAMETER_END,
  type Quote,
  type SpelledTags,
  type State,
} from './output-tags'

/** Takes the parts in their order. */
export interface OutputSink {
  reasoning(text: string): void
  text(text: string): void
  /** The header of a call is complete. */
  invoke(name: string): void
  /** The header of one of its parameters is. */
  parameter(name: string): void
  /** More of the parameter's text, as written. */
  value(text: string): void
  parameterEnd(): void
  /** The call ends; without `parameterEnd` before it, in the middle of a parameter. */
  invokeEnd(): void
}

/** Where each tag leads, and how many newlines behind it belong to it. */
const LEADS: Record<string, [State, number]> = {
  [THINK]: ['reasoning', 1],
  [THINK_END]: ['text', 2],
  [CALLS]: ['block', 0],
  [CALLS_END]: ['text', 0],
  [INVOKE]: ['invokeName', 0],
  [INVOKE_END]: ['block', 0],
  [PARAMETER]: ['parameterName', 0],
  [PARAMETER_END]: ['valueEnd', 0],
}

export class OutputScanner {
  private tags = ALL_SPELLED // those that are recognised by their characters
  private pending = ''
  private atStart = true // a leading <think> is still possible
  private newlines = 0 // so many newlines to come belong to the tag before them
  private blank = '' // whitespace that is content only if more content follows
  private name = '' // as far as it has been read
  private quote: Quote | undefined // around it, once known

  constructor(
    private readonly sink: OutputSink,
    private state: State,
  ) {}

  get place(): 'reasoning' | 'text' | 'tool' {
    return this.state === 'reasoning' || this.state === 'text' ? this.state : 'tool'
  }

  /** More text, and the tags that are recognised in it. */
  push(text: string, tags = ALL_SPELLED): void {
    this.tags = tags
    this.pending += text
    while (this.step(false));
  }

  /** A control tag that is a token of its own, among text in which `tags` are recognised. */
  control(tag: string, tags: SpelledTags): void {
    const leads = tag === THINK && this.atStart && this.pending === ''
    this.atStart = false
    if (leads || MEANT[this.state].includes(tag)) {
      this.settle()
      this.follow(tag)
    } else this.push(tag, tags)
  }

  /** The output ends here: prose held back is prose, markup cut off is dropped, a call in the making ends with what it has. */
  finish(): void {
    while (this.step(true));
    if (this.state === 'valueEnd') this.endParameter()
    if (this.state === 'invoke' || this.state === 'parameterName' || this.state === 'value') this.sink.invokeEnd()
  }

  /** Takes one decision; false when there is none to take. */
  private step(final: boolean): boolean {
    this.swallowNewlines()
    if (this.pending === '') return false
    if (this.atStart) {
      const leads = this.tags.leadingThink(this.pending)
      if (leads === undefined && !final) return false
      this.atStart = false
      if (leads) return this.pass(THINK)
    }
    switch (this.state) {
      case 'reasoning':
      case 'text':
        return this.prose(this.state, final)
      case 'block':
        return this.block()
      case 'invokeName':
      case 'parameterName':
        return this.header(this.state)
      case 'invoke':
        return this.betweenParameters()
      case 'value':
        return this.value()
      case 'valueEnd':
        return this.valueEnd()
    }
  }

  private prose(state: 'reasoning' | 'text', final: boolean): boolean {
    const looked = state === 'reasoning' ? this.tags.thinking : this.tags.content
    const tag = looked.first(this.pending)
    // A newline at the end belongs to the tag, if one follows, whatever form that has.
    const held = () => Math.max(looked.heldBack(this.pending), this.pending.endsWith('\n') ? 1 : 0)
    const end = tag?.at ?? this.pending.length - (final ? 0 : held())
    if (end > 0) this.sink[state](this.take(end))
    return tag !== undefined && this.pass(tag.text)
  }

  /** Between invokes. Whitespace around tags is markup; prose has no business here, but is not lost. */
  private block(): boolean {
    const tag = this.tags.block.first(this.pending)
    this.blockProse(this.take(tag?.at ?? this.pending.length - this.tags.block.heldBack(this.pending)))
    return tag !== undefined && this.pass(tag.text)
  }

  private blockProse(text: string): void {
    const prose = text.trimEnd()
    if (prose !== '') this.sink.text(this.takeBlank() + prose)
    this.blank += text.slice(prose.length)
  }

  /** In the header of an invoke or a parameter: the name, raw, ends where quote and bracket do. */
  private header(state: 'invokeName' | 'parameterName'): boolean {
    if (this.quote === undefined) {
      const [first] = this.pending
      this.quote = first === '"' || first === "'" ? first : ''
      this.take(this.quote.length)
    }
    const ends = this.tags.name[this.quote]
    const tag = ends.first(this.pending)
    this.name += this.take(tag?.at ?? this.pending.length - ends.heldBack(this.pending))
    if (!tag) return false
    if (tag.text === CALLS_END) return this.pass(CALLS_END)
    this.take(tag.text.length)
    if (state === 'invokeName') this.sink.invoke(this.name)
    else this.sink.parameter(this.name)
    this.enter(state === 'invokeName' ? 'invoke' : 'value')
    return true
  }

  private betweenParameters(): boolean {
    const tag = this.tags.invoke.first(this.pending)
    this.take(tag?.at ?? this.pending.length - this.tags.invoke.heldBack(this.pending))
    return tag !== undefined && this.pass(tag.text)
  }

  private value(): boolean {
    const tag = this.tags.value.first(this.pending)
    const end = tag?.at ?? this.pending.length - this.tags.value.heldBack(this.pending)
    if (end > 0) this.sink.value(this.take(end))
    return tag !== undefined && this.pass(tag.text)
  }

  /** A parameter closes only where the next one or the end of the invoke follows: its text may contain the closing tag. */
  private valueEnd(): boolean {
    const rest = this.pending.trimStart()
    this.blank += this.take(this.pending.length - rest.length)
    if (BEHIND_VALUE.some((tag) => rest.startsWith(tag))) this.endParameter()
    else if (BEHIND_VALUE.some((tag) => tag.startsWith(rest))) return false
    else {
      this.sink.value(PARAMETER_END + this.takeBlank())
      this.enter('value')
    }
    return true
  }

  private endParameter(): void {
    this.sink.parameterEnd()
    this.enter('invoke')
  }

  /** Gives out what is pending before a control tag that is a token. */
  private settle(): void {
    const text = this.take(this.pending.length)
    if (this.state === 'block') this.blockProse(text)
    const prose = text.endsWith('\n') ? text.slice(0, -1) : text
    if ((this.state === 'reasoning' || this.state === 'text') && prose !== '') this.sink[this.state](prose)
  }

  /** Takes a tag, maybe with the newline before it. */
  private pass(tag: string): true {
    this.take(tag.length)
    this.follow(tag.trimStart())
    return true
  }

  /** Goes where a tag leads. */
  private follow(tag: string): void {
    const inCall = this.state === 'invoke' || this.state === 'parameterName'
    if (inCall && (tag === INVOKE_END || tag === CALLS_END)) this.sink.invokeEnd()
    this.enter(...LEADS[tag]!)
  }

  private enter(state: State, newlines = 0): void {
    this.state = state
    this.newlines = newlines
    this.blank = ''
    this.name = ''
    this.quote = undefined
  }

  private take(length: number): string {
    const taken = this.pending.slice(0, length)
    this.pending = this.pending.slice(length)
    return taken
  }

  private takeBlank(): string {
    const { blank } = this
    this.blank = ''
    return blank
  }

  private swallowNewlines(): void {
    while (this.newlines > 0 && this.pending.startsWith('\n')) {
      this.take(1)
      this.newlines--
    }
    if (this.pending !== '') this.newlines = 0
  }
}
