/** Grammars as trees: what texts are allowed, not yet how they are recognised. */
import type { CodePoints } from './code-points'

/** A language of token sequences. Made by the functions of this room, compiled by `CompiledGrammar`. */
export type Grammar =
  | { readonly kind: 'text'; readonly bytes: Uint8Array }
  | { readonly kind: 'character'; readonly set: CodePoints }
  | { readonly kind: 'token'; readonly id: number }
  | { readonly kind: 'sequence'; readonly parts: readonly Grammar[] }
  | { readonly kind: 'choice'; readonly parts: readonly Grammar[] }
  | { readonly kind: 'graph'; readonly graph: Graph }
  | { readonly kind: 'counted'; readonly nodes: readonly Way[][]; readonly min: number; readonly max: number }
  | { readonly kind: 'rule'; readonly rule: Rule }

/** A step that one of several nodes offers: what is written, and the node behind it. */
export interface Way {
  readonly part: Grammar
  readonly to: number
}

/** Paths from node 0 to one of `ends`. */
export interface Graph {
  readonly nodes: readonly (readonly Way[])[]
  readonly ends: readonly number[]
}

/** A part with a name, which may contain itself. */
export interface Rule {
  /** It is recognised in a frame of its own, even where nothing follows, so that rules that are alike share their masks; it may not begin with itself. */
  readonly isFramed: boolean
  /** Where it comes from, for messages. */
  readonly where: string
  body: Grammar
}

/** The empty text. */
export const EMPTY: Grammar = { kind: 'sequence', parts: [] }
/** No text at all. */
export const NEVER: Grammar = { kind: 'choice', parts: [] }

/** Exactly this text, by any tokens that spell it. */
export const literal = (text: string): Grammar => ({ kind: 'text', bytes: new TextEncoder().encode(text) })

/** The token `id`, which no bytes stand for: a control token or another added one. */
export const token = (id: number): Grammar => ({ kind: 'token', id })

/** One code point of `set`. */
export const character = (set: CodePoints): Grammar => (set.length === 0 ? NEVER : { kind: 'character', set })

/** One after the other. */
export function sequence(...parts: Grammar[]): Grammar {
  return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts }
}

/** One of them. */
export function choice(...parts: Grammar[]): Grammar {
  return parts.length === 1 ? parts[0]! : { kind: 'choice', parts }
}

/** The part or nothing. */
export const optional = (part: Grammar): Grammar => choice(EMPTY, part)

/** `min` to `max` times the part, which must not be empty. However large they are, the compiled form is small. */
export function repeat(part: Grammar, min: number, max: number): Grammar {
  return max === 0 ? EMPTY : { kind: 'counted', nodes: [[{ part, to: 0 }]], min, max }
}

/** A rule of its own for `body`. */
export const ruleOf = (where: string, body: Grammar): Grammar => ({
  kind: 'rule',
  rule: { where, body, isFramed: true },
})

/** One of many texts: a tree over their common beginnings. */
export function oneOfTexts(texts: readonly string[]): Grammar {
  const nodes: Way[][] = [[]]
  const children: Map<number, number>[] = [new Map()]
  const ends = new Set<number>()
  for (const text of texts) {
    let at = 0
    for (const byte of new TextEncoder().encode(text)) {
      let to = children[at]!.get(byte)
      if (to === undefined) {
        to = nodes.push([]) - 1
        children.push(new Map())
        children[at]!.set(byte, to)
        nodes[at]!.push({ part: { kind: 'text', bytes: Uint8Array.of(byte) }, to })
      }
      at = to
    }
    ends.add(at)
  }
  return { kind: 'graph', graph: { nodes, ends: [...ends] } }
}
