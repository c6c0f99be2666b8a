/** Automata over code points: what patterns become, and what can be intersected. How a code point is written comes last (`written`). */
import { M2Error } from '../errors'
import { badInput } from '../text/input'
import { ANY, type CodePoints, intersection } from './code-points'
import { character, type Grammar, sequence, type Way } from './grammar'

/** An edge without a set is passed for nothing. */
export interface Edge {
  readonly set: CodePoints | undefined
  readonly to: number
}

/** Paths from node 0 to one of `ends`. */
export interface TextGraph {
  readonly nodes: readonly (readonly Edge[])[]
  readonly ends: ReadonlySet<number>
}

/** Nodes of a text graph. */
export const MAX_TEXT_NODES = 40_000

/** Any text of `min` to `max` code points. @throws M2Error BAD_INPUT that names `where` when that is too large. */
export function lengths(min: number, max: number, where: string): TextGraph {
  const last = max === Number.POSITIVE_INFINITY ? min : max
  if (last >= MAX_TEXT_NODES) throw badInput(where, `a length below ${MAX_TEXT_NODES} beside other bounds`, last)
  const nodes = Array.from({ length: last + 1 }, (_, i) => (i < last ? [{ set: ANY, to: i + 1 }] : []))
  if (max === Number.POSITIVE_INFINITY) nodes[last]!.push({ set: ANY, to: last })
  return { nodes, ends: new Set(Array.from({ length: last - min + 1 }, (_, i) => min + i)) }
}

/** Texts of both. @throws M2Error BAD_INPUT that names `where` when that is too large. */
export function both(a: TextGraph, b: TextGraph, where: string): TextGraph {
  return explore(0, where, (pair, to) => {
    const [i, j] = [Math.floor(pair / b.nodes.length), pair % b.nodes.length]
    const at = (x: number, y: number) => x * b.nodes.length + y
    for (const { set, to: next } of a.nodes[i]!) {
      if (!set) to(undefined, at(next, j))
      else for (const other of b.nodes[j]!) if (other.set) to(intersection(set, other.set), at(next, other.to))
    }
    for (const other of b.nodes[j]!) if (!other.set) to(undefined, at(i, other.to))
    return a.ends.has(i) && b.ends.has(j)
  })
}

/** The graph of what can be reached from `start`: `visit` names the edges of a node and says whether texts may end there. */
export function explore(
  start: number,
  where: string,
  visit: (node: number, to: (set: CodePoints | undefined, node: number) => void) => boolean,
): TextGraph {
  const ids = new Map([[start, 0]])
  const nodes: Edge[][] = []
  const ends = new Set<number>()
  for (const [node, id] of ids) {
    const edges: Edge[] = []
    const isEnd = visit(node, (set, next) => {
      if (set?.length === 0) return
      if (!ids.has(next)) ids.set(next, ids.size)
      edges.push({ set, to: ids.get(next)! })
    })
    if (ids.size > MAX_TEXT_NODES) {
      throw new M2Error(
        'BAD_INPUT',
        `${where}: expected a text automaton of at most ${MAX_TEXT_NODES} nodes, found more`,
      )
    }
    nodes.push(edges)
    if (isEnd) ends.add(id)
  }
  return { nodes, ends }
}

/** Whether no text is in it: no end is reached. `explore` gives only nodes that are. */
export const isEmpty = (graph: TextGraph): boolean => graph.ends.size === 0

/** The grammar of the texts, each code point of a set written as `write` says. */
export function written(graph: TextGraph, write: (set: CodePoints) => Grammar = character): Grammar {
  const parts = new Map<string, Grammar>()
  const partOf = (set: CodePoints) => {
    const key = set.join()
    const part = parts.get(key) ?? write(set)
    parts.set(key, part)
    return part
  }
  const nodes = graph.nodes.map((edges) =>
    edges.map(({ set, to }): Way => ({ part: set ? partOf(set) : sequence(), to })),
  )
  return { kind: 'graph', graph: { nodes, ends: [...graph.ends] } }
}
