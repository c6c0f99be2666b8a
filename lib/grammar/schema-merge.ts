/** One schema that says what several say, for `allOf` and keywords beside `$ref` or `anyOf`; simple cases only. */
import { isDeepStrictEqual } from 'node:util'
import { M2Error } from '../errors'
import { badInput, isObject, type JsonObject } from '../text/input'
import { typeOf } from '../text/schema-types'
import { assertionsOf, path } from './schema-keywords'

const GREATER = new Set(['minimum', 'exclusiveMinimum', 'minLength', 'minItems'])
const LESS = new Set(['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems'])

/** @throws M2Error BAD_INPUT that names the keyword which cannot be merged. */
export function merged(a: JsonObject, b: JsonObject, where: string): JsonObject {
  checkClosed(a, b, where)
  checkClosed(b, a, where)
  const result: JsonObject = Object.assign(Object.create(null), listed(a), listed(b))
  for (const key of Object.keys(listed(b))) {
    if (key in listed(a)) result[key] = both(key, listed(a)[key], listed(b)[key], path(where, key))
  }
  return result
}

/** `const` as an `enum` of one. */
function listed(schema: JsonObject): JsonObject {
  if (!('const' in schema)) return schema
  const { const: value, ...rest } = schema
  const others = Array.isArray(rest.enum) ? rest.enum.filter((each) => isDeepStrictEqual(each, value)) : [value]
  return { ...rest, enum: others }
}

function both(key: string, a: unknown, b: unknown, where: string): unknown {
  if (isDeepStrictEqual(a, b)) return a
  if (typeof a === 'number' && typeof b === 'number' && GREATER.has(key)) return Math.max(a, b)
  if (typeof a === 'number' && typeof b === 'number' && LESS.has(key)) return Math.min(a, b)
  if (key === 'required' && Array.isArray(a) && Array.isArray(b)) return [...new Set([...a, ...b])]
  if (key === 'enum' && Array.isArray(a) && Array.isArray(b)) return commonValues(a, b, where)
  if (key === 'type') return commonTypes([a].flat(), [b].flat(), where)
  if (key === 'properties' && isObject(a) && isObject(b)) return allProperties(a, b)
  if (key === 'additionalProperties' || key === 'items') {
    if (a === true) return b
    if (b === true) return a
    if (isObject(a) && isObject(b)) return { allOf: [a, b] }
  }
  throw new M2Error(
    'BAD_INPUT',
    `${where}: expected keywords that can be merged into one schema, found two that differ`,
  )
}

function commonValues(a: unknown[], b: unknown[], where: string): unknown[] {
  const common = a.filter((value) => b.some((other) => isDeepStrictEqual(value, other)))
  if (common.length === 0) throw badInput(where, 'values that both schemas allow', common)
  return common
}

function commonTypes(a: unknown[], b: unknown[], where: string): unknown[] {
  const allows = (types: unknown[], type: unknown) =>
    types.includes(type) || (type === 'integer' && types.includes('number'))
  const common = [...new Set([...a, ...b])].filter((type) => allows(a, type) && allows(b, type))
  if (common.length === 0) throw badInput(where, 'types that both schemas allow', common)
  return common
}

function allProperties(a: JsonObject, b: JsonObject): JsonObject {
  const all: JsonObject = Object.assign(Object.create(null), a)
  for (const [name, schema] of Object.entries(b)) all[name] = name in all ? { allOf: [all[name], schema] } : schema
  return all
}

/** What `a` says of additional properties is meant for all that it does not declare itself, those of `b` too. */
function checkClosed(a: JsonObject, b: JsonObject, where: string): void {
  if (a.additionalProperties === undefined || a.additionalProperties === true) return
  const own = isObject(a.properties) ? a.properties : {}
  const others = [
    ...Object.keys(isObject(b.properties) ? b.properties : {}),
    ...(Array.isArray(b.required) ? b.required : []),
  ]
  const foreign = others.find((name) => !Object.hasOwn(own, name))
  if (foreign === undefined) return
  const where_ = path(where, 'additionalProperties')
  throw badInput(
    where_,
    'schemas merged into one to declare the same properties where one of them restricts others',
    foreign,
  )
}

/** Whether no value fits both schemas, as far as can be told from types, listed values and required properties. */
export function disjoint(a: JsonObject, b: JsonObject, resolve: (schema: unknown) => JsonObject): boolean {
  const values = [a, b].map((schema) => listed(schema).enum)
  if (Array.isArray(values[0]) && Array.isArray(values[1])) {
    const [first, second] = values
    return !first.some((value) => second.some((other) => isDeepStrictEqual(value, other)))
  }
  const types = [a, b].map((schema) => impliedTypes(schema))
  if (types[0] && types[1] && ![...types[0]].some((type) => types[1]!.has(type))) return true
  return requiredInBoth(a, b).some((name) => {
    const [first, second] = [a, b].map((schema) => {
      const properties = isObject(schema.properties) ? schema.properties : {}
      return Object.hasOwn(properties, name) ? resolve(properties[name]) : undefined
    })
    return !!first && !!second && disjoint(first, second, resolve)
  })
}

function requiredInBoth(a: JsonObject, b: JsonObject): string[] {
  if (!Array.isArray(a.required) || !Array.isArray(b.required)) return []
  const others = new Set(b.required)
  return a.required.filter((name) => typeof name === 'string' && others.has(name))
}

function impliedTypes(schema: JsonObject): Set<unknown> | undefined {
  const values = listed(schema).enum
  const types = new Set<unknown>(Array.isArray(values) ? values.map(typeOf) : [schema.type ?? []].flat())
  if (types.size === 0)
    return schema.properties !== undefined || schema.required !== undefined ? new Set(['object']) : undefined
  return types.has('number') ? types.add('integer') : types
}

/** The assertions of `schema` when what it refers to is written out. */
export function resolved(
  schema: unknown,
  where: string,
  follow: (reference: unknown, where: string) => unknown,
): JsonObject {
  let result = assertionsOf(schema, where)
  for (let steps = 0; result.$ref !== undefined; steps++) {
    if (steps === 50) throw badInput(path(where, '$ref'), 'at most 50 references in a row', 'more')
    const { $ref, ...rest } = result
    const target = follow($ref, path(where, '$ref'))
    const assertions = target === true ? {} : assertionsOf(target, path(where, '$ref'))
    result = merged(assertions, rest, where)
  }
  return result
}
