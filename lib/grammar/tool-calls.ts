/**
 * Calls of tools as the model writes them:
 *
 *   <minimax:tool_call>\n<invoke name="N">\n<parameter name="K">V</parameter>\n</invoke>\n</minimax:tool_call>
 *
 * Parameters stand in the order of the schema, those that are not required or not. Strings are raw, all else is compact JSON.
 */
import { badInput } from '../text/input'
import { SchemaTypes } from '../text/schema-types'
import type { FunctionDefinition } from '../text/tools'
import { choice, type Grammar, literal, optional, repeat, ruleOf, sequence } from './grammar'
import { SchemaCompiler } from './json-schema'
import { PARAMETER_END, parameterWriting } from './parameter-text'
import { assertionsOf, path, propertiesOf } from './schema-keywords'

/** What may be said of all arguments; a reader looks for a parameter's schema nowhere else. */
const ARGUMENT_KEYWORDS = ['type', 'properties', 'required', 'additionalProperties']

/**
 * A block of calls to `functions`, with arguments that fit their schemas once they are read back.
 * @param tags what opens and closes the block: tokens where the tokenizer has them, else their text.
 * @param options.parallel default true: one call or more; false: one.
 * @param where names the functions in messages.
 * @throws M2Error BAD_INPUT that names the part of a function's schema which is broken, not supported, or which nothing fits.
 */
export function toolCalls(
  functions: readonly FunctionDefinition[],
  tags: { open: Grammar; close: Grammar },
  options: { parallel: boolean } = { parallel: true },
  where = 'tools',
): Grammar {
  if (functions.length === 0) throw badInput(where, 'at least one function', functions)
  const calls = functions.map((fn, i) => callOf(fn, path(where, i)))
  const block = repeat(choice(...calls), 1, options.parallel ? Number.POSITIVE_INFINITY : 1)
  return sequence(tags.open, literal('\n'), block, tags.close)
}

function callOf(fn: FunctionDefinition, where: string): Grammar {
  const at = path(where, 'parameters')
  const compiler = new SchemaCompiler(fn.parameters, at)
  const opening = literal(`<invoke name="${tagName(fn.name, path(where, 'name'))}">\n`)
  const call = sequence(opening, ...parametersOf(fn.parameters ?? {}, at, compiler), literal('</invoke>\n'))
  return compiler.finish(ruleOf(at, call))
}

function parametersOf(schema: object, where: string, compiler: SchemaCompiler): Grammar[] {
  const assertions = assertionsOf(schema, where)
  const other = Object.keys(assertions).find((key) => !ARGUMENT_KEYWORDS.includes(key))
  if (other !== undefined)
    throw badInput(path(where, other), `none but ${ARGUMENT_KEYWORDS.join(', ')} here`, assertions[other])
  if (assertions.type !== undefined && assertions.type !== 'object')
    throw badInput(path(where, 'type'), '"object"', assertions.type)
  const types = new SchemaTypes(schema)
  return propertiesOf(assertions, where).flatMap(({ name, schema: property, where: at, isRequired }) => {
    if (property === false && !isRequired) return []
    const value = compiler.value(property, at, parameterWriting(types.of(property)))
    // The rule ends behind the tag: a text may end anywhere, so without it every token would leave the rule.
    const rest = ruleOf(at, sequence(value, literal(`${PARAMETER_END}\n`)))
    const parameter = sequence(literal(`<parameter name="${tagName(name, at)}">`), rest)
    return isRequired ? parameter : optional(parameter)
  })
}

/** A name as it stands in a tag, where nothing is escaped. */
function tagName(name: string, where: string): string {
  if (name.includes('">')) throw badInput(where, 'a name without ">', name)
  return name
}
