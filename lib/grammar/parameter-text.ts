/**
 * The text of a tool call's parameter, of which the same value must be read back: it may contain the closing tag, but not where the output scanner would
 * close at it; and where other types are allowed beside strings, a string may not look like one of their values.
 */
import { ANY, type CodePoints, complement, of, union, without } from './code-points'
import { character, type Way } from './grammar'
import { SPACES } from './regex-parser'
import { both, type Edge, lengths, type TextGraph, written } from './text-graph'
import type { Writing } from './writing'

export const PARAMETER_END = '</parameter>'
/** The closing tag closes where one of these follows, behind any white space. */
const FOLLOWING = ['<parameter name=', '</invoke>']

/** How far a text has got in the closing tag, and behind a whole one in each of what may follow (-1: not at all). */
interface Progress {
  readonly closing: number
  readonly following: readonly number[]
}

/** All texts in which no parameter ends. */
const OPEN_TEXTS: TextGraph = openTexts()

function openTexts(): TextGraph {
  const letters = union([...of(PARAMETER_END + FOLLOWING.join(''))])
  const single = letters.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, i) => of(String.fromCodePoint(first + i))),
  )
  const classes = [...single, without(SPACES, letters), complement(union([...letters, ...SPACES]))]
  const ids = new Map<string, number>()
  const states: Progress[] = []
  const idOf = (state: Progress) => {
    const key = JSON.stringify(state)
    if (!ids.has(key)) ids.set(key, states.push(state) - 1)
    return ids.get(key)!
  }
  idOf({ closing: 0, following: FOLLOWING.map(() => -1) })
  const nodes: Edge[][] = []
  for (let at = 0; at < states.length; at++) {
    const byTarget = new Map<number, CodePoints>()
    for (const set of classes) {
      const next = passed(states[at]!, String.fromCodePoint(set[0]![0]))
      if (next) byTarget.set(idOf(next), union([...(byTarget.get(idOf(next)) ?? []), ...set]))
    }
    nodes.push(Array.from(byTarget, ([to, set]) => ({ set, to })))
  }
  return { nodes, ends: new Set(nodes.keys()) }
}

/** undefined: the parameter ends here. */
function passed({ closing, following }: Progress, letter: string): Progress | undefined {
  const progress = letter === PARAMETER_END[closing] ? closing + 1 : letter === PARAMETER_END[0] ? 1 : 0
  if (progress === PARAMETER_END.length) return { closing: 0, following: FOLLOWING.map(() => 0) }
  const next = FOLLOWING.map((tag, i) => {
    const at = following[i]!
    if (at === 0 && letter.trim() === '') return 0
    return at >= 0 && tag[at] === letter ? at + 1 : -1
  })
  return FOLLOWING.some((tag, i) => next[i] === tag.length) ? undefined : { closing: progress, following: next }
}

const DIGIT = of('0123456789')
const JSON_SPACE = of(' \t\n\r')

/** Texts that are no JSON number, and begin no value of those that `opening` begins. */
function noOtherValue(opening: CodePoints): TextGraph {
  const free = 10
  const [dot, e, sign, space] = [of('.'), of('eE'), of('+-'), JSON_SPACE]
  const node = (...ways: [set: CodePoints, to: number][]): Edge[] => [
    ...ways.map(([set, to]) => ({ set, to })),
    { set: complement(union(ways.flatMap(([set]) => [...set]))), to: free },
  ]
  const begin = node([space, 0], [of('-'), 1], [of('0'), 2], [of('123456789'), 3])
  const nodes = [
    begin.map(({ set, to }) => ({ set: without(set!, opening), to })),
    node([of('0'), 2], [of('123456789'), 3]), // behind a minus
    node([dot, 4], [e, 6], [space, 9]), // 0
    node([DIGIT, 3], [dot, 4], [e, 6], [space, 9]),
    node([DIGIT, 5]), // behind the point
    node([DIGIT, 5], [e, 6], [space, 9]),
    node([sign, 7], [DIGIT, 8]), // behind e
    node([DIGIT, 8]),
    node([DIGIT, 8], [space, 9]),
    node([space, 9]), // behind the number
    [{ set: ANY, to: free }],
  ]
  return { nodes, ends: new Set([0, 1, 4, 6, 7, free]) }
}

/** How strings stand in a parameter whose values may be of `types` (undefined: of all, and none of them is bound to anything). */
export function parameterWriting(types: ReadonlySet<string> | undefined): Writing {
  const has = (...names: string[]) => names.some((name) => types?.has(name))
  const opening = of(`${has('object') ? '{' : ''}${has('array') ? '[' : ''}`)
  const isMixed = has('number', 'integer', 'object', 'array')
  const texts = isMixed ? both(OPEN_TEXTS, noOtherValue(opening), 'parameter') : OPEN_TEXTS
  return {
    ofLength(min, max, where) {
      if (min === 0 && max === Number.POSITIVE_INFINITY) return written(texts)
      if (isMixed) return written(both(texts, lengths(min, max, where), where))
      return { kind: 'counted', nodes: texts.nodes.map(counted), min, max }
    },
    of: (graph, where) => written(both(graph, texts, where)),
    one: (text) => (contains(texts, text) ? text : undefined),
  }
}

const counted = (edges: readonly Edge[]): Way[] => edges.map(({ set, to }): Way => ({ part: character(set!), to }))

/** Of a graph without free edges, in which no two ways begin alike. */
function contains({ nodes, ends }: TextGraph, text: string): boolean {
  let at: number | undefined = 0
  for (const letter of text) {
    const point = letter.codePointAt(0)!
    at = nodes[at!]!.find(({ set }) => set!.some(([first, last]) => first <= point && point <= last))?.to
    if (at === undefined) return false
  }
  return ends.has(at!)
}
