import type { NextTurns } from './chat'
import { ROLE_START, type Segment, TURN_END } from './markup'
import { type Cut, ThinkingFinder } from './thinking'
import type { Tokenizer } from './tokenizer'

/**
 * The ids of a conversation up to its last answer, and what dropping thinking would cut out of them. Ids are only appended: what was rendered
 * once, and what was sampled, is not encoded again. Never changes; every step gives another one.
 */
export class Transcript {
  private constructor(
    private readonly tokenizer: Tokenizer,
    private readonly finder: ThinkingFinder,
    readonly ids: Int32Array,
    private readonly cuts: readonly Cut[],
  ) {}

  static empty(tokenizer: Tokenizer): Transcript {
    return new Transcript(tokenizer, new ThinkingFinder(tokenizer), new Int32Array(0), [])
  }

  /** What stays of this transcript before the next turns. */
  before({ earlier }: NextTurns): Transcript {
    if (earlier === 'kept') return this
    const ids = earlier === 'withoutThinking' ? this.withoutThinking() : new Int32Array(0)
    return new Transcript(this.tokenizer, this.finder, ids, [])
  }

  /** The segments to encode behind the ids: the answer may have ended its turn itself. */
  missing(segments: readonly Segment[]): readonly Segment[] {
    return this.endsTurn(this.ids) ? segments.slice(1) : segments
  }

  /** With the turns and the opening of an answer that a prompt has behind these ids, and the answer. */
  answered(prompt: ArrayLike<number>, answer: ArrayLike<number>): Transcript {
    const ids = joinIds(prompt, answer)
    const from = this.ids.length
    const turn = ids.subarray(0, prompt.length).lastIndexOf(this.tokenizer.idOf(ROLE_START) ?? -1)
    const end = this.endsTurn(ids) ? ids.length - 1 : ids.length
    const rendered = this.finder.inRendered(ids.subarray(from, Math.max(from, turn)))
    const sampled = turn < from ? [] : this.finder.inSampled(ids.subarray(turn, end), prompt.length - turn)
    const cuts = [...this.cuts, ...shifted(rendered, from), ...shifted(sampled, turn)]
    return new Transcript(this.tokenizer, this.finder, ids, cuts)
  }

  private endsTurn(ids: Int32Array): boolean {
    return ids.length > 0 && ids.at(-1) === this.tokenizer.idOf(TURN_END)
  }

  private withoutThinking(): Int32Array {
    const kept: Int32Array[] = []
    let from = 0
    for (const { start, end, ids } of this.cuts) {
      kept.push(this.ids.subarray(from, start), ids)
      from = end
    }
    return joinIds(...kept, this.ids.subarray(from))
  }
}

export function joinIds(...parts: readonly ArrayLike<number>[]): Int32Array {
  const joined = new Int32Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}

function shifted(cuts: readonly Cut[], by: number): Cut[] {
  return cuts.map(({ start, end, ids }) => ({ start: start + by, end: end + by, ids }))
}
