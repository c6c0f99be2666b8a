import { isObject, type JsonObject } from './input'

/** As JSON schema names them. A whole number is an integer, and so of both number types. */
export type JsonType = 'string' | 'integer' | 'number' | 'boolean' | 'object' | 'array' | 'null'

export function typeOf(value: unknown): JsonType {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number'
  return typeof value as 'string' | 'boolean' | 'object'
}

/** The values a schema lists; undefined: it lists none. */
export function listedValues(schema: JsonObject): unknown[] | undefined {
  if (schema.const !== undefined) return [schema.const]
  return Array.isArray(schema.enum) ? schema.enum : undefined
}

/** References that lead to each other, one within the other: more than any real schema has, fewer than the stack holds. */
const MAX_REFERENCES = 100

/** The part of a schema that a reference such as `#/$defs/Point` names; undefined: there is none. */
export function referencedPart(root: unknown, $ref: string): { part: unknown } | undefined {
  if (!/^#(\/|$)/.test($ref)) return undefined
  let part = root
  for (const name of $ref.split('/').slice(1)) {
    const key = unescaped(name)
    const inArray = Array.isArray(part) && /^\d+$/.test(key)
    if (!(isObject(part) || inArray) || !Object.hasOwn(part as object, key)) return undefined
    part = (part as JsonObject)[key]
  }
  return { part }
}

function unescaped(name: string): string {
  const text = name.replaceAll('~1', '/').replaceAll('~0', '~')
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Reads from schemas which JSON types they allow. Keywords it does not know allow everything. */
export class SchemaTypes {
  private readonly references = new Map<string, Set<string> | undefined>()
  private depth = 0

  /** `root`: what references such as `#/$defs/Point` are relative to. */
  constructor(private readonly root: unknown) {}

  /** undefined: any type. */
  of(schema: unknown): Set<string> | undefined {
    if (!isObject(schema)) return undefined
    const all = [...this.constraints(schema)].filter((types) => types !== undefined)
    const [first, ...rest] = all
    if (first) return new Set([...first].filter((type) => rest.every((types) => types.has(type))))
    if (schema.properties !== undefined) return new Set(['object'])
    return schema.items === undefined ? undefined : new Set(['array'])
  }

  private *constraints(schema: JsonObject): Generator<Set<string> | undefined> {
    if (typeof schema.$ref === 'string') yield this.reference(schema.$ref)
    if (schema.type !== undefined) yield named([schema.type].flat())
    const values = listedValues(schema)
    if (values) yield named(values.map(typeOf))
    for (const choices of [schema.anyOf, schema.oneOf]) {
      if (Array.isArray(choices)) yield union(choices.map((choice) => this.of(choice)))
    }
    if (Array.isArray(schema.allOf)) for (const part of schema.allOf) yield this.of(part)
  }

  private reference(name: string): Set<string> | undefined {
    if (!this.references.has(name)) {
      if (this.depth === MAX_REFERENCES) return undefined
      this.depth++
      this.references.set(name, new Set()) // a schema that is its own alternative adds nothing to itself
      this.references.set(name, this.of(referencedPart(this.root, name)?.part))
      this.depth--
    }
    return this.references.get(name)
  }
}

function named(names: unknown[]): Set<string> {
  const types = new Set(names.map(String))
  return types.has('number') ? types.add('integer') : types
}

function union(types: (Set<string> | undefined)[]): Set<string> | undefined {
  const known = types.filter((set) => set !== undefined)
  return known.length === types.length ? new Set(known.flatMap((set) => [...set])) : undefined
}
