/**
 * A JSON schema as the grammar of values that fit it, written compactly: no white space, properties in the order of the schema. What a schema merely
 * does not forbid, such as properties that it does not name, is left out: every text of the grammar fits the schema, but not the reverse.
 */
import { isDeepStrictEqual } from 'node:util'
import { M2Error } from '../errors'
import { badInput, checkJson, isObject, type JsonObject } from '../text/input'
import { referencedPart, typeOf } from '../text/schema-types'
import { automatonOf } from './automaton'
import { choice, type Grammar, oneOfTexts, type Rule, ruleOf } from './grammar'
import { ANY_ARRAY, ANY_OBJECT, ANY_VALUE, BOOLEAN, NULL } from './json-value'
import { type Member, objectOf, tupleOf } from './object-graph'
import { assertionsOf, branches, counts, type JsonType, path, propertiesOf, typesOf } from './schema-keywords'
import { disjoint, merged, resolved } from './schema-merge'
import { numbersOf } from './schema-numbers'
import { stringsOf } from './schema-strings'
import { JSON_WRITING, type Writing } from './writing'

/** Schemas within schemas. */
const MAX_DEPTH = 100
/** Schemas that are looked at, those in branches that are merged again and again included. */
const MAX_SCHEMAS = 20_000
/** Characters of listed values. */
const MAX_LISTED = 100_000

/**
 * The JSON values that fit `schema`, compact. Objects have the properties that it names, in its order, and others only where `additionalProperties`
 * allows them or it names none; integers and fractions have 15 digits at most.
 * @param where names the schema in messages.
 * @throws M2Error BAD_INPUT that names the part which is broken, not supported, too large, or which nothing fits.
 */
export function jsonSchema(schema: object, where: string): Grammar {
  const compiler = new SchemaCompiler(schema, where)
  return compiler.finish(ruleOf(where, compiler.value(schema, where)))
}

/** Compiles schemas that refer to parts of one root. */
export class SchemaCompiler {
  private readonly rules = new Map<Writing, Map<string, Rule>>()
  private readonly waiting: (() => void)[] = []
  private depth = 0
  private schemas = 0

  constructor(
    private readonly root: unknown,
    private readonly rootName: string,
  ) {}

  /** `grammar` with all that it refers to. @throws M2Error BAD_INPUT that names a part which nothing fits. */
  finish(grammar: Grammar): Grammar {
    for (let next = this.waiting.pop(); next; next = this.waiting.pop()) next()
    automatonOf(grammar)
    return grammar
  }

  /** The values that fit a schema in the root. */
  value(schema: unknown, where: string, writing = JSON_WRITING): Grammar {
    if (++this.schemas > MAX_SCHEMAS) throw tooMuch(where, `at most ${MAX_SCHEMAS} schemas, merged ones included`)
    if (++this.depth > MAX_DEPTH) throw tooMuch(where, `at most ${MAX_DEPTH} schemas within each other`)
    const grammar = this.anyValue(schema, where, writing)
    this.depth--
    return grammar
  }

  private anyValue(schema: unknown, where: string, writing: Writing): Grammar {
    if (schema === false) throw badInput(where, 'a schema that something fits', false)
    const assertions = schema === true ? {} : assertionsOf(schema, where)
    if (Object.keys(assertions).length > 0) return this.asserted(assertions, where, writing)
    return writing === JSON_WRITING ? ANY_VALUE : writing.ofLength(0, Number.POSITIVE_INFINITY, where)
  }

  private asserted(schema: JsonObject, where: string, writing: Writing): Grammar {
    const { $ref, allOf, ...rest } = schema
    if ($ref !== undefined) {
      if (Object.keys(schema).length === 1) return this.reference($ref, path(where, '$ref'), writing)
      return this.asserted(this.resolve(schema, where), where, writing)
    }
    if (allOf !== undefined) {
      const parts = branches(schema, 'allOf', where).map((part, i) => this.resolve(part, path(where, 'allOf', i)))
      return this.value(
        parts.reduce<JsonObject>((all, part) => merged(all, part, where), rest),
        where,
        writing,
      )
    }
    if (schema.anyOf !== undefined) return this.branches(schema, 'anyOf', where, writing)
    if (schema.oneOf !== undefined) return this.branches(schema, 'oneOf', where, writing)
    if (schema.enum !== undefined || schema.const !== undefined) return this.listed(schema, where, writing)
    return choice(...typesOf(schema, where).map((type) => this.ofType(type, schema, where, writing)))
  }

  private ofType(type: JsonType, schema: JsonObject, where: string, writing: Writing): Grammar {
    switch (type) {
      case 'null':
        return NULL
      case 'boolean':
        return BOOLEAN
      case 'integer':
      case 'number':
        return numbersOf(schema, where, type === 'integer')
      case 'string':
        return stringsOf(schema, where, writing)
      case 'array':
        return this.array(schema, where)
      case 'object':
        return this.object(schema, where)
    }
  }

  private branches(schema: JsonObject, key: 'anyOf' | 'oneOf', where: string, writing: Writing): Grammar {
    const { [key]: _, ...base } = schema
    const parts = branches(schema, key, where)
    if (key === 'oneOf') this.checkDisjoint(parts, base, path(where, 'oneOf'))
    if (Object.keys(base).length === 0) {
      return choice(...parts.map((part, i) => this.value(part, path(where, key, i), writing)))
    }
    const all = parts.map((part, i) => {
      const at = path(where, key, i)
      return this.value(merged(base, this.resolve(part, at), at), at, writing)
    })
    return choice(...all)
  }

  private checkDisjoint(parts: readonly unknown[], base: JsonObject, where: string): void {
    const { properties, required } = base
    const schemas = parts.map((part, i) => {
      const own = this.resolve(part, path(where, i))
      const all = [...(Array.isArray(required) ? required : []), ...(Array.isArray(own.required) ? own.required : [])]
      const names = { ...(isObject(properties) ? properties : {}), ...(isObject(own.properties) ? own.properties : {}) }
      return {
        ...own,
        ...(all.length > 0 ? { required: all } : {}),
        ...(Object.keys(names).length > 0 ? { properties: names } : {}),
      }
    })
    for (let i = 0; i < schemas.length; i++) {
      for (let j = 0; j < i; j++) {
        if (++this.schemas > MAX_SCHEMAS) throw tooMuch(where, `at most ${MAX_SCHEMAS} pairs of branches`)
        if (disjoint(schemas[i]!, schemas[j]!, (schema) => this.resolve(schema, where))) continue
        const found = `[${j}] and [${i}], which one value may fit`
        throw new M2Error(
          'BAD_INPUT',
          `${where}: expected branches that differ in type or in a required property's const (else use anyOf), found ${found}`,
        )
      }
    }
  }

  private listed(schema: JsonObject, where: string, writing: Writing): Grammar {
    const { enum: values = [schema.const], const: constant, ...rest } = schema
    const at = path(where, schema.enum === undefined ? 'const' : 'enum')
    if (!Array.isArray(values) || values.length === 0) throw badInput(at, 'an array with at least one value', values)
    checkJson(values, at)
    const other = Object.keys(rest).find((key) => key !== 'type')
    if (other !== undefined) throw badInput(path(where, other), 'no keyword but type beside listed values', rest[other])
    const types: readonly string[] = rest.type === undefined ? [] : typesOf(rest, where)
    const isOfType = (type: string) =>
      types.length === 0 || types.includes(type) || (type === 'integer' && types.includes('number'))
    const fitting = values.filter((value) => isOfType(typeOf(value)))
    const chosen =
      constant === undefined || schema.enum === undefined
        ? fitting
        : fitting.filter((value) => isDeepStrictEqual(value, constant))
    const texts = chosen.map((value) => (typeof value === 'string' ? writing.one(value) : JSON.stringify(value)))
    const written = texts.filter((text) => text !== undefined)
    if (written.length === 0) throw badInput(at, 'a value that fits the other keywords and can be written', values)
    const characters = written.reduce((sum, text) => sum + text.length, 0)
    if (characters > MAX_LISTED) throw tooMuch(at, `at most ${MAX_LISTED} characters of values in all`)
    return oneOfTexts(written)
  }

  private array(schema: JsonObject, where: string): Grammar {
    const { items, prefixItems } = schema
    const [min, max] = counts(schema, 'minItems', 'maxItems', where)
    const at = path(where, 'prefixItems')
    if (prefixItems !== undefined && !Array.isArray(prefixItems)) throw badInput(at, 'an array of schemas', prefixItems)
    const own = (prefixItems ?? []).slice(0, max).map((item, i) => this.value(item, path(at, i)))
    const needsMore = min > own.length
    if (items === undefined && own.length === 0 && min === 0 && max === Number.POSITIVE_INFINITY) return ANY_ARRAY
    const isClosed = items === false || max === own.length || (items === undefined && own.length > 0 && !needsMore)
    if (isClosed && needsMore)
      throw badInput(path(where, 'minItems'), `at most ${own.length}, as there are no more items`, min)
    const rest = isClosed ? undefined : this.value(items ?? true, path(where, 'items'))
    return tupleOf(own, rest, min, max)
  }

  private object(schema: JsonObject, where: string): Grammar {
    const { additionalProperties } = schema
    const isOpen = additionalProperties === undefined && schema.properties === undefined
    const properties = propertiesOf(schema, where)
    if (isOpen && properties.length === 0) return ANY_OBJECT
    const members = properties
      .filter(({ schema, isRequired }) => schema !== false || isRequired)
      .map((property): Member => ({ ...property, value: this.value(property.schema, property.where) }))
    if (isOpen) return objectOf(members, ANY_VALUE)
    const hasOthers = additionalProperties !== undefined && additionalProperties !== false
    const others = hasOthers ? this.value(additionalProperties, path(where, 'additionalProperties')) : undefined
    return objectOf(members, others)
  }

  /** A rule for what is referred to; it is compiled later, so it may refer to itself. */
  private reference($ref: unknown, where: string, writing: Writing): Grammar {
    const rules = this.rules.get(writing) ?? new Map<string, Rule>()
    this.rules.set(writing, rules)
    const target = this.follow($ref, where)
    let rule = rules.get(String($ref))
    if (!rule) {
      const made: Rule = { where, body: choice(), isFramed: false }
      rule = made
      rules.set(String($ref), made)
      this.waiting.push(() => {
        made.body = this.value(target, where, writing)
      })
    }
    return { kind: 'rule', rule }
  }

  private resolve(schema: unknown, where: string): JsonObject {
    if (++this.schemas > MAX_SCHEMAS) throw tooMuch(where, `at most ${MAX_SCHEMAS} schemas, merged ones included`)
    if (schema === true) return {}
    return resolved(schema, where, ($ref, at) => this.follow($ref, at))
  }

  /** The part of the root that a reference such as `#/$defs/Point` names. */
  private follow($ref: unknown, where: string): unknown {
    if (typeof $ref !== 'string' || !/^#(\/|$)/.test($ref))
      throw badInput(where, 'a reference within the schema, such as "#/$defs/name"', $ref)
    const found = referencedPart(this.root, $ref)
    if (!found) throw badInput(where, `a part of ${this.rootName}`, $ref)
    return found.part
  }
}

const tooMuch = (where: string, expected: string): M2Error =>
  new M2Error('BAD_INPUT', `${where}: expected ${expected}, found more`)
