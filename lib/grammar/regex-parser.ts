/** Regular expressions in JavaScript's syntax, as trees over sets of code points. */
import { M2Error } from '../errors'
import { badInput } from '../text/input'
import { type CodePoints, complement, of, union } from './code-points'

export type Pattern =
  | { readonly kind: 'set'; readonly set: CodePoints }
  | { readonly kind: 'start' }
  | { readonly kind: 'end' }
  | { readonly kind: 'sequence'; readonly parts: readonly Pattern[] }
  | { readonly kind: 'choice'; readonly parts: readonly Pattern[] }
  | { readonly kind: 'repeat'; readonly part: Pattern; readonly min: number; readonly max: number }

/** Groups within groups. */
const MAX_DEPTH = 100

const DIGITS: CodePoints = [[0x30, 0x39]]
const WORDS = union([...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]])
const SPACES = of(
  '\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff',
)
const NO_LINE_END = complement(of('\n\r\u2028\u2029'))
const CLASSES: Record<string, CodePoints> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORDS,
  W: complement(WORDS),
  s: SPACES,
  S: complement(SPACES),
}
const CONTROLS: Record<string, string> = { t: '\t', n: '\n', v: '\v', f: '\f', r: '\r', 0: '\0' }

/** White space as JavaScript has it. */
export { SPACES }

/** @throws M2Error BAD_INPUT that names `where` and what is broken or not supported. */
export function parsePattern(pattern: string, where: string): Pattern {
  return new Parser(pattern, where, isUnicode(pattern, where)).whole()
}

/** Whether the pattern is sound with the flag u; else it is without: such as \- outside of a class, which is usual in schemas. */
function isUnicode(pattern: string, where: string): boolean {
  try {
    new RegExp(pattern, 'u')
    return true
  } catch (cause) {
    try {
      new RegExp(pattern)
      return false
    } catch {
      throw new M2Error('BAD_INPUT', `${where}: expected a regular expression, found ${(cause as Error).message}`, {
        cause,
      })
    }
  }
}

class Parser {
  private readonly text: string[]
  private at = 0
  private depth = 0

  constructor(
    pattern: string,
    private readonly where: string,
    private readonly isUnicode: boolean,
  ) {
    this.text = [...pattern]
  }

  whole(): Pattern {
    const pattern = this.choice()
    if (this.at < this.text.length) throw this.unsupported('a balanced pattern', this.text.slice(this.at).join(''))
    return pattern
  }

  private choice(): Pattern {
    const parts = [this.sequence()]
    while (this.takes('|')) parts.push(this.sequence())
    return parts.length === 1 ? parts[0]! : { kind: 'choice', parts }
  }

  private sequence(): Pattern {
    const parts: Pattern[] = []
    while (this.at < this.text.length && !this.sees('|') && !this.sees(')')) parts.push(this.repeated(this.atom()))
    return parts.length === 1 ? parts[0]! : { kind: 'sequence', parts }
  }

  private repeated(part: Pattern): Pattern {
    const counts = this.counts()
    if (!counts) return part
    this.takes('?') // lazy: the language is the same
    const [min, max] = counts
    return { kind: 'repeat', part, min, max }
  }

  private counts(): [min: number, max: number] | undefined {
    if (this.takes('*')) return [0, Number.POSITIVE_INFINITY]
    if (this.takes('+')) return [1, Number.POSITIVE_INFINITY]
    if (this.takes('?')) return [0, 1]
    const braces = this.matches(/^\{(\d+)(,(\d*))?\}/)
    if (!braces) return undefined
    const min = Number(braces[1])
    if (braces[2] === undefined) return [min, min]
    return [min, braces[3] ? Number(braces[3]) : Number.POSITIVE_INFINITY]
  }

  private atom(): Pattern {
    if (this.takes('(')) return this.group()
    if (this.takes('[')) return { kind: 'set', set: this.characterClass() }
    if (this.takes('^')) return { kind: 'start' }
    if (this.takes('$')) return { kind: 'end' }
    if (this.takes('.')) return { kind: 'set', set: NO_LINE_END }
    if (this.takes('\\')) {
      if (this.sees('b') || this.sees('B'))
        throw this.unsupported('a pattern without word boundaries', `\\${this.text[this.at]}`)
      const reference = this.matches(/^([1-9]\d*|k<[^>]*>)/)
      if (reference) throw this.unsupported('a pattern without references to groups', `\\${reference[0]}`)
      return { kind: 'set', set: this.escape() }
    }
    return { kind: 'set', set: of(this.take()) }
  }

  private group(): Pattern {
    const look = this.matches(/^\?(<?[=!])/)
    if (look) throw this.unsupported('a pattern without lookaround', `(${look[0]}`)
    if (!this.matches(/^\?(:|<[^>]*>)/) && this.sees('?')) throw this.unsupported('a group without flags', '(?')
    if (++this.depth > MAX_DEPTH) throw this.unsupported(`at most ${MAX_DEPTH} groups within each other`, 'more')
    const inner = this.choice()
    this.depth--
    this.takes(')')
    return inner
  }

  private characterClass(): CodePoints {
    const isNegated = this.takes('^')
    const parts: (readonly [number, number])[] = []
    while (!this.takes(']')) {
      const from = this.classMember()
      if (this.sees('-') && this.text[this.at + 1] !== ']') {
        this.take()
        const to = this.classMember()
        const isRange = isSingle(from) && isSingle(to)
        parts.push(...(isRange ? [[from[0]![0], to[0]![0]] as const] : [...from, ...of('-'), ...to]))
      } else parts.push(...from)
    }
    const set = union(parts)
    return isNegated ? complement(set) : set
  }

  private classMember(): CodePoints {
    if (!this.takes('\\')) return of(this.take())
    if (this.takes('b')) return of('\b')
    return this.escape()
  }

  /** Behind a backslash. */
  private escape(): CodePoints {
    // Without the flag u these mean what nobody means: \p{L} is the text p{L}, \07 an octal number.
    const legacy = this.isUnicode ? undefined : this.matches(/^(?:[pPu]\{|c(?![a-zA-Z])|0\d|[1-9])/)
    if (legacy) throw this.unsupported('a pattern that is sound with the flag u, as it has this', `\\${legacy[0]}`)
    const property = this.matches(/^[pP]\{[^}]*\}/)
    if (property) return propertySet(`\\${property[0]}`)
    const code = this.matches(/^(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]+)\})/)
    if (code) return this.codePoint(Number.parseInt(code[1] ?? code[2] ?? code[3]!, 16))
    const control = this.matches(/^c([a-zA-Z])/)
    if (control) return of(String.fromCharCode(control[1]!.charCodeAt(0) % 32))
    const letter = this.take()
    if (Object.hasOwn(CLASSES, letter)) return CLASSES[letter]!
    return of(Object.hasOwn(CONTROLS, letter) ? CONTROLS[letter]! : letter)
  }

  private codePoint(code: number): CodePoints {
    const isHigh = code >= 0xd800 && code < 0xdc00
    const low = isHigh ? this.matches(/^\\u(d[c-f][0-9a-f]{2})/i) : undefined
    const point = low ? 0x10000 + (code - 0xd800) * 0x400 + (Number.parseInt(low[1]!, 16) - 0xdc00) : code
    return union([[point, point]])
  }

  private sees(character: string): boolean {
    return this.text[this.at] === character
  }

  private takes(character: string): boolean {
    if (!this.sees(character)) return false
    this.at++
    return true
  }

  private take(): string {
    return this.text[this.at++]!
  }

  /** Takes what a pattern anchored at the start matches. */
  private matches(pattern: RegExp): RegExpMatchArray | undefined {
    const found =
      this.text
        .slice(this.at, this.at + 80)
        .join('')
        .match(pattern) ?? undefined
    if (found) this.at += [...found[0]].length
    return found
  }

  private unsupported(expected: string, found: string): M2Error {
    return badInput(this.where, expected, found)
  }
}

const isSingle = (set: CodePoints): boolean => set.length === 1 && set[0]![0] === set[0]![1]

const properties = new Map<string, CodePoints>()

/** The code points of a Unicode property, which JavaScript is asked for one by one. */
function propertySet(property: string): CodePoints {
  let set = properties.get(property)
  if (!set) {
    const pattern = new RegExp(`^${property}$`, 'u')
    const ranges: [number, number][] = []
    for (let point = 0; point <= 0x10ffff; point++) {
      if (!pattern.test(String.fromCodePoint(point))) continue
      const last = ranges.at(-1)
      if (last && last[1] === point - 1) last[1] = point
      else ranges.push([point, point])
    }
    set = union(ranges)
    properties.set(property, set)
  }
  return set
}
