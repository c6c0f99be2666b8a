import type { Node } from './automaton'
import type { State, States } from './states'

/** Rules with more nodes are compared by identity, not by looks. */
const MAX_NODES = 300

export interface Signature {
  /** What can be reached, written so that states that behave alike for `reach` bytes read alike in all grammars; undefined: it is too much. */
  readonly text: string | undefined
  /** No loops can be reached but those that the state is in, and no other rules. */
  readonly countsOnlyHere: boolean
}

/** Of a local state. */
export function signatureOf(states: States, state: State, reach: number): Signature {
  const writer = new Writer(states.nodes, reach)
  const text = writer.write(state)
  return { text, countsOnlyHere: text !== undefined && writer.countsOnlyHere }
}

class Writer {
  countsOnlyHere = true
  private readonly names = new Map<number, number>()
  private readonly order: number[] = []

  constructor(
    private readonly nodes: readonly Node[],
    private readonly reach: number,
  ) {}

  write(state: State): string | undefined {
    const parts = state.places.map(({ node, frame }) => {
      let place = this.entered(node)
      for (let at = frame; at.parent; at = at.parent) {
        const { min, max } = this.nodes[at.node] as { min: number; max: number }
        place += `/${this.name(at.node)}:${this.left(min - at.count)}:${this.left(max - at.count)}`
      }
      return place
    })
    for (let i = 0; i < this.order.length; i++) {
      if (this.order.length > MAX_NODES) return undefined
      parts.push(this.describe(this.nodes[this.order[i]!]!))
    }
    return parts.join(';')
  }

  private describe(node: Node): string {
    switch (node.op) {
      case 'bytes':
        return `b${node.edges.map((value, at) => (at % 3 === 2 ? this.entered(value) : value)).join()}`
      case 'token':
        return `t${node.id},${this.entered(node.next)}`
      case 'split':
        return `s${node.next.map((next) => this.entered(next)).join()}`
      case 'call':
        return `c${this.entered(node.start)},${this.entered(node.next)}`
      case 'loop':
        return `l${this.entered(node.exit)},${node.ways.map(({ start, to }) => `${this.entered(start)}-${this.name(to)}`).join()}`
      case 'return':
        return 'r'
    }
  }

  /** Numbers in the order of meeting them. */
  private name(node: number): number {
    let known = this.names.get(node)
    if (known === undefined) {
      known = this.order.push(node) - 1
      this.names.set(node, known)
    }
    return known
  }

  /** A loop that is entered counts from 0; one that is under way has its count in a frame. */
  private entered(node: number): string {
    const at = this.nodes[node]!
    if (at.op === 'loop' || at.op === 'call') this.countsOnlyHere = false
    return at.op === 'loop' ? `${this.name(node)}[${this.left(at.min)}:${this.left(at.max)}]` : `${this.name(node)}`
  }

  private left(count: number): string {
    return count > this.reach ? '*' : `${Math.max(0, count)}`
  }
}
