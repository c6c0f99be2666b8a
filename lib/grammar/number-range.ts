/**
 * JSON numbers within bounds, as automata over their digits.
 *
 * Digits are read from the left and compared with those of both bounds: while a number has been as the bound so far, the next digit must not cross
 * it. Numbers have 15 digits at most, before and behind the point together: that many a double keeps apart, so what holds for the digits holds
 * for the value that is read back. There are no exponents, and no -0.
 */
import { type CodePoints, of, union } from './code-points'
import { character, choice, type Grammar, literal, NEVER, sequence, type Way } from './grammar'

export interface NumberRange {
  /** Least value. Default: -999999999999999. */
  min?: number
  /** Greatest value. Default: 999999999999999. */
  max?: number
  /** The bounds themselves are not allowed. */
  excludesMin?: boolean
  excludesMax?: boolean
  integers?: boolean
  /** Integers only: they are multiples of this, at most 1000. */
  multipleOf?: number
  /** Most digits behind the point. Default: as many as there is room for. */
  fractionDigits?: number
}

export const MAX_DIGITS = 15
export const MAX_MULTIPLE = 1000
const LIMIT = 10 ** MAX_DIGITS - 1

/** A bound as digits without leading zeros before the point and trailing ones behind it. */
interface Bound {
  readonly whole: string
  readonly fraction: string
  readonly isExcluded: boolean
}

/** The numbers of a range; `NEVER` when there are none. */
export function numbers(range: NumberRange): Grammar {
  const { excludesMin = false, excludesMax = false } = range
  const min = Math.max(range.min ?? -LIMIT, -LIMIT)
  const max = Math.min(range.max ?? LIMIT, LIMIT)
  const noMin = excludesMin && min === range.min
  const noMax = excludesMax && max === range.max
  if (min > max) return NEVER
  const parts: Grammar[] = []
  if (max >= 0) {
    const low = min < 0 ? bound(0, false) : bound(min, noMin)
    parts.push(digits(low, bound(max, noMax), range))
  }
  if (min < 0) {
    const low = max < 0 ? bound(-max, noMax) : bound(0, true)
    const negative = digits(low, bound(-min, noMin), range)
    if (negative !== NEVER) parts.push(sequence(literal('-'), negative))
  }
  const possible = parts.filter((part) => part !== NEVER)
  return possible.length === 0 ? NEVER : choice(...possible)
}

function bound(value: number, isExcluded: boolean): Bound {
  const [whole = '', fraction = ''] = decimal(value).split('.')
  return { whole, fraction, isExcluded }
}

/** A number that is not negative, without an exponent. */
function decimal(value: number): string {
  const [mantissa = '', exponent] = String(value).split('e')
  if (exponent === undefined) return mantissa
  const [whole = '', fraction = ''] = mantissa.split('.')
  return `0.${'0'.repeat(-Number(exponent) - 1)}${whole}${fraction}` // large ones are cut to LIMIT, which has none
}

/** Where a number stands: its digits so far, and whether they are those of a bound. */
interface Place {
  readonly at: number
  readonly tightLow: boolean
  readonly tightHigh: boolean
  readonly rest: number // of the division by multipleOf
}

function digits(low: Bound, high: Bound, range: NumberRange): Grammar {
  const nodes: Way[][] = [[]]
  const ends: number[] = []
  for (let length = low.whole.length; length <= high.whole.length; length++) {
    new Digits(nodes, ends, low, high, range, length).start()
  }
  const graph = { nodes, ends }
  return reaches(graph.nodes, ends) ? { kind: 'graph', graph } : NEVER
}

/** Numbers with `length` digits before the point. */
class Digits {
  private readonly ids = new Map<string, number>()
  private readonly tightLow: boolean
  private readonly tightHigh: boolean
  private readonly last: number

  constructor(
    private readonly nodes: Way[][],
    private readonly ends: number[],
    private readonly low: Bound,
    private readonly high: Bound,
    private readonly range: NumberRange,
    private readonly length: number,
  ) {
    this.tightLow = length === low.whole.length
    this.tightHigh = length === high.whole.length
    const { integers = false, fractionDigits = MAX_DIGITS } = range
    this.last = integers ? length : length + fractionDigits
  }

  start(): void {
    this.extend(0, { at: 0, tightLow: this.tightLow, tightHigh: this.tightHigh, rest: 0 })
  }

  private node(place: Place): number {
    const key = `${place.at} ${place.tightLow} ${place.tightHigh} ${place.rest}`
    let id = this.ids.get(key)
    if (id === undefined) {
      id = this.nodes.push([]) - 1
      this.ids.set(key, id)
      if (place.at >= this.length && this.mayEnd(place)) this.ends.push(id)
      if (place.at !== this.length) this.extend(id, place)
      else if (this.last > this.length && this.room(place)) this.point(id, place)
    }
    return id
  }

  private point(id: number, place: Place): void {
    const dot = this.nodes.push([]) - 1
    this.nodes[id]!.push({ part: literal('.'), to: dot })
    this.extend(dot, place)
  }

  private room({ at }: Place): boolean {
    return at < this.last && at < MAX_DIGITS
  }

  private extend(id: number, place: Place): void {
    if (place.at >= this.length && !this.room(place)) return
    const low = place.tightLow ? digitAt(this.low, this.length, place.at) : 0
    const high = place.tightHigh ? digitAt(this.high, this.length, place.at) : 9
    const least = place.at === 0 && this.length > 1 ? Math.max(1, low) : low
    const byTarget = new Map<number, CodePoints>()
    for (let digit = least; digit <= high; digit++) {
      const to = this.node({
        at: place.at + 1,
        tightLow: place.tightLow && digit === low,
        tightHigh: place.tightHigh && digit === high,
        rest: this.range.multipleOf ? (place.rest * 10 + digit) % this.range.multipleOf : 0,
      })
      byTarget.set(to, union([...(byTarget.get(to) ?? []), ...of(`${digit}`)]))
    }
    for (const [to, set] of byTarget) this.nodes[id]!.push({ part: character(set), to })
  }

  private mayEnd({ at, tightLow, tightHigh, rest }: Place): boolean {
    if (rest !== 0) return false
    const behind = (bound: Bound) => bound.fraction.slice(at - this.length).length > 0
    if (tightLow && (behind(this.low) || this.low.isExcluded)) return false
    return !(tightHigh && !behind(this.high) && this.high.isExcluded)
  }
}

/** The digit of a bound with `length` digits before its point; zeros follow its last one. */
function digitAt({ whole, fraction }: Bound, length: number, at: number): number {
  return Number((at < length ? whole[at] : fraction[at - length]) ?? 0)
}

function reaches(nodes: readonly (readonly Way[])[], ends: readonly number[]): boolean {
  const seen = new Set([0])
  for (const node of seen) for (const { to } of nodes[node]!) seen.add(to)
  return ends.some((end) => seen.has(end))
}
