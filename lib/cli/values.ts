/** Strict readings of option values: anything but a number of the stated range is refused before a model is loaded. */
import { InvalidArgumentError } from 'commander'

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

interface Range {
  least?: number
  most?: number
  /** The least value itself is not allowed. */
  above?: boolean
}

/** A finite decimal number. */
export const decimal = (range: Range) => reading('a number', range, Number.isFinite)

/** A whole number. */
export const whole = (range: Range = {}) => reading('a whole number', range, Number.isSafeInteger)

function reading(what: string, range: Range, holds: (value: number) => boolean): (text: string) => number {
  const { least = -Infinity, most = Infinity, above = false } = range
  const low = least === -Infinity ? '' : above ? ` above ${least}` : ` of at least ${least}`
  const high = most === Infinity ? '' : ` and at most ${most}`
  return (text) => {
    const value = DECIMAL.test(text) ? Number(text) : Number.NaN
    if ((above ? value > least : value >= least) && value <= most && holds(value)) return value
    throw new InvalidArgumentError(`Expected ${what}${low}${high}.`)
  }
}

/** Any text but none, added to what the option was given before. */
export function nonEmpty(text: string, before: string[] = []): string[] {
  if (text === '') throw new InvalidArgumentError('Expected some text.')
  return [...before, text]
}
