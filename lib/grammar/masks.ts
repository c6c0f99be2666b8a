/**
 * Which tokens a state allows. The trie is walked along with the states; a subtree that begins wrong is skipped in one step.
 *
 * A string's body allows nearly all tokens, and walking over them takes milliseconds, so it is done once: the places of a state that stand in one
 * rule make a local state, with nothing around it. Tokens that stay within the rule are allowed whatever is around, and only at the leaves, where the
 * rule may be over and tokens go on, is the rest of the tokens looked at for each state. Local masks are kept in the vocabulary by what the rule looks
 * like, so all grammars share them.
 *
 * A count makes a difference to a mask only if a token is long enough to reach its bounds; counts are set to one that all alike share (`viewOf`).
 */
import { signature } from './signature'
import type { Frame, Place, State, States } from './states'
import type { Allowed, LocalMask, Vocabulary } from './vocabulary'

/** With fewer bytes that may come next, walking is cheap. */
const WIDE = 24

export class MaskMaker {
  constructor(
    private readonly states: States,
    private readonly vocabulary: Vocabulary,
    private readonly grammarId: number,
  ) {}

  /** The tokens of the trie that `state`, a view, allows. */
  of(state: State): Allowed {
    if (!this.isWide(state)) return this.walkAll(state).allowed
    const groups = this.groups(state)
    const only = groups.length === 1 ? groups[0]! : undefined
    if (only && !only.base.parent) return this.local(only.local).allowed
    const ids = new IdSet(this.vocabulary)
    for (const { base, local } of groups) {
      const { allowed, leaves } = this.local(local)
      ids.addAll(allowed)
      if (base.parent) for (const leaf of leaves) this.walkBelow(leaf, this.states.resume(base), ids)
    }
    return ids.taken()
  }

  /** Whether many different bytes may come next. */
  isWide(state: State): boolean {
    let bytes = 0
    for (const { node } of state.places) {
      const at = this.states.nodes[node]!
      if (at.op === 'bytes') for (let i = 0; i < at.edges.length; i += 3) bytes += at.edges[i + 1]! - at.edges[i]! + 1
    }
    return bytes >= WIDE
  }

  /** What allows the same tokens: the counts of loops count only as far as a token can reach. */
  viewOf(state: State): State {
    state.view ??= this.states.mapped(state.places, (frame) => this.viewOfFrame(frame))
    return state.view
  }

  private viewOfFrame(frame: Frame): Frame {
    const path: Frame[] = []
    for (let at = frame; at.parent; at = at.parent) path.push(at)
    return path.reduceRight(
      (parent, { isLoop, node, count }) =>
        this.states.frame(parent, isLoop, node, isLoop ? this.viewOfCount(node, count) : 0),
      this.states.bottom,
    )
  }

  private viewOfCount(loop: number, count: number): number {
    const { min, max } = this.states.nodes[loop] as { min: number; max: number }
    const reach = this.vocabulary.longest
    if (count + reach < min) return 0
    return count >= min && count + reach < max ? min : count
  }

  /** The places by the rule call that they stand in, each group as a state of its own. */
  private groups(state: State): { base: Frame; local: State }[] {
    const groups = new Map<Frame, Place[]>()
    for (const place of state.places) {
      const group = groups.get(place.frame.base)
      if (group) group.push(place)
      else groups.set(place.frame.base, [place])
    }
    if (groups.size === 1 && groups.has(this.states.bottom)) return [{ base: this.states.bottom, local: state }]
    return Array.from(groups, ([base, places]) => ({
      base,
      local: this.states.mapped(places, (frame) => this.rebased(frame)),
    }))
  }

  /** The loops around a place, without the call that they are in. */
  private rebased(frame: Frame): Frame {
    if (!frame.isLoop) return this.states.bottom
    return this.states.frame(this.rebased(frame.parent!), true, frame.node, frame.count)
  }

  local(state: State): LocalMask {
    const { locals, longest } = this.vocabulary
    const key = signature(this.states, state, longest) ?? `${this.grammarId}:${state.places.map(placeName).join()}`
    const known = locals.get(key)
    if (known) return known
    const made = this.walkAll(state)
    locals.set(key, made, sizeOf(made.allowed) + made.leaves.byteLength + 2 * key.length)
    return made
  }

  private walkAll(start: State): LocalMask {
    const ids = new IdSet(this.vocabulary)
    const leaves: number[] = []
    this.walk(0, this.vocabulary.byte.length, 0, start, ids, leaves)
    return { allowed: ids.taken(), leaves: Int32Array.from(leaves) }
  }

  private walkBelow(node: number, start: State, ids: IdSet): void {
    const { end, depth } = this.vocabulary
    this.walk(node + 1, end[node]!, depth[node]!, start, ids, undefined)
  }

  /** The nodes `from` to `to` of the trie, which lie below one at `depth` (the root: 0) where `start` is the state. */
  private walk(from: number, to: number, depth: number, start: State, ids: IdSet, leaves: number[] | undefined): void {
    const { byte, depth: depths, end, token } = this.vocabulary
    const { classOf } = this.states.automaton
    const path: State[] = [start] // by depth below the first
    let at = from
    while (at < to) {
      const state = path[depths[at]! - depth - 1]!
      let next = state.next[classOf[byte[at]!]!]
      if (next === undefined) next = this.states.step(state, byte[at]!)
      if (next === null) {
        at = end[at]!
        continue
      }
      const id = token[at]!
      if (id !== -1) ids.add(id)
      if (next.canEnd && leaves && end[at]! > at + 1) leaves.push(at)
      path[depths[at]! - depth] = next
      at = next.goesOn ? at + 1 : end[at]!
    }
  }
}

const placeName = ({ node, frame }: Place): string => {
  let name = `${node}`
  for (let at = frame; at.parent; at = at.parent) name += `/${at.node}*${at.count}`
  return name
}

/** Ids of tokens, with those that have the same bytes. */
class IdSet {
  private readonly bits: Int32Array
  private count = 0

  constructor(private readonly vocabulary: Vocabulary) {
    this.bits = new Int32Array(vocabulary.words)
  }

  add(first: number): void {
    for (let id = first; id !== -1; id = this.vocabulary.twin[id]!) {
      this.bits[id >> 5]! |= 1 << (id & 31)
      this.count++
    }
  }

  addAll(allowed: Allowed): void {
    if ('ids' in allowed) {
      for (const id of allowed.ids) this.bits[id >> 5]! |= 1 << (id & 31)
      this.count += allowed.ids.length
    } else {
      for (let word = 0; word < this.bits.length; word++) this.bits[word]! |= allowed.bits[word]!
      this.count = this.bits.length
    }
  }

  /** As bits, or as a list where that is a quarter or less. */
  taken(): Allowed {
    if (this.count * 4 > this.bits.length) return { bits: this.bits }
    const ids: number[] = []
    for (let word = 0; word < this.bits.length; word++) {
      for (let rest = this.bits[word]!; rest !== 0; rest &= rest - 1)
        ids.push(word * 32 + 31 - Math.clz32(rest & -rest))
    }
    return { ids: Int32Array.from(ids) }
  }
}

export const sizeOf = (allowed: Allowed): number => ('ids' in allowed ? allowed.ids : allowed.bits).byteLength + 100
