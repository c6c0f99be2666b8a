import { M2Error } from '../errors'
import { badInput, type JsonObject } from '../text/input'
import { FORMATS } from './formats'
import type { Grammar } from './grammar'
import { searchMatch, wholeMatch } from './regex'
import { counts, path } from './schema-keywords'
import { both, isEmpty, lengths, type TextGraph } from './text-graph'
import type { Writing } from './writing'

/** The strings that fit the schema's keywords for them. */
export function stringsOf(schema: JsonObject, where: string, writing: Writing): Grammar {
  const [min, max] = counts(schema, 'minLength', 'maxLength', where)
  const graphs = [...patternOf(schema, where), ...formatOf(schema, where)]
  if (graphs.length === 0) return writing.ofLength(min, max, where)
  if (min > 0 || max !== Number.POSITIVE_INFINITY) graphs.push(lengths(min, max, where))
  const texts = graphs.reduce((all, graph) => both(all, graph, where))
  if (isEmpty(texts)) {
    throw new M2Error('BAD_INPUT', `${where}: expected a pattern, a format and lengths that some text fits, found none`)
  }
  return writing.of(texts, where)
}

function patternOf(schema: JsonObject, where: string): TextGraph[] {
  if (schema.pattern === undefined) return []
  const at = path(where, 'pattern')
  if (typeof schema.pattern !== 'string') throw badInput(at, 'a regular expression', schema.pattern)
  return [searchMatch(schema.pattern, at)]
}

function formatOf(schema: JsonObject, where: string): TextGraph[] {
  if (schema.format === undefined) return []
  const at = path(where, 'format')
  const pattern = typeof schema.format === 'string' ? FORMATS.get(schema.format) : undefined
  if (pattern === undefined) throw badInput(at, [...FORMATS.keys()].join(', '), schema.format)
  return [wholeMatch(pattern, at)]
}
