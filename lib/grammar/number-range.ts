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

/** Where a number stands. */
interface Place {
  /** Digits so far. */
  readonly at: number
  /** Of them behind the point; where that makes no difference 1 for all. */
  readonly fraction: number
  /** They are those of a bound. */
  readonly tightLow: boolean
  readonly tightHigh: boolean
  /** Of the division by `multipleOf`. */
  readonly rest: number
}

function digits(low: Bound, high: Bound, range: NumberRange): Grammar {
  const graph = { nodes: [[]] as Way[][], ends: [] as number[] }
  const [least, most] = [low.whole.length, high.whole.length]
  for (let from = least; from <= most; ) {
    const tightLow = from === least && !isLeastOfItsLength(low)
    const tightHigh = (length: number) => length === most && !isGreatestOfItsLength(high, range)
    let to = from
    // Lengths at which no bound is near are one automaton; a number of one digit is by itself because it may be 0.
    if (!tightLow && from > 1 && !tightHigh(from)) while (to < most && !tightHigh(to + 1)) to++
    new Digits(graph, low, high, range, from, to).start(tightLow, tightHigh(from))
    from = to + 1
  }
  return reaches(graph.nodes, graph.ends) ? { kind: 'graph', graph } : NEVER
}

const isLeastOfItsLength = ({ whole, fraction, isExcluded }: Bound) =>
  /^(0|10+)$/.test(whole) && fraction === '' && !isExcluded

const isGreatestOfItsLength = ({ whole, fraction, isExcluded }: Bound, range: NumberRange) =>
  /^9+$/.test(whole) && fraction === '' && !isExcluded && (!!range.integers || whole.length === MAX_DIGITS)

/** Numbers with `least` to `most` digits before the point; both are the same where a bound is near. */
class Digits {
  private readonly ids = new Map<string, number>()
  private readonly mostBehind: number

  constructor(
    private readonly graph: { nodes: Way[][]; ends: number[] },
    private readonly low: Bound,
    private readonly high: Bound,
    private readonly range: NumberRange,
    private readonly least: number,
    private readonly most: number,
  ) {
    this.mostBehind = range.integers ? 0 : (range.fractionDigits ?? MAX_DIGITS)
  }

  start(tightLow: boolean, tightHigh: boolean): void {
    this.extend(0, { at: 0, fraction: 0, tightLow, tightHigh, rest: 0 }, false)
  }

  private node(place: Place): number {
    const key = Object.values(place).join()
    let id = this.ids.get(key)
    if (id === undefined) {
      id = this.graph.nodes.push([]) - 1
      this.ids.set(key, id)
      const isWhole = place.fraction === 0 && place.at >= this.least
      if ((isWhole || place.fraction > 0) && this.mayEnd(place)) this.graph.ends.push(id)
      if (place.fraction === 0 && place.at < this.most) this.extend(id, place, false)
      if (isWhole && this.hasRoom(place)) this.point(id, place)
      if (place.fraction > 0 && this.hasRoom(place)) this.extend(id, place, true)
    }
    return id
  }

  private hasRoom({ at, fraction }: Place): boolean {
    return at < MAX_DIGITS && fraction < this.mostBehind
  }

  private point(id: number, place: Place): void {
    const dot = this.graph.nodes.push([]) - 1
    this.graph.nodes[id]!.push({ part: literal('.'), to: dot })
    this.extend(dot, place, true)
  }

  private extend(id: number, place: Place, isBehind: boolean): void {
    const low = place.tightLow ? digitAt(this.low, place, isBehind) : 0
    const high = place.tightHigh ? digitAt(this.high, place, isBehind) : 9
    const isFirst = place.at === 0 && this.least > 1
    const byTarget = new Map<number, CodePoints>()
    for (let digit = isFirst ? Math.max(1, low) : low; digit <= high; digit++) {
      const to = this.node(this.behind(place, digit, isBehind, digit === low, digit === high))
      byTarget.set(to, union([...(byTarget.get(to) ?? []), ...of(`${digit}`)]))
    }
    for (const [to, set] of byTarget) this.graph.nodes[id]!.push({ part: character(set), to })
  }

  private behind(place: Place, digit: number, isBehind: boolean, isLow: boolean, isHigh: boolean): Place {
    const { multipleOf, fractionDigits } = this.range
    const tightLow = place.tightLow && isLow
    const tightHigh = place.tightHigh && isHigh
    const counts = tightLow || tightHigh || fractionDigits !== undefined
    return {
      at: place.at + 1,
      fraction: isBehind ? (counts ? place.fraction + 1 : 1) : 0,
      tightLow,
      tightHigh,
      rest: multipleOf ? (place.rest * 10 + digit) % multipleOf : 0,
    }
  }

  private mayEnd({ fraction, tightLow, tightHigh, rest }: Place): boolean {
    const goesOn = (bound: Bound) => bound.fraction.length > fraction
    if (rest !== 0) return false
    if (tightLow && (goesOn(this.low) || this.low.isExcluded)) return false
    return !(tightHigh && !goesOn(this.high) && this.high.isExcluded)
  }
}

/** The next digit of a bound; zeros follow its last one. */
function digitAt(bound: Bound, { at, fraction }: Place, isBehind: boolean): number {
  return Number((isBehind ? bound.fraction[fraction] : bound.whole[at]) ?? 0)
}

function reaches(nodes: readonly (readonly Way[])[], ends: readonly number[]): boolean {
  const seen = new Set([0])
  for (const node of seen) for (const { to } of nodes[node]!) seen.add(to)
  return ends.some((end) => seen.has(end))
}
