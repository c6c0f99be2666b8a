import type { M2Error } from '../errors'
import { badInput, isObject, type JsonObject } from '../text/input'

interface Range {
  least?: number
  most?: number
  /** The least value itself is not allowed. */
  above?: boolean
}

/**
 * The fields of an object in a request's body, read one by one: each is checked, and named in the error by its way from the body, as in
 * `messages.0.content`. null means absent.
 */
export class Fields {
  constructor(
    private readonly source: JsonObject,
    private readonly path = '',
  ) {}

  /** The object itself. */
  get all(): JsonObject {
    return this.source
  }

  /** The value as it is, undefined where it is null. */
  value(name: string): unknown {
    return this.source[name] ?? undefined
  }

  /** What errors call the field. */
  where(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`
  }

  /** The error for a field that is not what it should be. */
  unexpected(name: string, expected: string): M2Error {
    return badInput(this.where(name), expected, this.value(name))
  }

  string(name: string): string | undefined {
    const value = this.value(name)
    if (value === undefined || typeof value === 'string') return value
    throw this.unexpected(name, 'a string')
  }

  /** One that must be there. */
  text(name: string): string {
    return this.string(name) ?? this.missing(name, 'a string')
  }

  /** One that must be there, and not empty. */
  name(name: string): string {
    return this.string(name) || this.missing(name, 'a non-empty string')
  }

  boolean(name: string): boolean | undefined {
    const value = this.value(name)
    if (value === undefined || typeof value === 'boolean') return value
    throw this.unexpected(name, 'true or false')
  }

  number(name: string, range: Range = {}): number | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    if (typeof value === 'number' && inRange(value, range)) return value
    throw this.unexpected(name, `a number${rangeText(range)}`)
  }

  integer(name: string, range: Range = {}): number | undefined {
    const value = this.value(name)
    if (value === undefined) return undefined
    if (Number.isSafeInteger(value) && inRange(value as number, range)) return value as number
    throw this.unexpected(name, `an integer${rangeText(range)}`)
  }

  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const value = this.value(name)
    if (value === undefined || choices.includes(value as T)) return value as T | undefined
    throw this.unexpected(name, choices.map((choice) => `"${choice}"`).join(' or '))
  }

  /** Those of an object that stands for the value of a field. */
  with(name: string, object: JsonObject): Fields {
    return new Fields(object, this.where(name))
  }

  object(name: string): JsonObject | undefined {
    const value = this.value(name)
    if (value === undefined || isObject(value)) return value
    throw this.unexpected(name, 'an object')
  }

  /** Those of a field that is an object. */
  fields(name: string): Fields | undefined {
    const object = this.object(name)
    return object && this.with(name, object)
  }

  list(name: string): unknown[] | undefined {
    const value = this.value(name)
    if (value === undefined || Array.isArray(value)) return value
    throw this.unexpected(name, 'an array')
  }

  /** The items of a list of objects; none where it is absent. */
  fieldsList(name: string): Fields[] {
    return (this.list(name) ?? []).map((item, i) => {
      const path = `${this.where(name)}.${i}`
      if (isObject(item)) return new Fields(item, path)
      throw badInput(path, 'an object', item)
    })
  }

  private missing(name: string, expected: string): never {
    throw this.unexpected(name, expected)
  }
}

function inRange(value: number, { least = -Infinity, most = Infinity, above = false }: Range): boolean {
  return (above ? value > least : value >= least) && value <= most
}

function rangeText({ least, most, above }: Range): string {
  const bounds = [
    ...(least === undefined ? [] : [above ? `above ${least}` : `of at least ${least}`]),
    ...(most === undefined ? [] : [`of at most ${most}`]),
  ]
  return bounds.length > 0 ? ` ${bounds.join(' and ')}` : ''
}
