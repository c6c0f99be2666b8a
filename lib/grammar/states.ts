/**
 * Where texts may stand in an automaton. A state is a set of places: a node and the frames of what is to be finished around it. Frames and states that
 * are equal are one object, and each state remembers what follows it by each class of bytes.
 */
import { type Automaton, type Node, RETURN } from './automaton'

/** What goes on when a rule ends (`call`) or when a loop has passed its part once more. All but the bottom have a parent. */
export interface Frame {
  readonly id: number
  readonly parent: Frame | undefined
  readonly isLoop: boolean
  /** Where it goes on. */
  readonly node: number
  /** Of loops: how many parts are passed then. */
  readonly count: number
  readonly inner: Map<number, Frame>
  /** Itself, or for a loop the frame in which its rule was called. */
  readonly base: Frame
  /** The state when the rule called in this frame has just ended. */
  resumed: State | undefined
  /** The frame with the same masks that all such share; see masks.ts. */
  view: Frame | undefined
}

export interface Place {
  readonly node: number
  readonly frame: Frame
}

export interface State {
  readonly id: number
  /** Only places before bytes and tokens, and that at the end. */
  readonly places: readonly Place[]
  /** Nothing is left to finish. */
  readonly canEnd: boolean
  /** Something may follow. */
  readonly goesOn: boolean
  /** By class of byte; null: nothing does. */
  readonly next: (State | null | undefined)[]
  /** The state with the same mask that all such share; see masks.ts. */
  view: State | undefined
}

/** More states and frames than a long answer has. */
const MAX_HELD = 30_000

/**
 * Places at one node, which differ in what is around it alone. Branches that begin alike, one within the other, double them with every level (such
 * as `anyOf` two lists of the same again); of more the rest is left out. Each place by itself can be finished, so a text still fits, and has an end.
 */
const MAX_ALIKE = 256

export class States {
  readonly nodes: readonly Node[]
  readonly bottom: Frame
  readonly start: State
  private readonly held = new Map<string, State>()
  private ids = 0
  /** Of them those that were taken along. */
  private adopted = 0

  constructor(readonly automaton: Automaton) {
    this.nodes = automaton.nodes
    this.bottom = this.newFrame(undefined, false, RETURN, 0)
    this.start = this.at([{ node: automaton.start, frame: this.bottom }])
  }

  /** Too many are held: start anew, and `adopt` what is still in use, which does not count there: it may be as many. */
  get isFull(): boolean {
    return this.ids - this.adopted > MAX_HELD
  }

  /** The state at `places`, each a node of any kind. */
  at(places: readonly Place[]): State {
    return this.intern(new Closure(this).of(places))
  }

  step(state: State, byte: number): State | null {
    const { classOf } = this.automaton
    const known = state.next[classOf[byte]!]
    return known !== undefined ? known : this.follow(state, classOf[byte]!)
  }

  private follow(state: State, byteClass: number): State | null {
    const byte = this.automaton.byteOf[byteClass]!
    const places: Place[] = []
    for (const { node, frame } of state.places) {
      const at = this.nodes[node]!
      if (at.op !== 'bytes') continue
      for (let i = 0; i < at.edges.length; i += 3) {
        if (at.edges[i]! <= byte && byte <= at.edges[i + 1]!) places.push({ node: at.edges[i + 2]!, frame })
      }
    }
    const next = places.length > 0 ? this.at(places) : null
    state.next[byteClass] = next
    return next
  }

  /** What follows the token `id` as such, not as its bytes. */
  stepToken(state: State, id: number): State | null {
    const places: Place[] = []
    for (const { node, frame } of state.places) {
      const at = this.nodes[node]!
      if (at.op === 'token' && at.id === id) places.push({ node: at.next, frame })
    }
    return places.length > 0 ? this.at(places) : null
  }

  /** The tokens that are allowed as such. */
  tokensOf(state: State): number[] {
    return state.places.flatMap(({ node }) => {
      const at = this.nodes[node]!
      return at.op === 'token' ? [at.id] : []
    })
  }

  /** The state behind the rule that was called in `frame`. */
  resume(frame: Frame): State {
    frame.resumed ??= this.at([{ node: frame.node, frame: frame.parent! }])
    return frame.resumed
  }

  frame(parent: Frame, isLoop: boolean, node: number, count: number): Frame {
    const key = (count * this.nodes.length + node) * 2 + (isLoop ? 1 : 0)
    let frame = parent.inner.get(key)
    if (!frame) {
      frame = this.newFrame(parent, isLoop, node, count)
      parent.inner.set(key, frame)
    }
    return frame
  }

  /** The same places with other frames. */
  mapped(places: readonly Place[], frameOf: (frame: Frame) => Frame): State {
    return this.intern(places.map(({ node, frame }) => ({ node, frame: frameOf(frame) })))
  }

  /** A state of an earlier collection, in this one. */
  adopt(state: State): State {
    const before = this.ids
    const adopted = this.mapped(state.places, (frame) => {
      const path: Frame[] = []
      for (let at = frame; at.parent; at = at.parent) path.push(at)
      return path.reduceRight((parent, { isLoop, node, count }) => this.frame(parent, isLoop, node, count), this.bottom)
    })
    this.adopted += this.ids - before
    return adopted
  }

  private newFrame(parent: Frame | undefined, isLoop: boolean, node: number, count: number): Frame {
    const frame = { id: this.ids++, parent, isLoop, node, count, inner: new Map(), resumed: undefined, view: undefined }
    return Object.assign(
      frame,
      { base: undefined as unknown as Frame },
      { base: isLoop ? parent!.base : frame },
    ) as Frame
  }

  private intern(places: readonly Place[]): State {
    const keyed = new Map(places.map((place) => [place.frame.id * this.nodes.length + place.node, place]))
    const keys = Float64Array.from(keyed.keys()).sort()
    const key = keys.join()
    let state = this.held.get(key)
    if (!state) {
      const sorted = Array.from(keys, (each) => keyed.get(each)!)
      const canEnd = sorted.some(({ node }) => node === RETURN)
      const goesOn = sorted.some(({ node }) => node !== RETURN)
      state = { id: this.ids++, places: sorted, canEnd, goesOn, next: [], view: undefined }
      this.held.set(key, state)
    }
    return state
  }
}

/** Follows everything that needs no input. */
class Closure {
  private readonly seen = new Set<number>()
  /** By node: how many frames it was reached in. */
  private readonly alike = new Map<number, number>()
  private readonly open: Place[] = []
  private readonly found: Place[] = []

  constructor(private readonly states: States) {}

  of(places: readonly Place[]): Place[] {
    for (const { node, frame } of places) this.reach(node, frame)
    for (let place = this.open.pop(); place; place = this.open.pop()) this.visit(place)
    return this.found
  }

  private reach(node: number, frame: Frame): void {
    const key = frame.id * this.states.nodes.length + node
    const alike = this.alike.get(node) ?? 0
    if (this.seen.has(key) || alike === MAX_ALIKE) return
    this.seen.add(key)
    this.alike.set(node, alike + 1)
    this.open.push({ node, frame })
  }

  private visit(place: Place): void {
    const { frame } = place
    const node = this.states.nodes[place.node]!
    switch (node.op) {
      case 'bytes':
      case 'token':
        this.found.push(place)
        break
      case 'split':
        for (const next of node.next) this.reach(next, frame)
        break
      case 'call':
        this.reach(node.start, this.states.frame(frame, false, node.next, 0))
        break
      case 'loop':
        this.loop(node, 0, frame)
        break
      case 'return':
        if (!frame.parent) this.found.push(place)
        else if (!frame.isLoop) this.reach(frame.node, frame.parent)
        else this.loop(this.states.nodes[frame.node] as Node & { op: 'loop' }, frame.count, frame.parent)
    }
  }

  private loop(loop: Node & { op: 'loop' }, count: number, frame: Frame): void {
    if (count >= loop.min) this.reach(loop.exit, frame)
    if (count >= loop.max) return
    const passed = loop.max === Number.POSITIVE_INFINITY ? Math.min(count + 1, loop.min) : count + 1
    for (const { start, to } of loop.ways) this.reach(start, this.states.frame(frame, true, to, passed))
  }
}
