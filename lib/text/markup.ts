/**
 * The control tokens of the M2 chat format, and text in which they are told apart from the same characters written by somebody:
 * a rendered prompt is a list of segments, and only `special` ones may become control tokens.
 */

export const DOCUMENT_START = ']~!b['
export const ROLE_START = ']~b]'
export const TURN_END = '[e~['
export const THINK = '<think>'
export const THINK_END = '</think>'
export const CALLS = '<minimax:tool_call>'
export const CALLS_END = '</minimax:tool_call>'

const M2_TOKENS = [DOCUMENT_START, ROLE_START, TURN_END, THINK, THINK_END, CALLS, CALLS_END]

/** What the template prints around the thinking of a turn. */
export const THINKING_OPEN = `${THINK}\n`
export const THINKING_CLOSE = `\n${THINK_END}\n\n`

/**
 * A piece of a rendered prompt: one control token (`special`), or text that is encoded without recognising any. Plain segments are as
 * long as they can be, because the tokenizer splits a prompt at control tokens only.
 */
export interface Segment {
  text: string
  special: boolean
}

/** Splits text at the control tokens in it; of two that begin at one place the longer one is meant. Default: the tokens of the format. */
export class ControlTokens {
  private readonly pattern: RegExp

  constructor(readonly tokens: readonly string[] = M2_TOKENS) {
    const longestFirst = [...tokens].sort((a, b) => b.length - a.length)
    const escaped = longestFirst.map((token) => token.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
    this.pattern = escaped.length > 0 ? new RegExp(`(${escaped.join('|')})`) : /(?!)/
  }

  split(text: string): Segment[] {
    // A pattern with one group makes split() give text, token, text, token, ..., text.
    return text
      .split(this.pattern)
      .map((part, i) => ({ text: part, special: i % 2 === 1 }))
      .filter((segment) => segment.text !== '')
  }
}

/** Collects a prompt's segments. */
export class SegmentWriter {
  readonly segments: Segment[] = []

  constructor(private readonly tokens: ControlTokens) {}

  /** Text of the template: control tokens in it are meant. */
  template(text: string): this {
    for (const segment of this.tokens.split(text)) {
      if (segment.special) this.segments.push(segment)
      else this.text(segment.text)
    }
    return this
  }

  /** Text of a user, a tool or the model: nothing in it is a control token. */
  text(text: string): this {
    const last = this.segments.at(-1)
    if (last && !last.special) last.text += text
    else if (text !== '') this.segments.push({ text, special: false })
    return this
  }
}

export const joinSegments = (segments: readonly Segment[]): string => segments.map((segment) => segment.text).join('')
