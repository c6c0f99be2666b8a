/** JSON of any kind, compact: no white space, numbers of at most 15 digits without exponents. */
import { choice, type Grammar, literal, optional, type Rule, repeat, ruleOf, sequence } from './grammar'
import { stringOfLength } from './json-string'
import { numbers } from './number-range'

export const ANY_STRING = stringOfLength(0, Number.POSITIVE_INFINITY)
export const ANY_NUMBER = numbers({})
export const ANY_INTEGER = numbers({ integers: true })
export const BOOLEAN = choice(literal('true'), literal('false'))
export const NULL = literal('null')

const value: Rule = { where: 'any JSON value', body: choice(), isFramed: false }
export const ANY_VALUE: Grammar = { kind: 'rule', rule: value }
export const ANY_ARRAY = ruleOf('any JSON array', list(ANY_VALUE, 0, Number.POSITIVE_INFINITY))
const ANY_MEMBER = sequence(ANY_STRING, literal(':'), ANY_VALUE)
export const ANY_OBJECT = ruleOf('any JSON object', between('{', members(ANY_MEMBER), '}'))
value.body = choice(ANY_STRING, ANY_NUMBER, BOOLEAN, NULL, ANY_ARRAY, ANY_OBJECT)

/** An array of `min` to `max` items. */
export function list(item: Grammar, min: number, max: number): Grammar {
  const more = repeat(sequence(literal(','), item), Math.max(0, min - 1), max - 1)
  const items = max === 0 ? sequence() : sequence(item, more)
  return between('[', min === 0 ? optional(items) : items, ']')
}

/** Any number of members, with commas. */
function members(member: Grammar): Grammar {
  return optional(sequence(member, repeat(sequence(literal(','), member), 0, Number.POSITIVE_INFINITY)))
}

export function between(open: string, inner: Grammar, close: string): Grammar {
  return sequence(literal(open), inner, literal(close))
}

/** Any JSON object, written compactly. */
export const jsonObject = (): Grammar => ANY_OBJECT
