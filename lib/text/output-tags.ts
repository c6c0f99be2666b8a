/** The tags of an assistant's turn, and which of them end or begin what where. */
import { CALLS, CALLS_END, THINK, THINK_END } from './markup'
import type { Tokenizer } from './tokenizer'

export const INVOKE = '<invoke name='
export const INVOKE_END = '</invoke>'
export const PARAMETER = '<parameter name='
export const PARAMETER_END = '</parameter>'

/** Tags that tokenizers have as tokens of their own. */
const CONTROL_TAGS: readonly string[] = [THINK, THINK_END, CALLS, CALLS_END]

/** Where an output stands. `valueEnd`: behind a `</parameter>` that closes the value only if the right tag follows. */
export type State = 'reasoning' | 'text' | 'block' | 'invokeName' | 'invoke' | 'parameterName' | 'value' | 'valueEnd'

/** The control tags that mean something in a state; all others are content there. A leading `<think>` is a matter of its own. */
export const MEANT: Record<State, readonly string[]> = {
  reasoning: [THINK_END, CALLS],
  text: [CALLS],
  block: [CALLS, CALLS_END],
  invokeName: [CALLS_END],
  invoke: [CALLS_END],
  parameterName: [CALLS_END],
  value: [],
  valueEnd: [],
}

/** What follows the `</parameter>` that closes a value: a value may contain that tag. */
export const BEHIND_VALUE = [PARAMETER, INVOKE_END]

/** Some tags, to be found in text that arrives piece by piece. */
export class Tags {
  private readonly pattern: RegExp
  private readonly longest: number

  constructor(private readonly texts: readonly string[]) {
    this.pattern = texts.length > 0 ? new RegExp(texts.join('|')) : /(?!)/
    this.longest = Math.max(0, ...texts.map((text) => text.length))
  }

  /** The first tag in `text`; of those that overlap, the one that begins first. */
  first(text: string): { at: number; text: string } | undefined {
    const found = this.pattern.exec(text)
    return found ? { at: found.index, text: found[0] } : undefined
  }

  /** How many characters at the end of `text` may be the beginning of a tag. */
  heldBack(text: string): number {
    for (let length = Math.min(text.length, this.longest - 1); length > 0; length--) {
      const end = text.slice(-length)
      if (this.texts.some((tag) => tag.startsWith(end))) return length
    }
    return 0
  }
}

export type Quote = '"' | "'" | ''

/** What is looked for in text, where only some of the control tags are recognised by their characters. */
export class SpelledTags {
  readonly thinking: Tags
  readonly content: Tags
  readonly block: Tags
  readonly invoke: Tags
  readonly value = new Tags([PARAMETER_END])
  /** What ends a name: quote and bracket, or the end of the block, which breaks it off. */
  readonly name: Record<Quote, Tags>

  constructor(private readonly spelled: readonly string[]) {
    const meant = (state: State) => MEANT[state].filter((tag) => spelled.includes(tag))
    // One newline before a tag that ends prose belongs to it.
    const endOfProse = (state: State) => meant(state).flatMap((tag) => [`\n${tag}`, tag])
    this.thinking = new Tags(endOfProse('reasoning'))
    this.content = new Tags(endOfProse('text'))
    this.block = new Tags([INVOKE, INVOKE_END, ...meant('block')])
    this.invoke = new Tags([...BEHIND_VALUE, ...meant('invoke')])
    const name = (quote: Quote) => new Tags([`${quote}>`, ...meant('invokeName')])
    this.name = { '"': name('"'), "'": name("'"), '': name('') }
  }

  /** A `<think>` at the very beginning: there, not there, or not known yet. */
  leadingThink(text: string): boolean | undefined {
    if (!this.spelled.includes(THINK)) return false
    if (text.startsWith(THINK)) return true
    return THINK.startsWith(text) ? undefined : false
  }
}

/** All tags by their characters. */
export const ALL_SPELLED = new SpelledTags(CONTROL_TAGS)

/** How a tokenizer has the control tags: as tokens, or else by their characters. */
export class TokenTags {
  readonly byId: ReadonlyMap<number, string>
  readonly spelled: SpelledTags

  constructor(tokenizer: Tokenizer) {
    const ids = CONTROL_TAGS.map((tag) => tokenizer.idOf(tag))
    this.byId = new Map(CONTROL_TAGS.flatMap((tag, i) => (ids[i] === undefined ? [] : [[ids[i], tag]])))
    this.spelled = new SpelledTags(CONTROL_TAGS.filter((_, i) => ids[i] === undefined))
  }
}
