import { M2Error } from './errors'
import type { CompiledGrammar, Matcher } from './grammar'
import type { Constraint } from './sequence'

/** A grammar that an output must follow from a place in it on. */
export interface ConstraintOptions {
  grammar: CompiledGrammar
  /** The id behind which it begins, the end of thinking; undefined: at once. */
  after: number | undefined
  /** The mask up to there. */
  before: Int32Array
}

/** One sample under a grammar. While it thinks steps run ahead; from then on each waits for the id before it. */
export class GrammarConstraint implements Constraint {
  private matcher: Matcher | undefined

  constructor(private readonly options: ConstraintOptions) {
    if (options.after === undefined) this.matcher = options.grammar.start()
  }

  get isLive(): boolean {
    return this.matcher !== undefined
  }

  mask(): Int32Array {
    return this.matcher?.mask() ?? this.options.before
  }

  /** Takes the next id of the output. True: from here on the grammar holds. @throws {M2Error} BAD_INPUT: a fork goes on from what it does not allow. */
  accept(id: number): boolean {
    if (!this.matcher) {
      if (id !== this.options.after) return false
      this.matcher = this.options.grammar.start()
      return true
    }
    if (this.matcher.accept(id)) return false
    throw new M2Error(
      'BAD_INPUT',
      `expected an output that responseFormat and toolChoice allow, found the id ${id} in it`,
    )
  }
}

/** How many of the ids the grammar takes. */
export function acceptedIds(grammar: CompiledGrammar, ids: Int32Array): number {
  const matcher = grammar.start()
  const refused = ids.findIndex((id) => !matcher.accept(id))
  return refused < 0 ? ids.length : refused
}

/** [ceil(V / 32)] every id but these. */
export function maskWithout(ids: readonly number[], vocabSize: number): Int32Array {
  const mask = new Int32Array(Math.ceil(vocabSize / 32)).fill(-1)
  for (const id of ids) mask[id >> 5]! &= ~(1 << (id & 31))
  return mask
}
