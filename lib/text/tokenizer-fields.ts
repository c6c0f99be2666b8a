/** Typed access to the fields of a parsed JSON file, and the errors that name a field, what it holds and what was expected. */
import { M2Error } from '../errors'

export type Fields = Record<string, unknown>

export function fields(value: unknown, name: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw broken(name, value, 'an object')
}

export function array(value: unknown, name: string): unknown[] {
  if (Array.isArray(value)) return value
  throw broken(name, value, 'an array')
}

/** @throws M2Error UNSUPPORTED_MODEL when the field does not hold what this program can do. */
export function supported(holds: boolean, name: string, found: unknown, expected: string): void {
  if (!holds) throw unsupported(name, found, expected)
}

export function broken(name: string, found: unknown, expected: string): M2Error {
  return new M2Error('BAD_CHECKPOINT', `${name} is ${shown(found)}, expected ${expected}`)
}

export function unsupported(name: string, found: unknown, expected: string): M2Error {
  return new M2Error('UNSUPPORTED_MODEL', `${name} is ${shown(found)}, expected ${expected}`)
}

/** As JSON, on one line, not too long. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing'
  return text.length > 160 ? `${text.slice(0, 160)}...` : text
}
