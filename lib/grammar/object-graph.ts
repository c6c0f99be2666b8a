import type { Grammar, Way } from './grammar'
import { EMPTY, literal, repeat, sequence } from './grammar'
import { stringExcept } from './json-string'
import { ANY_STRING, between } from './json-value'

export interface Member {
  readonly name: string
  readonly value: Grammar
  readonly isRequired: boolean
}

/**
 * The members in their order, those that are not required left out or not; then, where `others` is given, any number of other names with such values.
 *
 * A row of nodes for "nothing is written yet" and one for "something is", because only the second begins with a comma.
 */
export function objectOf(members: readonly Member[], others: Grammar | undefined): Grammar {
  const count = members.length
  const nodes: Way[][] = Array.from({ length: 3 * count + 3 }, () => [])
  const [first, later, value] = [(i: number) => i, (i: number) => count + 1 + i, (i: number) => 2 * count + 2 + i]
  for (const [i, { name, value: grammar, isRequired }] of members.entries()) {
    const key = `${JSON.stringify(name)}:`
    nodes[first(i)]!.push({ part: literal(key), to: value(i) })
    nodes[later(i)]!.push({ part: literal(`,${key}`), to: value(i) })
    nodes[value(i)]!.push({ part: grammar, to: later(i + 1) })
    if (isRequired) continue
    nodes[first(i)]!.push({ part: EMPTY, to: first(i + 1) })
    nodes[later(i)]!.push({ part: EMPTY, to: later(i + 1) })
  }
  const end = value(count)
  nodes[first(count)]!.push({ part: EMPTY, to: end })
  nodes[later(count)]!.push({ part: EMPTY, to: end })
  if (others) {
    const names = count === 0 ? ANY_STRING : stringExcept(members.map(({ name }) => name))
    const other = sequence(names, literal(':'), others)
    const more = repeat(sequence(literal(','), other), 0, Number.POSITIVE_INFINITY)
    nodes[first(count)]!.push({ part: sequence(other, more), to: end })
    nodes[later(count)]!.push({ part: more, to: end })
  }
  return between('{', { kind: 'graph', graph: { nodes, ends: [end] } }, '}')
}

/** An array whose first items have grammars of their own; behind them `rest`, if given; `min` to `max` items in all. */
export function tupleOf(items: readonly Grammar[], rest: Grammar | undefined, min: number, max: number): Grammar {
  const own = items.slice(0, max)
  const nodes: Way[][] = own.map(() => [])
  const end = nodes.push([], []) - 1
  for (const [i, item] of own.entries()) {
    nodes[i]!.push({ part: i === 0 ? item : sequence(literal(','), item), to: i + 1 })
    if (i >= min) nodes[i]!.push({ part: EMPTY, to: end })
  }
  const last = nodes[own.length]!
  const left = max - own.length
  if (rest && left > 0) {
    const more = repeat(
      sequence(literal(','), rest),
      Math.max(0, min - own.length - (own.length === 0 ? 1 : 0)),
      own.length === 0 ? left - 1 : left,
    )
    last.push({ part: own.length === 0 ? sequence(rest, more) : more, to: end })
  }
  if (min <= own.length) last.push({ part: EMPTY, to: end })
  return between('[', { kind: 'graph', graph: { nodes, ends: [end] } }, ']')
}
