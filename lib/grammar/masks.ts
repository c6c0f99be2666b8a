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
import { IdSet, sizeOf } from './id-set'
import { signatureOf } from './signature'
import { type Frame, type Place, type State, States } from './states'
import type { Allowed, LocalMask, Vocabulary } from './vocabulary'

/** With fewer bytes that may come next, walking is cheap. */
const WIDE = 24
/** With more bytes left before the bound of a loop, few tokens are so long. */
const FEW = 16

export class MaskMaker {
  private uncounted: MaskMaker | undefined

  constructor(
    private readonly states: States,
    private readonly vocabulary: Vocabulary,
    /** Told apart from other grammars by this. */
    private readonly name: string,
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
    const bytes = new Uint8Array(256)
    for (const { node } of state.places) {
      const at = this.states.nodes[node]!
      if (at.op === 'bytes')
        for (let i = 0; i < at.edges.length; i += 3) bytes.fill(1, at.edges[i]!, at.edges[i + 1]! + 1)
    }
    return bytes.reduce((sum, bit) => sum + bit) >= WIDE
  }

  /** A state in a loop, and the same with few rounds left: for each the mask takes a walk of its own. */
  *nearBounds(state: State): Generator<State> {
    yield state
    const loops = state.places.map(({ frame }) => frame).filter(({ isLoop }) => isLoop)
    if (loops.length === 0 || loops.some(({ parent }) => parent !== this.states.bottom)) return
    for (let left = 0; left < FEW; left++) {
      const countOf = ({ node, count }: Frame) => {
        const { min, max } = this.states.nodes[node] as { min: number; max: number }
        return Number.isFinite(max) && max - left >= min ? max - left : count
      }
      yield this.states.mapped(state.places, (frame) =>
        frame.isLoop ? this.states.frame(frame.parent!, true, frame.node, countOf(frame)) : frame,
      )
    }
  }

  /** What allows the same tokens: the counts of loops count only as far as a token can reach. */
  viewOf(state: State): State {
    state.view ??= this.states.mapped(state.places, (frame) => this.viewOfFrame(frame))
    return state.view
  }

  /** Each frame's is found once: around it there may be thousands. */
  private viewOfFrame(frame: Frame): Frame {
    const path: Frame[] = []
    let at = frame
    for (; at.parent && !at.view; at = at.parent) path.push(at)
    return path.reduceRight((parent, each) => {
      const { isLoop, node, count } = each
      each.view = this.states.frame(parent, isLoop, node, isLoop ? this.viewOfCount(node, count) : 0)
      return each.view
    }, at.view ?? this.states.bottom)
  }

  private viewOfCount(loop: number, count: number): number {
    const { min, max } = this.states.nodes[loop] as { min: number; max: number }
    const reach = this.vocabulary.trie.longest
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
    const {
      locals,
      trie: { longest },
    } = this.vocabulary
    const { text, countsOnlyHere } = signatureOf(this.states, state, longest)
    const key = text ?? `${this.name}:${state.places.map(placeName).join()}`
    const known = locals.get(key)
    if (known) return known
    const made = (countsOnlyHere && this.recounted(state)) || this.walkAll(state)
    locals.set(key, made, sizeOf(made.allowed) + made.leaves.byteLength + 2 * key.length)
    return made
  }

  private walkAll(start: State): LocalMask {
    const ids = new IdSet(this.vocabulary)
    const leaves: number[] = []
    this.walk(0, this.vocabulary.trie.byte.length, 0, start, ids, leaves)
    return { allowed: ids.taken(), leaves: Int32Array.from(leaves) }
  }

  /**
   * The mask of a state within loops that are bound, made from that of the same state with loops that are not: one walk serves all counts, and only
   * tokens so long that they may reach a bound are looked at. undefined: no bound is near, or tokens are few.
   */
  private recounted(state: State): LocalMask | undefined {
    let left = Number.POSITIVE_INFINITY
    let isShort = false
    for (const { frame } of state.places) {
      for (let at = frame; at.parent; at = at.parent) {
        const { min, max } = this.states.nodes[at.node] as { min: number; max: number }
        left = Math.min(left, max - at.count)
        isShort ||= at.count < min
      }
    }
    if (left >= this.vocabulary.trie.longest && !isShort) return undefined
    this.uncounted ??= new MaskMaker(uncountedStates(this.states), this.vocabulary, `${this.name}*`)
    const loose = this.uncounted.localWithoutCounts(state)
    return 'bits' in loose.allowed ? this.recount(loose, state, left, isShort) : undefined
  }

  /** The mask of a state of the counting automaton in this one, whose loops have no bounds. */
  private localWithoutCounts(state: State): LocalMask {
    const without = (frame: Frame): Frame =>
      frame.parent ? this.states.frame(without(frame.parent), true, frame.node, 0) : this.states.bottom
    return this.local(this.states.mapped(state.places, without))
  }

  /** Tokens of at most `left` bytes reach no upper bound; those that end the rule may come too soon if `isShort`. */
  private recount(loose: LocalMask, start: State, left: number, isShort: boolean): LocalMask {
    const { byte, depth, end, deepest } = this.vocabulary.trie
    const ids = new IdSet(this.vocabulary)
    const leaves: number[] = []
    const path: State[] = [start]
    let leaf = 0
    const skipTo = (node: number, keep: boolean) => {
      for (; leaf < loose.leaves.length && loose.leaves[leaf]! < node; leaf++)
        if (keep) leaves.push(loose.leaves[leaf]!)
    }
    ids.addAll(loose.allowed)
    for (let at = 0; at < byte.length; ) {
      const behind = end[at]!
      const mayDiffer = deepest[at]! > left || (isShort && loose.leaves[leaf]! < behind)
      const next = mayDiffer ? this.states.step(path[depth[at]! - 1]!, byte[at]!) : null
      if (next?.canEnd && loose.leaves[leaf] === at) leaves.push(at)
      if (next) skipTo(at + 1, false)
      const goesOn = next?.goesOn
      if (!goesOn) {
        if (mayDiffer) ids.removeNodes(next ? at + 1 : at, behind)
        skipTo(behind, !mayDiffer)
      } else path[depth[at]!] = next
      at = goesOn ? at + 1 : behind
    }
    return { allowed: ids.taken(), leaves: Int32Array.from(leaves) }
  }

  private walkBelow(node: number, start: State, ids: IdSet): void {
    const { end, depth } = this.vocabulary.trie
    this.walk(node + 1, end[node]!, depth[node]!, start, ids, undefined)
  }

  /** The nodes `from` to `to` of the trie, which lie below one at `depth` (the root: 0) where `start` is the state. */
  private walk(from: number, to: number, depth: number, start: State, ids: IdSet, leaves: number[] | undefined): void {
    const { byte, depth: depths, end, token } = this.vocabulary.trie
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
      if (next.canEnd) leaves?.push(at)
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

function uncountedStates(states: States): States {
  const nodes = states.nodes.map((node) =>
    node.op === 'loop' ? { ...node, min: 0, max: Number.POSITIVE_INFINITY } : node,
  )
  return new States({ ...states.automaton, nodes })
}
