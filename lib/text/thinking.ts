/**
 * Where thinking stands in the ids of assistant turns, and what stands there once it is dropped: the ids that a template without that thinking
 * gives, with all other ids as they are.
 */
import { THINK, THINK_END, THINKING_CLOSE } from './markup'
import { OutputScanner, type OutputSink } from './output-scanner'
import { TokenTags } from './output-tags'
import type { Tokenizer } from './tokenizer'

/** `ids` stand in the place of those from `start` to `end` (exclusive) when thinking is dropped. */
export interface Cut {
  start: number
  end: number
  ids: Int32Array
}

const NO_IDS = new Int32Array(0)
const NOWHERE: OutputSink = {
  reasoning() {},
  text() {},
  invoke() {},
  parameter() {},
  value() {},
  parameterEnd() {},
  invokeEnd() {},
}

/** Behind the `<think>` of a prompt: thinking begins, or is closed at once. */
const OPENED = '\n'
const CLOSED = `\n${THINKING_CLOSE}`
/** What the output parser takes as markup around thinking. */
const LEADING_TAG = /^<think>\n?/
const ENDING_TAG = new RegExp(`\\n?${THINK_END}\\n{0,2}`, 'y')
const NEWLINES_OF_TAG = /^\n{0,2}/
const WHITESPACE = /^[\s\u0085]/

/** Finds thinking in ids; the cuts are in order, and do not overlap. */
export class ThinkingFinder {
  private readonly think: number | undefined
  private readonly thinkEnd: number | undefined
  private readonly tags: TokenTags
  /** The tokenizer splits a text at these, so what is between two of them can be encoded alone. */
  private readonly borders: ReadonlySet<number>

  constructor(private readonly tokenizer: Tokenizer) {
    this.think = tokenizer.idOf(THINK)
    this.thinkEnd = tokenizer.idOf(THINK_END)
    this.tags = new TokenTags(tokenizer)
    this.borders = new Set(tokenizer.addedTokens.map((token) => token.id))
  }

  /** In turns that were rendered. The same tags in their texts are no control tokens. */
  inRendered(ids: Int32Array): Cut[] {
    const cuts: Cut[] = []
    if (this.think === undefined || this.thinkEnd === undefined) return cuts
    for (let start = ids.indexOf(this.think); start >= 0; start = ids.indexOf(this.think, start + 1)) {
      const close = ids.indexOf(this.thinkEnd, start)
      if (close < 0) break // a template of another format
      const rest = close + 1
      const [newlines] = NEWLINES_OF_TAG.exec(this.bytesOf(ids.subarray(rest, this.nextBorder(ids, rest))))!
      cuts.push(this.cut(ids, start, rest, newlines.length))
    }
    return cuts
  }

  /**
   * In one sampled answer, from the opening of its turn on, without the end-of-turn token: what the output parser calls reasoning, and its tags.
   * `from`: where the prompt ends.
   */
  inSampled(ids: Int32Array, from: number): Cut[] {
    const start = this.think === undefined ? -1 : ids.subarray(0, from).lastIndexOf(this.think)
    const behind = start < 0 ? '' : this.bytesOf(ids.subarray(start + 1, from))
    const answer = ids.subarray(from)
    if (behind === OPENED) return [this.cut(ids, start, start + 1, OPENED.length + this.thinkingLength(answer))]
    const opensItself = this.think !== undefined && answer[0] === this.think
    if (behind.startsWith(CLOSED)) {
      const reopened = behind === CLOSED && opensItself ? this.thinkingLength(answer) : 0
      return [this.cut(ids, start, start + 1, CLOSED.length + reopened)]
    }
    return opensItself ? [this.cut(ids, from, from + 1, this.thinkingLength(answer) - THINK.length)] : []
  }

  /** How many bytes of an answer are thinking, its tags included. The output parser's own scanner says so, reading each byte as a character. */
  private thinkingLength(answer: Int32Array): number {
    let thought = 0
    const sink: OutputSink = {
      ...NOWHERE,
      reasoning(text) {
        thought += text.length
      },
    }
    const scanner = new OutputScanner(sink, 'reasoning')
    for (let i = 0; i < answer.length && scanner.place === 'reasoning'; i++) {
      const tag = this.tags.byId.get(answer[i]!)
      if (tag === undefined) scanner.push(this.bytesOf(answer.subarray(i, i + 1)), this.tags.spelled)
      else scanner.control(tag, this.tags.spelled)
    }
    scanner.finish()
    const bytes = this.bytesOf(answer)
    const leading = answer[0] === this.think ? LEADING_TAG.exec(bytes)![0].length : 0
    ENDING_TAG.lastIndex = leading + thought
    return leading + thought + (ENDING_TAG.exec(bytes)?.[0].length ?? 0)
  }

  /** Takes out the ids from `start` to `rest`, and so many bytes of those behind. */
  private cut(ids: Int32Array, start: number, rest: number, bytes: number): Cut {
    let [end, left] = [rest, bytes]
    while (left > 0) left -= this.tokenizer.byteLengthOf(ids[end++]!)
    const border = this.nextBorder(ids, end)
    const text = Buffer.from(this.bytesOf(ids.subarray(rest, border)), 'latin1')
      .subarray(bytes)
      .toString()
    if (left === 0 && !WHITESPACE.test(text)) return { start, end, ids: NO_IDS }
    // A token reaches over the cut, or the tokenizer joins the whitespace before and behind it: both sides are encoded as one text.
    let lead = start
    while (lead > 0 && !this.borders.has(ids[lead - 1]!)) lead--
    const joined = this.tokenizer.decode(ids.subarray(lead, start)) + text
    return { start: lead, end: border, ids: this.tokenizer.encode(joined, { special: false }) }
  }

  private nextBorder(ids: Int32Array, from: number): number {
    let at = from
    while (at < ids.length && !this.borders.has(ids[at]!)) at++
    return at
  }

  /** One character for each byte: tags are ASCII, so positions of tags are positions of bytes. */
  private bytesOf(ids: Int32Array): string {
    return Buffer.from(this.tokenizer.bytesOfAll(ids, true)).toString('latin1')
  }
}
