/** Which keywords of JSON Schema are understood, and reading their values. */
import { M2Error } from '../errors'
import { badInput, isObject, type JsonObject } from '../text/input'
import type { JsonType } from '../text/schema-types'

export type { JsonType }

/** They say nothing about which values are allowed. */
const ANNOTATIONS = new Set(
  (
    'title description default example examples $schema $id $comment $defs definitions deprecated readOnly writeOnly strict ' +
    'discriminator'
  ).split(' '),
)

/** The keywords that say something about values of one type only. */
const OF_TYPE = {
  object: ['properties', 'required', 'additionalProperties'],
  array: ['items', 'prefixItems', 'minItems', 'maxItems'],
  string: ['minLength', 'maxLength', 'pattern', 'format'],
  number: ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
} satisfies Partial<Record<JsonType, string[]>>

const OF_ANY = ['type', 'enum', 'const', 'anyOf', 'oneOf', 'allOf', '$ref']
const KNOWN = new Set([...OF_ANY, ...Object.values(OF_TYPE).flat()])

const TYPES = new Set<unknown>(['string', 'integer', 'number', 'boolean', 'object', 'array', 'null'])
const ALL_TYPES: JsonType[] = ['string', 'number', 'boolean', 'object', 'array', 'null']

/** `where` and the way to a part: names as in JavaScript. */
export function path(where: string, ...keys: (string | number)[]): string {
  const part = (key: string | number) =>
    typeof key === 'number' ? `[${key}]` : /^[$_a-zA-Z][$\w]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`
  return where + keys.map(part).join('')
}

/** What a schema says about values. @throws M2Error BAD_INPUT that names a keyword which is not understood. */
export function assertionsOf(schema: unknown, where: string): JsonObject {
  if (!isObject(schema)) throw badInput(where, 'a JSON schema: an object, true or false', schema)
  const assertions: JsonObject = Object.create(null)
  for (const [key, value] of Object.entries(schema)) {
    if (value === undefined || saysNothing(key, value)) continue
    if (!KNOWN.has(key)) {
      throw new M2Error('BAD_INPUT', `${path(where, key)}: expected a supported keyword, found ${JSON.stringify(key)}`)
    }
    assertions[key] = value
  }
  return assertions
}

/** What generators of schemas write everywhere: annotations, `uniqueItems: false`, names of properties that are to be strings. */
function saysNothing(key: string, value: unknown): boolean {
  if (key === 'uniqueItems') return value === false
  if (key === 'propertyNames') return value === true || (isObject(value) && onlyType(value) === 'string')
  return ANNOTATIONS.has(key) || key.startsWith('x-')
}

const onlyType = (schema: JsonObject): unknown => (Object.keys(schema).length === 1 ? schema.type : undefined)

/** The types a schema allows; without `type` those that its keywords speak of, or all. */
export function typesOf(schema: JsonObject, where: string): JsonType[] {
  if (schema.type === undefined) {
    const spoken = Object.entries(OF_TYPE).filter(([, keys]) => keys.some((key) => key in schema))
    return spoken.length > 0 ? spoken.map(([type]) => type as JsonType) : ALL_TYPES
  }
  const types = [schema.type].flat()
  const unknown = types.find((type) => !TYPES.has(type))
  if (unknown !== undefined || types.length === 0) {
    throw badInput(path(where, 'type'), 'names of JSON types, such as "string"', unknown ?? schema.type)
  }
  return [...new Set(types as JsonType[])].filter((type) => type !== 'integer' || !types.includes('number'))
}

/** A count such as `minItems`. */
export function count(schema: JsonObject, key: string, where: string, byDefault: number): number {
  const value = schema[key] ?? byDefault
  if (value === byDefault) return byDefault
  if (Number.isInteger(value) && (value as number) >= 0) return value as number
  throw badInput(path(where, key), 'a whole number of 0 or more', value)
}

/** Both bounds of a count. @throws M2Error BAD_INPUT also when they exclude each other. */
export function counts(schema: JsonObject, minKey: string, maxKey: string, where: string): [min: number, max: number] {
  const min = count(schema, minKey, where, 0)
  const max = count(schema, maxKey, where, Number.POSITIVE_INFINITY)
  if (min > max) throw badInput(path(where, minKey), `at most ${maxKey} (${max})`, min)
  return [min, max]
}

export function finite(schema: JsonObject, key: string, where: string): number | undefined {
  const value = schema[key]
  if (value === undefined || Number.isFinite(value)) return value as number | undefined
  throw badInput(path(where, key), 'a number', value)
}

/** The list of schemas of `anyOf` and its like. */
export function branches(schema: JsonObject, key: string, where: string): unknown[] {
  const value = schema[key]
  if (Array.isArray(value) && value.length > 0) return value
  throw badInput(path(where, key), 'an array of schemas with at least one', value)
}

export interface Property {
  readonly name: string
  readonly schema: unknown
  readonly where: string
  readonly isRequired: boolean
}

/** The properties that a schema declares, and behind them those that it only requires. */
export function propertiesOf(schema: JsonObject, where: string): Property[] {
  const { properties = {}, required = [], additionalProperties = true } = schema
  if (!isObject(properties)) throw badInput(path(where, 'properties'), 'an object of schemas', properties)
  if (!Array.isArray(required) || !required.every((name) => typeof name === 'string')) {
    throw badInput(path(where, 'required'), 'an array of names', required)
  }
  const needed = new Set<string>(required)
  const declared = Object.entries(properties).filter(([, property]) => property !== undefined)
  const others = [...needed].filter((name) => !Object.hasOwn(properties, name))
  if (others.length > 0 && additionalProperties === false)
    throw badInput(path(where, 'required'), 'names of properties', others[0])
  return [
    ...declared.map(([name, property]) => ({
      name,
      schema: property,
      where: path(where, 'properties', name),
      isRequired: needed.has(name),
    })),
    ...others.map((name) => ({
      name,
      schema: additionalProperties,
      where: path(where, 'additionalProperties'),
      isRequired: true,
    })),
  ]
}
