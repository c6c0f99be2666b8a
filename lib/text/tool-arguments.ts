import { isObject } from './input'
import { listedValues, SchemaTypes, typeOf } from './schema-types'
import type { FunctionDefinition } from './tools'

/**
 * From the text of a parameter to the value its JSON schema means. One rule: the text is read as JSON, and if the schema allows that type, it is
 * the value; else the text itself is, where a string is allowed or nothing could be read. So only `null` means null, and a string is the
 * last resort. Without a schema (unknown function, unlisted name) every type is allowed.
 */
export function argumentValue(fn: FunctionDefinition | undefined, name: string, text: string): unknown {
  const root = fn?.parameters
  const properties = isObject(root) && isObject(root.properties) ? root.properties : {}
  const schema = Object.hasOwn(properties, name) ? properties[name] : undefined
  const json = readJson(text)

  const listed = isObject(schema) ? listedValues(schema) : undefined
  if (json && listed?.includes(json.value)) return json.value
  if (listed?.includes(text)) return text

  const types = new SchemaTypes(root).of(schema)
  if (!json) return text
  if (types === undefined) return json.value
  if (types.has('string') && (typeof json.value === 'string' || !types.has(typeOf(json.value)))) return text
  return json.value
}

function readJson(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}
