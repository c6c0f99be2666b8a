/** Strict readings of option values: anything but a number of the stated range is refused before a model is loaded. */
import { InvalidArgumentError } from 'commander'

type Reading = (text: string) => number

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

/** A finite decimal number within [least, most]. */
export const decimal = (least: number, most = Infinity): Reading => bounded('a number', least, most, Number.isFinite)

/** A whole number within [least, most]. */
export const whole = (least = -Infinity, most = Infinity): Reading =>
  bounded('a whole number', least, most, Number.isSafeInteger)

function bounded(what: string, least: number, most: number, holds: (value: number) => boolean): Reading {
  const limits = [least > -Infinity ? ` of at least ${least}` : '', most < Infinity ? ` and at most ${most}` : '']
  return (text) => {
    const value = DECIMAL.test(text) ? Number(text) : Number.NaN
    if (value >= least && value <= most && holds(value)) return value
    throw new InvalidArgumentError(`Expected ${what}${limits.join('')}.`)
  }
}
