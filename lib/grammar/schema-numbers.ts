import { M2Error } from '../errors'
import { badInput, type JsonObject } from '../text/input'
import { type Grammar, NEVER } from './grammar'
import { ANY_INTEGER, ANY_NUMBER } from './json-value'
import { MAX_DIGITS, MAX_MULTIPLE, numbers } from './number-range'
import { finite, path } from './schema-keywords'

const KEYWORDS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']

/** The numbers, or integers, that fit the schema's keywords for them. */
export function numbersOf(schema: JsonObject, where: string, integers: boolean): Grammar {
  const [minimum, maximum, above, below] = KEYWORDS.map((key) => finite(schema, key, where))
  const excludesMin = above !== undefined && above >= (minimum ?? above)
  const excludesMax = below !== undefined && below <= (maximum ?? below)
  const range = {
    min: excludesMin ? above : minimum,
    max: excludesMax ? below : maximum,
    excludesMin,
    excludesMax,
    ...steps(schema, where, integers),
  }
  const keyword = KEYWORDS.find((key) => key in schema)
  if (keyword === undefined) return integers ? ANY_INTEGER : ANY_NUMBER
  const grammar = numbers(range)
  if (grammar !== NEVER) return grammar
  const kind = range.integers ? 'integer' : 'number'
  throw new M2Error(
    'BAD_INPUT',
    `${path(where, keyword)}: expected bounds that some ${kind} of ${MAX_DIGITS} digits fits, found none`,
  )
}

/** Whole steps are integers; a tenth, a hundredth and so on is a number of digits. */
function steps(schema: JsonObject, where: string, integers: boolean) {
  const step = finite(schema, 'multipleOf', where)
  if (step === undefined) return { integers }
  if (Number.isInteger(step) && step >= 1 && step <= MAX_MULTIPLE) return { integers: true, multipleOf: step }
  const fractionDigits = [1, 2, 3, 4, 5, 6, 7, 8, 9].find((count) => step === Number(`1e-${count}`))
  if (fractionDigits !== undefined) return integers ? { integers } : { integers, fractionDigits }
  throw badInput(path(where, 'multipleOf'), `an integer from 1 to ${MAX_MULTIPLE}, or 0.1, 0.01, ... to 1e-9`, step)
}
