/** Strict readings of option values: anything but a number of the stated range is refused before a model is loaded. */
import { InvalidArgumentError } from 'commander'

type Reading = (text: string) => number

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

/** A finite decimal number within [least, most]. */
export const decimal = (least: number, most = Number.MAX_VALUE): Reading => bounded('a number', least, most, () => true)

/** A whole number within [least, most]. */
export const whole = (least: number, most = Number.MAX_SAFE_INTEGER): Reading =>
  bounded('a whole number', least, most, Number.isSafeInteger)

function bounded(what: string, least: number, most: number, holds: (value: number) => boolean): Reading {
  const range = most >= Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`
  return (text) => {
    const value = DECIMAL.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most && holds(value)) return value
    throw new InvalidArgumentError(`Expected ${what} ${range}.`)
  }
}
