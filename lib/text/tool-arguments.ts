import { checkJson, isObject } from './input'
import { listedValues, SchemaTypes, typeOf } from './schema-types'
import type { FunctionDefinition } from './tools'

/**
 * From the text of a parameter to the value its JSON schema means. One rule: the text is read as JSON, and if the schema allows that type, it is
 * the value; else the text itself is, where a string is allowed or nothing could be read. So only `null` means null, and a string is the
 * last resort. Without a schema (unknown function, unlisted name) every type is allowed.
 */
export function argumentValue(fn: FunctionDefinition | undefined, name: string, text: string): unknown {
  const schema = schemaOf(fn, name)
  const json = readJson(text)

  const listed = isObject(schema) ? listedValues(schema) : undefined
  if (json && listed?.includes(json.value)) return json.value
  if (listed?.includes(text)) return text

  const types = new SchemaTypes(fn?.parameters).of(schema)
  if (!json) return text
  if (types === undefined) return json.value
  if (types.has('string') && (typeof json.value === 'string' || !types.has(typeOf(json.value)))) return text
  return json.value
}

/** Whether every text of a parameter is its own value: the schema allows strings alone, and lists none. */
export function isPlainString(fn: FunctionDefinition | undefined, name: string): boolean {
  const schema = schemaOf(fn, name)
  if (!isObject(schema) || listedValues(schema)) return false
  const types = new SchemaTypes(fn?.parameters).of(schema)
  return types?.size === 1 && types.has('string')
}

function schemaOf(fn: FunctionDefinition | undefined, name: string): unknown {
  const root = fn?.parameters
  const properties = isObject(root) && isObject(root.properties) ? root.properties : {}
  return Object.hasOwn(properties, name) ? properties[name] : undefined
}

/** Only what can be written as JSON again, and be sent back: no numbers beyond those of JavaScript, no bottomless nesting. */
function readJson(text: string): { value: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text)
    checkJson(value, 'value')
    return { value }
  } catch {
    return undefined
  }
}
