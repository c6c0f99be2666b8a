/** Sets of Unicode code points without surrogates: ascending ranges, both ends included, that neither touch nor overlap. */
export type CodePoints = readonly (readonly [first: number, last: number])[]

export const ANY: CodePoints = [
  [0, 0xd7ff],
  [0xe000, 0x10ffff],
]

export const NONE: CodePoints = []

/** The code points of `text`. */
export const of = (text: string): CodePoints =>
  union([...text].map((character): [number, number] => [character.codePointAt(0)!, character.codePointAt(0)!]))

/** Ranges in any order become a set; surrogates in them are dropped. */
export function union(ranges: CodePoints): CodePoints {
  const merged: [number, number][] = []
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = merged.at(-1)
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last)
    else merged.push([first, last])
  }
  return intersection(merged, ANY)
}

export function complement(set: CodePoints): CodePoints {
  const gaps: [number, number][] = []
  let from = 0
  for (const [first, last] of set) {
    if (from < first) gaps.push([from, first - 1])
    from = last + 1
  }
  gaps.push([from, 0x10ffff])
  return intersection(gaps, ANY)
}

export function intersection(a: CodePoints, b: CodePoints): CodePoints {
  const common: [number, number][] = []
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const first = Math.max(a[i]![0], b[j]![0])
    const last = Math.min(a[i]![1], b[j]![1])
    if (first <= last) common.push([first, last])
    if (a[i]![1] < b[j]![1]) i++
    else j++
  }
  return common
}

export const without = (a: CodePoints, b: CodePoints): CodePoints => intersection(a, complement(b))

/** Ranges of bytes, one per byte of the encoded form: every code point of a range of the same shape has its bytes in them. */
export type ByteRanges = readonly (readonly [first: number, last: number])[]

/** The UTF-8 forms of a set: the ranges are cut so that each part is a product of byte ranges. */
export function utf8(set: CodePoints): ByteRanges[] {
  const forms: ByteRanges[] = []
  for (const [first, last] of set) {
    let from = first
    for (const top of [0x7f, 0x7ff, 0xffff, 0x10ffff]) {
      if (from > top || from > last) continue
      const to = Math.min(last, top)
      cut(encode(from), encode(to), [], forms)
      from = to + 1
    }
  }
  return forms
}

/** Between two encodings of the same length. */
function cut(low: number[], high: number[], before: ByteRanges, forms: ByteRanges[]): void {
  const [a = 0, ...lows] = low
  const [b = 0, ...highs] = high
  if (lows.length === 0) {
    forms.push([...before, [a, b]])
    return
  }
  const isWhole = lows.every((byte) => byte === 0x80) && highs.every((byte) => byte === 0xbf)
  if (isWhole) forms.push([...before, [a, b], ...lows.map((): [number, number] => [0x80, 0xbf])])
  else if (a === b) cut(lows, highs, [...before, [a, a]], forms)
  else {
    const lowFits = lows.every((byte) => byte === 0x80)
    const highFits = highs.every((byte) => byte === 0xbf)
    const least = lows.map(() => 0x80)
    const most = lows.map(() => 0xbf)
    if (!lowFits) cut(lows, most, [...before, [a, a]], forms)
    const from = lowFits ? a : a + 1
    const to = highFits ? b : b - 1
    if (from <= to) cut([from, ...least], [to, ...most], before, forms)
    if (!highFits) cut(least, highs, [...before, [b, b]], forms)
  }
}

function encode(point: number): number[] {
  if (point < 0x80) return [point]
  if (point < 0x800) return [0xc0 | (point >> 6), 0x80 | (point & 63)]
  if (point < 0x10000) return [0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63)]
  return [0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63)]
}
