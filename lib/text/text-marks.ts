import type { ControlTokens } from './markup'

const PRIVATE_USE = { first: 0xe000, last: 0xf8ff }

/** Replaces the characters that control tokens begin and end with by private-use ones that a text does not have, and back. */
export class TextMarks {
  private readonly marks = new Map<string, string>()
  private readonly originals = new Map<string, string>()

  /** `unused`: text whose characters are not taken as marks. */
  constructor(tokens: ControlTokens, unused: string) {
    const taken = new Set(unused.match(/[\ue000-\uf8ff]/g))
    let code = PRIVATE_USE.first
    for (const char of new Set(tokens.tokens.flatMap((token) => [token.slice(0, 1), token.slice(-1)]))) {
      while (taken.has(String.fromCharCode(code)) && code < PRIVATE_USE.last) code++
      const mark = String.fromCharCode(code++)
      this.marks.set(char, mark)
      this.originals.set(mark, char)
    }
  }

  readonly put = (text: string): string => replaceChars(text, this.marks)
  readonly remove = (text: string): string => replaceChars(text, this.originals)
}

function replaceChars(text: string, by: ReadonlyMap<string, string>): string {
  for (const [from, to] of by) text = text.replaceAll(from, to)
  return text
}
