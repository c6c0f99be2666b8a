/** JSON strings. Those of a free text may use every escape; elsewhere each code point has one spelling, so that a text is found in one way only. */
import { ANY, type CodePoints, intersection, of, union, without } from './code-points'
import { character, choice, type Grammar, literal, oneOfTexts, repeat, ruleOf, sequence } from './grammar'
import { type TextGraph, written } from './text-graph'

const QUOTE = literal('"')
/** What cannot stand in a string as it is. */
const ESCAPED = union([[0, 0x1f], ...of('"\\')])
const RAW = without(ANY, ESCAPED)

const DIGIT = hex('0-9a-fA-F')
const FOUR_DIGITS = choice(
  sequence(hex('0-9a-cA-CefEF'), DIGIT, DIGIT, DIGIT),
  sequence(hex('dD'), hex('0-7'), DIGIT, DIGIT),
)
const HIGH = sequence(hex('dD'), hex('89abAB'), DIGIT, DIGIT)
const LOW = sequence(hex('dD'), hex('c-fC-F'), DIGIT, DIGIT)
const ESCAPE = sequence(
  literal('\\'),
  choice(character(of('"\\/bfnrt')), sequence(literal('u'), choice(FOUR_DIGITS, sequence(HIGH, literal('\\u'), LOW)))),
)
/** One code point in any spelling. */
const FREE_CHARACTER = choice(character(RAW), ESCAPE)

const bounded = (min: number, max: number): Grammar =>
  ruleOf('string', sequence(QUOTE, repeat(FREE_CHARACTER, min, max), QUOTE))

const FREE_STRING = bounded(0, Number.POSITIVE_INFINITY)

/** Any string of `min` to `max` code points. */
export const stringOfLength = (min: number, max: number): Grammar =>
  min === 0 && max === Number.POSITIVE_INFINITY ? FREE_STRING : bounded(min, max)

/** The strings whose texts are in the graph. */
export const stringOf = (graph: TextGraph): Grammar =>
  ruleOf('string', sequence(QUOTE, written(graph, writtenInString), QUOTE))

/** Any string but those of `texts`. */
export function stringExcept(texts: readonly string[]): Grammar {
  return stringOf(allExcept(texts))
}

/** A code point of `set` in the spelling of `JSON.stringify`. */
function writtenInString(set: CodePoints): Grammar {
  const escapes: string[] = []
  for (const [first, last] of intersection(set, ESCAPED)) {
    for (let point = first; point <= last; point++)
      escapes.push(JSON.stringify(String.fromCodePoint(point)).slice(1, -1))
  }
  const raw = character(intersection(set, RAW))
  return escapes.length === 0 ? raw : choice(raw, oneOfTexts(escapes))
}

/** A tree over the texts; where a text leaves it, anything goes. */
function allExcept(texts: readonly string[]): TextGraph {
  const children: Map<number, number>[] = [new Map()]
  const excluded = new Set<number>()
  for (const text of texts) {
    let at = 0
    for (const letter of text) {
      const point = letter.codePointAt(0)!
      if (!children[at]!.has(point)) children[at]!.set(point, children.push(new Map()) - 1)
      at = children[at]!.get(point)!
    }
    excluded.add(at)
  }
  const free = children.length
  const nodes = children.map((ways) => {
    const followed = Array.from(ways, ([point, to]) => ({ set: union([[point, point]]), to }))
    return [...followed, { set: without(ANY, union(followed.flatMap(({ set }) => [...set]))), to: free }]
  })
  nodes.push([{ set: ANY, to: free }])
  return { nodes, ends: new Set([...nodes.keys()].filter((node) => !excluded.has(node))) }
}

/** One hexadecimal digit of those that the class names. */
function hex(names: string): Grammar {
  const pattern = new RegExp(`[${names}]`)
  return character(of([...'0123456789abcdefABCDEF'].filter((digit) => pattern.test(digit)).join('')))
}
