/** Checks of what callers hand in. `where` names the thing in the message, such as `messages[2].content`. */
import { M2Error } from '../errors'

export type JsonObject = Record<string, unknown>

/** Deeper than any real schema, shallower than the stack. */
const MAX_JSON_DEPTH = 200

function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (typeof value === 'object' && value !== null) return 'an object'
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`
  const text =
    typeof value === 'bigint' ? `${value}n` : typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** An error's message as one line, whatever was thrown. */
export function reasonOf(cause: unknown): string {
  return textOf(cause).replaceAll(/\s+/g, ' ').trim()
}

function textOf(cause: unknown): string {
  try {
    return String(cause instanceof Error ? cause.message : cause)
  } catch {
    return `a thrown ${typeof cause} without a text` // it need not be able to become one
  }
}

export function badInput(where: string, expected: string, found: unknown): M2Error {
  return new M2Error('BAD_INPUT', `${where}: expected ${expected}, found ${show(found)}`)
}

export function badOption(name: string, expected: string, found: unknown): M2Error {
  return new M2Error('BAD_OPTION', `${name}: expected ${expected}, found ${show(found)}`)
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function object(value: unknown, where: string, expected = 'an object'): JsonObject {
  if (!isObject(value)) throw badInput(where, expected, value)
  return value
}

export function string(value: unknown, where: string): string {
  if (typeof value !== 'string') throw badInput(where, 'a string', value)
  return value
}

export function optionalString(value: unknown, where: string): string | undefined {
  return value === undefined || value === null ? undefined : string(value, where)
}

export function nonEmptyString(value: unknown, where: string): string {
  if (typeof value !== 'string' || value === '') throw badInput(where, 'a non-empty string', value)
  return value
}

/** @throws M2Error BAD_INPUT unless `value` is JSON data: no functions, bigints or NaN, no cycles. */
export function checkJson(value: unknown, where: string, within: readonly unknown[] = []): void {
  if (typeof value === 'object' && value !== null) {
    if (within.includes(value))
      throw new M2Error('BAD_INPUT', `${where}: expected JSON data, found a circular reference`)
    if (within.length === MAX_JSON_DEPTH) {
      throw new M2Error('BAD_INPUT', `${where}: expected at most ${MAX_JSON_DEPTH} levels of nesting, found more`)
    }
    for (const item of Object.values(value)) if (item !== undefined) checkJson(item, where, [...within, value])
  } else if (
    typeof value === 'number'
      ? !Number.isFinite(value)
      : value !== null && !['string', 'boolean'].includes(typeof value)
  ) {
    throw badInput(where, 'JSON data', value)
  }
}
