import { inPieces } from '../pieces'
import { automatonOf } from './automaton'
import type { Grammar } from './grammar'
import { sizeOf } from './id-set'
import { Lru } from './lru'
import { MaskMaker } from './masks'
import { type State, States } from './states'
import type { Allowed, Vocabulary } from './vocabulary'

/** Bytes of masks that a grammar keeps, beside those of its rules. */
const MASK_BYTES = 8 << 20
/** States of each rule that are looked at beforehand. */
const EARLY_STATES = 16

let grammars = 0

/**
 * A grammar made ready for one vocabulary. It keeps the masks that were needed, so answers with the same grammar should share it; all that it keeps
 * is bounded.
 * @example
 * const grammar = new CompiledGrammar(jsonObject(), Vocabulary.of(tokenizer), [endId])
 * const matcher = grammar.start()
 * matcher.accept(tokenizer.encode('{')[0]) // true
 */
export class CompiledGrammar {
  /** For matchers: the states in use now. */
  states: States
  private masks: MaskMaker
  private readonly kept = new Lru<State, Allowed>(MASK_BYTES)
  private readonly name = `grammar ${grammars++}`

  /**
   * @param endIds tokens that end the text; they are allowed exactly where it may end.
   * @throws M2Error BAD_INPUT when the grammar is too large, or admits nothing.
   */
  constructor(
    grammar: Grammar,
    readonly vocabulary: Vocabulary,
    readonly endIds: readonly number[],
  ) {
    this.states = new States(automatonOf(grammar))
    this.masks = new MaskMaker(this.states, vocabulary, this.name)
  }

  start(): Matcher {
    return new Matcher(this, this.states.start)
  }

  /** The tokens that `state` allows as text. */
  allowed(state: State): Allowed {
    const view = this.masks.viewOf(state)
    let allowed = this.kept.get(view)
    if (!allowed) {
      allowed = this.masks.of(view)
      this.kept.set(view, allowed, sizeOf(allowed))
    }
    return allowed
  }

  /** Forgets states that no matcher needs any more when there are too many; those in use are taken along by `adopt`. */
  tidy(): void {
    if (!this.states.isFull) return
    this.states = new States(this.states.automaton)
    this.masks = new MaskMaker(this.states, this.vocabulary, this.name)
    this.kept.clear()
  }

  /**
   * Makes the masks that take long, those with many tokens, before a token waits for them. The event loop goes on meanwhile; what is needed before it is
   * there is made at once.
   */
  async prepare(): Promise<void> {
    const { states, masks } = this // these, should `tidy` begin anew
    for (const start of states.automaton.starts) await inPieces(wideMasks(start, states, masks))
  }
}

function* wideMasks(start: number, states: States, masks: MaskMaker): Generator<void> {
  const first = states.at([{ node: start, frame: states.bottom }])
  const found = new Set([first])
  for (const state of found) {
    if (masks.isWide(state)) {
      for (const each of masks.nearBounds(state)) {
        masks.of(masks.viewOf(each))
        yield
      }
    }
    for (const byte of states.automaton.byteOf) {
      const next = found.size < EARLY_STATES ? states.step(state, byte) : null
      if (next) found.add(next)
    }
    yield
  }
}

/** Follows one answer through a grammar. */
export class Matcher {
  private states: States
  private ended = false
  private current: Int32Array | undefined
  private buffer: Int32Array | undefined

  constructor(
    private readonly grammar: CompiledGrammar,
    private state: State,
  ) {
    this.states = grammar.states
  }

  /** The text may end here. */
  get canEnd(): boolean {
    return this.state.canEnd
  }

  /** The text may end here, and nothing else can follow. */
  get isDone(): boolean {
    return this.ended || (this.state.canEnd && !this.state.goesOn)
  }

  /** Goes on by a token, an end id where the text may end included. False: it is not allowed, and nothing changed. */
  accept(id: number): boolean {
    if (this.grammar.endIds.includes(id)) {
      if (!this.state.canEnd) return false
      this.ended = true
      this.current = undefined
      return true
    }
    if (this.ended) return false
    this.grammar.tidy()
    this.moveIn()
    const next = this.states.stepToken(this.state, id) ?? this.spell(id)
    if (next === null) return false
    this.state = next
    this.current = undefined
    return true
  }

  /**
   * The tokens that are allowed next: bit `id % 32` of word `id / 32`. Some bit is always set: where nothing can follow, those of the end ids. To be
   * read only, until the next `accept`.
   */
  mask(): Int32Array {
    this.current ??= this.makeMask()
    return this.current
  }

  clone(): Matcher {
    const copy = new Matcher(this.grammar, this.state)
    copy.states = this.states
    copy.ended = this.ended
    return copy
  }

  private spell(id: number): State | null {
    const bytes = this.grammar.vocabulary.bytesOf(id)
    let state: State | null = bytes.length > 0 ? this.state : null
    for (let i = 0; i < bytes.length && state !== null; i++) state = this.states.step(state, bytes[i]!)
    return state
  }

  private moveIn(): void {
    if (this.states === this.grammar.states) return
    this.states = this.grammar.states
    this.state = this.states.adopt(this.state)
  }

  private makeMask(): Int32Array {
    const { endIds, vocabulary } = this.grammar
    this.buffer ??= new Int32Array(vocabulary.words)
    const mask = this.buffer
    this.moveIn()
    const allowed = this.ended ? undefined : this.grammar.allowed(this.state)
    if (allowed && 'bits' in allowed) mask.set(allowed.bits)
    else mask.fill(0)
    const set = (id: number) => {
      mask[id >> 5]! |= 1 << (id & 31)
    }
    if (allowed && 'ids' in allowed) for (const id of allowed.ids) set(id)
    if (!this.ended) for (const id of this.states.tokensOf(this.state)) set(id)
    for (const id of endIds) {
      if (this.state.canEnd) set(id)
      else mask[id >> 5]! &= ~(1 << (id & 31))
    }
    return mask
  }
}
