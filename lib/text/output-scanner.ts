/**
 * Finds the parts of a model's output while it arrives; the exact inverse of rendering an assistant's turn.
 *
 *   {reasoning}\n</think>\n\n{text}\n<minimax:tool_call>\n<invoke name="N">\n<parameter name="K">V</parameter>\n</invoke>\n</minimax:tool_call>
 *
 * Prose goes on as soon as it cannot be part of a tag any more. What is undecided waits in `pending`, and every decision looks at the same
 * characters however they arrived: any chunking gives the same sum.
 */
import { CALLS, CALLS_END, THINK, THINK_END } from './markup'

/** Takes the parts in their order. */
export interface OutputSink {
  reasoning(text: string): void
  text(text: string): void
  /** A call, whole: its parameters with their texts as written. */
  call(name: string, parameters: [name: string, text: string][]): void
}

type State = 'reasoning' | 'text' | 'block' | 'invoke' | 'value'

const INVOKE = '<invoke name='
const INVOKE_END = '</invoke>'
const PARAMETER = '<parameter name='
const PARAMETER_END = '</parameter>'

/** Tags that may come next; one newline before a tag that ends prose belongs to it. */
const TAGS = {
  reasoning: [`\n${THINK_END}`, THINK_END, `\n${CALLS}`, CALLS],
  text: [`\n${CALLS}`, CALLS],
  block: [INVOKE, INVOKE_END, CALLS, CALLS_END],
  invoke: [PARAMETER, INVOKE_END],
  value: [PARAMETER_END],
} satisfies Record<State, string[]>

export class OutputScanner {
  private pending = ''
  private atStart = true // a leading <think> is still possible
  private newlines = 0 // so many newlines to come belong to the tag before them
  private name = '' // of the invoke being read
  private parameters: [name: string, text: string][] = []
  private parameter = '' // name of the parameter being read
  private value = '' // what is certain of its text

  constructor(
    private readonly sink: OutputSink,
    private state: State,
  ) {}

  get place(): 'reasoning' | 'text' | 'tool' {
    return this.state === 'reasoning' || this.state === 'text' ? this.state : 'tool'
  }

  push(text: string): void {
    this.pending += text
    while (this.step(false));
  }

  /** The output ends here: prose held back is prose, markup cut off is dropped, a call keeps its complete parameters. */
  finish(): void {
    while (this.step(true));
    if (this.state === 'invoke' || this.state === 'value') this.endInvoke()
    this.pending = ''
  }

  /** Takes one decision; false when there is none to take. */
  private step(final: boolean): boolean {
    this.swallowNewlines()
    if (this.pending === '') return false
    if (this.atStart) {
      if (!final && THINK.startsWith(this.pending) && this.pending !== THINK) return false
      this.atStart = false
      if (this.pending.startsWith(THINK)) return this.enter('reasoning', THINK.length, 1)
    }
    switch (this.state) {
      case 'reasoning':
      case 'text':
        return this.prose(this.state, final)
      case 'block':
        return this.block()
      case 'invoke':
        return this.invoke()
      case 'value':
        return this.valueText(final)
    }
  }

  private prose(state: 'reasoning' | 'text', final: boolean): boolean {
    const tag = firstTag(this.pending, TAGS[state])
    const end = tag?.at ?? this.pending.length - (final ? 0 : heldBack(this.pending, TAGS[state]))
    if (end > 0) this.sink[state](this.take(end))
    if (!tag) return false
    return tag.text.endsWith(THINK_END) ? this.enter('text', tag.text.length, 2) : this.enter('block', tag.text.length)
  }

  /** Between invokes. Whitespace around tags is markup; prose has no business here, but is not lost. */
  private block(): boolean {
    const tag = firstTag(this.pending, TAGS.block)
    const end = tag?.at ?? this.pending.length - heldBack(this.pending, TAGS.block)
    const prose = this.pending.slice(0, end).trimEnd()
    if (prose !== '') this.sink.text(this.take(prose.length))
    if (!tag) return false
    this.take(end - prose.length)
    if (tag.text === CALLS_END) return this.enter('text', tag.text.length)
    if (tag.text !== INVOKE) return this.enter('block', tag.text.length)
    const header = readName(this.pending, tag.text.length)
    if (!header) return false
    this.name = header.name
    return this.enter('invoke', header.end)
  }

  /** Between parameters. */
  private invoke(): boolean {
    const tag = firstTag(this.pending, TAGS.invoke)
    this.take(tag?.at ?? this.pending.length - heldBack(this.pending, TAGS.invoke))
    if (!tag) return false
    if (tag.text === INVOKE_END) {
      this.endInvoke()
      return this.enter('block', tag.text.length)
    }
    const header = readName(this.pending, tag.text.length)
    if (!header) return false
    this.parameter = header.name
    return this.enter('value', header.end)
  }

  /** A parameter closes only where the next one or the end of the invoke follows: its text may contain the closing tag. */
  private valueText(final: boolean): boolean {
    const at = this.pending.indexOf(PARAMETER_END)
    this.value += this.take(at < 0 ? this.pending.length - heldBack(this.pending, TAGS.value) : at)
    if (at < 0) return false
    const rest = this.pending.slice(PARAMETER_END.length).trimStart()
    const closed = TAGS.invoke.some((tag) => rest.startsWith(tag))
    const undecided = !closed && TAGS.invoke.some((tag) => tag.startsWith(rest))
    if (undecided && !final) return false
    if (closed || undecided) {
      this.parameters.push([this.parameter, this.value])
      this.value = ''
      return this.enter('invoke', PARAMETER_END.length)
    }
    this.value += this.take(PARAMETER_END.length)
    return true
  }

  private endInvoke(): void {
    this.sink.call(this.name, this.parameters)
    this.parameters = []
    this.value = ''
    this.state = 'block'
  }

  private enter(state: State, tagLength: number, newlines = 0): true {
    this.take(tagLength)
    this.state = state
    this.newlines = newlines
    return true
  }

  private take(length: number): string {
    const taken = this.pending.slice(0, length)
    this.pending = this.pending.slice(length)
    return taken
  }

  private swallowNewlines(): void {
    while (this.newlines > 0 && this.pending.startsWith('\n')) {
      this.take(1)
      this.newlines--
    }
    if (this.pending !== '') this.newlines = 0
  }
}

/** The first tag in `text`; of those that overlap, the one that begins first. */
function firstTag(text: string, tags: readonly string[]): { at: number; text: string } | undefined {
  let first: { at: number; text: string } | undefined
  for (const tag of tags) {
    const at = text.indexOf(tag)
    if (at >= 0 && (first === undefined || at < first.at)) first = { at, text: tag }
  }
  return first
}

/** How many characters at the end of `text` may be the beginning of a tag. */
function heldBack(text: string, tags: readonly string[]): number {
  for (let length = Math.min(text.length, Math.max(...tags.map((tag) => tag.length)) - 1); length > 0; length--) {
    const end = text.slice(-length)
    if (tags.some((tag) => tag.startsWith(end))) return length
  }
  return 0
}

/** The rest of a tag such as `<invoke name="N">` from `from` on: the name, raw, ends where quote and bracket do. */
function readName(text: string, from: number): { name: string; end: number } | undefined {
  const quote = text[from] === '"' || text[from] === "'" ? text[from] : ''
  const end = text.indexOf(`${quote}>`, from + quote.length)
  if (end < 0) return undefined
  return { name: text.slice(from + quote.length, end), end: end + quote.length + 1 }
}
