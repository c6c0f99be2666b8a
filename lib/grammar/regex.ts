import { M2Error } from '../errors'
import { badInput } from '../text/input'
import { ANY, type CodePoints } from './code-points'
import type { Grammar } from './grammar'
import { type Pattern, parsePattern } from './regex-parser'
import { explore, isEmpty, MAX_TEXT_NODES, type TextGraph, written } from './text-graph'

/**
 * The texts that match a regular expression as a whole. JavaScript's syntax, read with code points for characters; a lazy quantifier is as a greedy
 * one, since the language is the same.
 * @param where names the pattern in messages.
 * @throws M2Error BAD_INPUT that names what is not supported (lookaround, references to groups, word boundaries), is too large, or matches nothing.
 */
export function regex(pattern: string, where: string): Grammar {
  if (typeof pattern !== 'string') throw badInput(where, 'a regular expression', pattern)
  return written(wholeMatch(pattern, where))
}

/** The texts that match as a whole. @throws M2Error BAD_INPUT as `regex`. */
export const wholeMatch = (pattern: string, where: string): TextGraph => textsOf(parsePattern(pattern, where), where)

/** The texts that match somewhere, as `RegExp.test` finds. @throws M2Error BAD_INPUT as `regex`. */
export function searchMatch(pattern: string, where: string): TextGraph {
  const any: Pattern = { kind: 'repeat', part: { kind: 'set', set: ANY }, min: 0, max: Number.POSITIVE_INFINITY }
  return textsOf({ kind: 'sequence', parts: [any, parsePattern(pattern, where), any] }, where)
}

type Move = { readonly set: CodePoints | 'start' | 'end' | undefined; readonly to: number }

/** What of a text has been: something before which ^ cannot match, or $ after which nothing can. */
const CONSUMED = 1
const ENDED = 2

function textsOf(pattern: Pattern, where: string): TextGraph {
  const moves = new MovesBuilder(where)
  const start = moves.entry(pattern, moves.node([]))
  const texts = explore(start * 4, where, (place, to) => {
    const [node, was] = [place >> 2, place & 3]
    for (const { set, to: next } of moves.nodes[node]!) {
      if (set === undefined) to(undefined, next * 4 + was)
      else if (set === 'start') {
        if (!(was & CONSUMED)) to(undefined, next * 4 + was)
      } else if (set === 'end') to(undefined, (next * 4 + was) | ENDED)
      else if (!(was & ENDED)) to(set, (next * 4 + was) | CONSUMED)
    }
    return node === 0
  })
  if (isEmpty(texts))
    throw new M2Error('BAD_INPUT', `${where}: expected a pattern that some text matches, found one that none does`)
  return texts
}

/** Thompson's construction, from the end to the beginning. */
class MovesBuilder {
  readonly nodes: Move[][] = []
  private parts = 0

  constructor(private readonly where: string) {}

  node(moves: Move[]): number {
    return this.nodes.push(moves) - 1
  }

  entry(pattern: Pattern, next: number): number {
    if (++this.parts > MAX_TEXT_NODES) throw this.tooLarge()
    switch (pattern.kind) {
      case 'set':
        return this.node([{ set: pattern.set, to: next }])
      case 'start':
      case 'end':
        return this.node([{ set: pattern.kind, to: next }])
      case 'sequence':
        return pattern.parts.reduceRight((to, part) => this.entry(part, to), next)
      case 'choice':
        return this.node(pattern.parts.map((part) => ({ set: undefined, to: this.entry(part, next) })))
      case 'repeat':
        return this.repeat(pattern, next)
    }
  }

  private repeat({ part, min, max }: Pattern & { kind: 'repeat' }, next: number): number {
    let entry = next
    if (max === Number.POSITIVE_INFINITY) {
      const loop: Move[] = [{ set: undefined, to: next }]
      entry = this.node(loop)
      loop.push({ set: undefined, to: this.entry(part, entry) })
    } else {
      for (let i = min; i < max; i++) {
        const skip = next
        entry = this.node([
          { set: undefined, to: skip },
          { set: undefined, to: this.entry(part, entry) },
        ])
      }
    }
    for (let i = 0; i < min; i++) entry = this.entry(part, entry)
    return entry
  }

  private tooLarge(): M2Error {
    const most = `at most ${MAX_TEXT_NODES} characters and classes with repeats written out`
    return new M2Error('BAD_INPUT', `${this.where}: expected a pattern of ${most}, found more`)
  }
}
