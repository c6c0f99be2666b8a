/** Checks of single option values. Each returns the value, undefined where it was left out, or throws BAD_OPTION naming option, expectation and value. */
import { M2Error } from './errors'
import { checkKnownKeys } from './known-keys'

interface Range {
  /** Default: no limit. */
  least?: number
  most?: number
  /** The least value itself is not allowed. */
  above?: boolean
}

export function badOption(name: string, expected: string, found: unknown): M2Error {
  return new M2Error('BAD_OPTION', `${name}: expected ${expected}, found ${shown(found)}`)
}

/** A value in one short line. */
export function shown(value: unknown): string {
  if (typeof value === 'function' || typeof value === 'symbol') return `a ${typeof value}`
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number') return String(value) // NaN and Infinity, which JSON does not have
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty array' : 'an array'
  if (typeof value === 'object' && value !== null) return 'an object'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

export function optionalNumber(name: string, value: unknown, range: Range = {}): number | undefined {
  if (value === undefined) return undefined
  // The core computes in float32: what is infinite or zero there is so here.
  if (typeof value === 'number' && Number.isFinite(Math.fround(value)) && inRange(Math.fround(value), range))
    return value
  throw badOption(name, `a number${rangeText(range)}`, value)
}

export function optionalInteger(name: string, value: unknown, range: Range = {}): number | undefined {
  if (value === undefined) return undefined
  if (Number.isSafeInteger(value) && inRange(value as number, range)) return value as number
  throw badOption(name, `an integer${rangeText(range)}`, value)
}

export function optionalBoolean(name: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value
  throw badOption(name, 'true or false', value)
}

export function optionalString(name: string, value: unknown): string | undefined {
  if (value === undefined || typeof value === 'string') return value
  throw badOption(name, 'a string', value)
}

export function optionalChoice<T extends string>(name: string, value: unknown, choices: readonly T[]): T | undefined {
  if (value === undefined || choices.includes(value as T)) return value as T | undefined
  const quoted = choices.map((choice) => `"${choice}"`)
  const list = quoted.length > 1 ? `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}` : quoted[0]!
  throw badOption(name, list, value)
}

export function optionalFunction<T>(name: string, value: T): T {
  if (value === undefined || typeof value === 'function') return value
  throw badOption(name, 'a function', value)
}

/** @throws {M2Error} BAD_OPTION for what is no object, and for the first key that is not known. */
export function checkKeys(call: string, options: unknown, keys: Record<string, true>): void {
  if (typeof options !== 'object' || options === null) {
    throw badOption(`${call}: options`, 'an object', options)
  }
  checkKnownKeys(options, Object.keys(keys), call)
}

function inRange(value: number, { least = -Infinity, most = Infinity, above = false }: Range): boolean {
  return (above ? value > least : value >= least) && value <= most
}

function rangeText({ least, most, above }: Range): string {
  const bounds = [
    least === undefined ? '' : above ? ` above ${least}` : ` of at least ${least}`,
    most === undefined ? '' : least === undefined ? ` of at most ${most}` : ` and at most ${most}`,
  ]
  return bounds.join('')
}
