/**
 * A grammar as a graph over bytes. Rules are entered by calls, which remember where to go on; loops count how often their parts were passed.
 * Parts that lead nowhere are cut off, so every path that exists can be finished.
 */
import { M2Error } from '../errors'
import { type ByteRanges, utf8 } from './code-points'
import type { Grammar, Rule, Way } from './grammar'

export type Node =
  /** Triples: first byte, last byte, node behind. */
  | { readonly op: 'bytes'; edges: readonly number[] }
  | { readonly op: 'token'; readonly id: number; readonly next: number }
  | { readonly op: 'split'; next: number[] }
  | { readonly op: 'call'; readonly start: number; readonly next: number }
  /** Ways are rules (by their start) and the loop that counts on behind them. */
  | {
      readonly op: 'loop'
      ways: { start: number; to: number }[]
      readonly min: number
      readonly max: number
      exit: number
    }
  /** The end of a rule, or of the text. */
  | { readonly op: 'return' }

export const RETURN = 0

/** What memory a grammar may take; about 100 bytes each. */
const MAX_NODES = 200_000

export interface Automaton {
  readonly nodes: readonly Node[]
  readonly start: number
  /** Starts of rules and of what loops pass: places where masks are worth having early. */
  readonly starts: readonly number[]
  /** Per byte: its class. No edge tells bytes of one class apart. */
  readonly classOf: Uint8Array
  /** Per class: one of its bytes. */
  readonly byteOf: Uint8Array
}

const made = new WeakMap<Grammar, Automaton>()

/** @throws M2Error BAD_INPUT when the grammar is too large, or a part of it admits nothing. */
export function automatonOf(grammar: Grammar): Automaton {
  const automaton = made.get(grammar) ?? compile(grammar)
  made.set(grammar, automaton)
  return automaton
}

function compile(grammar: Grammar): Automaton {
  const builder = new Builder()
  const start = builder.build(grammar)
  const { nodes } = builder
  const productive = findProductive(nodes)
  for (const [rule, at] of builder.rules) {
    if (!productive[at]) throw admitsNothing(rule.where)
  }
  if (!productive[start]) throw admitsNothing('grammar')
  prune(nodes, productive)
  return { nodes, start, starts: [start, ...builder.starts], ...byteClasses(nodes) }
}

function admitsNothing(where: string): M2Error {
  return new M2Error(
    'BAD_INPUT',
    `${where}: expected something that can be written in full, found nothing or recursion without end`,
  )
}

/** Builds from the end to the beginning: each part is made with the node that follows it. */
class Builder {
  readonly nodes: Node[] = [{ op: 'return' }]
  readonly rules = new Map<Rule, number>()
  readonly starts: number[] = []
  private readonly waiting: Rule[] = []
  private where = 'grammar' // the rule that is being built
  private readonly tails = new Map<string, number>()
  private readonly items = new Map<Grammar, number>()

  build(grammar: Grammar): number {
    const start = this.entry(grammar, RETURN)
    for (let rule = this.waiting.pop(); rule; rule = this.waiting.pop()) {
      this.where = rule.where
      const body = this.entry(rule.body, RETURN)
      ;(this.nodes[this.rules.get(rule)!] as { next: number[] }).next.push(body)
    }
    return start
  }

  /** The node from which the part leads to `next`. */
  private entry(grammar: Grammar, next: number): number {
    switch (grammar.kind) {
      case 'text':
        return grammar.bytes.reduceRight((to, byte) => this.add({ op: 'bytes', edges: [byte, byte, to] }), next)
      case 'character':
        return this.characters(utf8(grammar.set), next)
      case 'token':
        return this.add({ op: 'token', id: grammar.id, next })
      case 'sequence':
        return grammar.parts.reduceRight((to, part) => this.entry(part, to), next)
      case 'choice':
        return this.add({ op: 'split', next: grammar.parts.map((part) => this.entry(part, next)) })
      case 'graph':
        return this.graph(grammar.graph.nodes, grammar.graph.ends, next)
      case 'counted':
        return this.loops(grammar, next)
      case 'rule':
        return this.call(grammar.rule, next)
    }
  }

  private add(node: Node): number {
    if (this.nodes.length === MAX_NODES) {
      throw new M2Error('BAD_INPUT', `${this.where}: expected at most ${MAX_NODES} nodes when compiled, found more`)
    }
    return this.nodes.push(node) - 1
  }

  private characters(forms: readonly ByteRanges[], next: number): number {
    const edges = forms.flatMap(([range, ...rest]) => [...range!, this.tail(rest, next)])
    return this.add({ op: 'bytes', edges })
  }

  /** The rest of a character's bytes; ends that are alike are one. */
  private tail(ranges: ByteRanges, next: number): number {
    const [range, ...rest] = ranges
    if (!range) return next
    const key = `${ranges.join()}>${next}`
    let node = this.tails.get(key)
    if (node === undefined) {
      node = this.add({ op: 'bytes', edges: [...range, this.tail(rest, next)] })
      this.tails.set(key, node)
    }
    return node
  }

  private graph(ways: readonly (readonly Way[])[], ends: readonly number[], next: number): number {
    const splits = ways.map(() => ({ op: 'split' as const, next: [] as number[] }))
    const ids = splits.map((node) => this.add(node))
    for (const end of ends) splits[end]!.next.push(next)
    for (const [from, list] of ways.entries()) {
      for (const { part, to } of list) splits[from]!.next.push(this.entry(part, ids[to]!))
    }
    return ids[0]!
  }

  private loops({ nodes, min, max }: Grammar & { kind: 'counted' }, exit: number): number {
    const loops = nodes.map(() => ({
      op: 'loop' as const,
      ways: [] as { start: number; to: number }[],
      min,
      max,
      exit,
    }))
    const ids = loops.map((node) => this.add(node))
    for (const [from, list] of nodes.entries()) {
      for (const { part, to } of list) loops[from]!.ways.push({ start: this.item(part), to: ids[to]! })
    }
    return ids[0]!
  }

  /** What a loop passes, as a rule without a name. */
  private item(part: Grammar): number {
    let start = this.items.get(part)
    if (start === undefined) {
      start = this.entry(part, RETURN)
      this.items.set(part, start)
    }
    return start
  }

  private call(rule: Rule, next: number): number {
    let start = this.rules.get(rule)
    if (start === undefined) {
      start = this.add({ op: 'split', next: [] })
      this.rules.set(rule, start)
      this.starts.push(start)
      this.waiting.push(rule)
    }
    const isTail = next === RETURN && !rule.isFramed // nothing to remember where nothing follows
    return isTail ? start : this.add({ op: 'call', start, next })
  }
}

/** Nodes from which the end of their rule can be reached. */
function findProductive(nodes: readonly Node[]): Uint8Array {
  const productive = new Uint8Array(nodes.length)
  for (let changed = true, round = 0; changed; round++) {
    changed = false
    for (let i = 0; i < nodes.length; i++) {
      const at = round % 2 === 0 ? i : nodes.length - 1 - i
      if (productive[at] || !isProductive(nodes[at]!, productive)) continue
      productive[at] = 1
      changed = true
    }
  }
  return productive
}

function isProductive(node: Node, productive: Uint8Array): boolean {
  switch (node.op) {
    case 'bytes':
      return node.edges.some((target, i) => i % 3 === 2 && productive[target])
    case 'token':
      return !!productive[node.next]
    case 'split':
      return node.next.some((next) => productive[next])
    case 'call':
      return !!productive[node.start] && !!productive[node.next]
    case 'loop':
      return !!productive[node.exit] && (node.min === 0 || node.ways.some(({ start }) => productive[start]))
    case 'return':
      return true
  }
}

function prune(nodes: readonly Node[], productive: Uint8Array): void {
  for (const node of nodes) {
    if (node.op === 'bytes') node.edges = node.edges.filter((_, i) => productive[node.edges[i - (i % 3) + 2]!])
    else if (node.op === 'split') node.next = node.next.filter((next) => productive[next])
    else if (node.op === 'loop') node.ways = node.ways.filter(({ start }) => productive[start])
  }
}

function byteClasses(nodes: readonly Node[]): { classOf: Uint8Array; byteOf: Uint8Array } {
  const begins = new Uint8Array(257)
  for (const node of nodes) {
    if (node.op !== 'bytes') continue
    for (let i = 0; i < node.edges.length; i += 3) {
      begins[node.edges[i]!] = 1
      begins[node.edges[i + 1]! + 1] = 1
    }
  }
  const classOf = new Uint8Array(256)
  const byteOf = [0]
  for (let byte = 1; byte < 256; byte++) {
    if (begins[byte]) byteOf.push(byte)
    classOf[byte] = byteOf.length - 1
  }
  return { classOf, byteOf: Uint8Array.from(byteOf) }
}
