/** Text to token ids and back, by a model's tokenizer.json. Encoding runs in the core (csrc/text); decoding is a table of bytes. */
import { M2Error } from '../errors'
import { checkKnownKeys } from '../known-keys'
import { asM2Error, type NativeEncoder, native } from '../native'
import { type AddedToken, inFile, readTokenizerFile, type TokenizerFile } from './tokenizer-file'

/** A part of a prompt: a template's own text (`special: true`), or a user's or a tool's, in which no control token is recognised. */
export interface TextSegment {
  readonly text: string
  readonly special: boolean
}

const UNUSED = 0
const PLAIN = 1
const CONTROL = 2

/** More ids than any text has. */
const ALL = 2 ** 31
/** Characters; in most texts tokens have less, on average. */
const LONG_TOKEN = 8
/** So many ids before a cut may be others than those of the whole text: far more than are seen. */
const NEAR_CUT = 64

export class Tokenizer {
  /** One more than the highest id. */
  readonly vocabSize: number
  /** Tokens that are found in text as a whole, control tokens among them. */
  readonly addedTokens: readonly AddedToken[]
  /** Ids below `vocabSize` without a token: a model must not sample them, and they cannot be decoded. */
  readonly unusedIds: readonly number[]

  readonly #encoder: NativeEncoder
  readonly #ids: ReadonlyMap<string, number>
  readonly #kinds: Uint8Array // per id: UNUSED, PLAIN or CONTROL

  /**
   * Reads `dir`/tokenizer.json, a byte-level BPE tokenizer.
   * @throws M2Error MODEL_NOT_FOUND without that file, BAD_CHECKPOINT when it is broken, UNSUPPORTED_MODEL when it is of another kind.
   * @example
   * const tokenizer = await Tokenizer.load('models/nano')
   * tokenizer.decode(tokenizer.encode('Hello')) // 'Hello'
   */
  static async load(dir: string): Promise<Tokenizer> {
    if (typeof dir !== 'string')
      throw new M2Error('BAD_INPUT', `dir is ${typeof dir}, expected the path of a model's folder`)
    return new Tokenizer(await readTokenizerFile(dir))
  }

  private constructor(file: TokenizerFile) {
    const core = native()
    this.#encoder = inFile(file.path, () => core.createEncoder(file.encoder))
    this.vocabSize = file.vocabSize
    this.addedTokens = file.addedTokens
    this.unusedIds = file.unusedIds
    this.#ids = new Map(file.addedTokens.map(({ content, id }) => [content, id]))
    this.#kinds = new Uint8Array(file.vocabSize).fill(PLAIN)
    for (const id of file.unusedIds) this.#kinds[id] = UNUSED
    for (const { id, special } of file.addedTokens) if (special) this.#kinds[id] = CONTROL
  }

  /**
   * The token ids of `text`; nothing is put in front or behind. A surrogate without its partner counts as U+FFFD.
   * @param options.special default true: added tokens in the text become their ids. With false all of it is plain text, as text from
   *   users and tools must be.
   * @throws M2Error BAD_INPUT when `text` is not a string.
   */
  encode(text: string, options: { special?: boolean } = {}): Int32Array {
    return this.encodeSegments([{ text, special: specialOf(options) }])
  }

  /**
   * The token ids of the joined text of all parts, where added tokens are recognised only within the parts that are `special`. Parts are
   * no borders otherwise: a word may begin in one and end in the next.
   * @param most where there are more ids, only the first `most` + 1 are made: a text that is too long is left early. Default: all.
   * @throws M2Error BAD_INPUT when a part's text is not a string.
   */
  encodeSegments(parts: readonly TextSegment[], most: number = ALL): Int32Array {
    let length = 0
    for (const { text } of parts) {
      if (typeof text !== 'string') throw new M2Error('BAD_INPUT', `text is ${typeName(text)}, expected a string`)
      length += text.length
    }
    // In most texts the beginning is enough to tell, without a copy of all that there is.
    const [enough, beginning] = [most + NEAR_CUT, (most + NEAR_CUT) * LONG_TOKEN]
    const ids = length > beginning ? this.#encode(parts, beginning, enough) : undefined
    return ids && ids.length > enough ? ids.slice(0, most + 1) : this.#encode(parts, length, most)
  }

  /**
   * The text of `ids`; bytes that are not UTF-8, such as half a character at the end, become U+FFFD.
   * @param options.special default true: control tokens are shown. With false they are left out; added tokens that are not special, such as
   *   `<think>`, stay.
   * @throws M2Error BAD_INPUT for an id that has no token.
   */
  decode(ids: ArrayLike<number>, options: { special?: boolean } = {}): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.bytesOfAll(ids, specialOf(options)))
  }

  /** The bytes of one token, which need not be whole characters. @throws M2Error BAD_INPUT for an id that has no token. */
  bytesOf(id: number): Uint8Array {
    return this.bytesOfAll([id], true)
  }

  /** How many bytes one token has. @throws M2Error BAD_INPUT for an id that has no token. */
  byteLengthOf(id: number): number {
    if (!this.#kinds[id]) throw this.#noToken(id)
    return this.#encoder.offsets[id + 1]! - this.#encoder.offsets[id]!
  }

  /** The bytes of all tokens in a row, without those of control tokens where `special` is false. @throws M2Error BAD_INPUT as `decode`. */
  bytesOfAll(ids: ArrayLike<number>, special: boolean): Uint8Array {
    if (typeof ids !== 'object' || ids === null || !Number.isInteger(ids.length)) {
      throw new M2Error('BAD_INPUT', `ids is ${typeName(ids)}, expected an array of token ids`)
    }
    const { bytes, offsets } = this.#encoder
    let size = 0
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!
      if (typeof id !== 'number' || !this.#kinds[id]) throw this.#noToken(id)
      size += offsets[id + 1]! - offsets[id]!
    }
    const all = new Uint8Array(size)
    let at = 0
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!
      if (!special && this.#kinds[id] === CONTROL) continue
      for (let from = offsets[id]!, to = offsets[id + 1]!; from < to; ) all[at++] = bytes[from++]!
    }
    return all.subarray(0, at)
  }

  /** The id of the added token `content`, such as `[e~[`; undefined when there is none. */
  idOf(content: string): number | undefined {
    return this.#ids.get(content)
  }

  /** Whether the token is a control token, which decoding hides with `special: false`. */
  isSpecial(id: number): boolean {
    return this.#kinds[id] === CONTROL
  }

  /** Of the first `length` characters of the parts. */
  #encode(parts: readonly TextSegment[], length: number, most: number): Int32Array {
    let joined = ''
    const ranges: number[] = []
    for (const { text, special } of parts) {
      const begin = joined.length
      joined += text.slice(0, length - begin)
      if (!special) continue
      if (ranges.at(-1) === begin) ranges.pop()
      else ranges.push(begin)
      ranges.push(joined.length)
    }
    try {
      return this.#encoder.encode(joined, Int32Array.from(ranges), most)
    } catch (error) {
      throw asM2Error(error)
    }
  }

  #noToken(found: unknown): M2Error {
    const id = typeof found === 'object' && found !== null ? 'an object' : found // which need not be able to become a string
    const hole = this.#kinds[id as number] === UNUSED ? ' that has a token' : ''
    return new M2Error(
      'BAD_INPUT',
      `token id ${String(id)}: expected an integer from 0 to ${this.vocabSize - 1}${hole}`,
    )
  }
}

/** The option that encoding and decoding share. @throws M2Error BAD_OPTION */
export function specialOf(options: { special?: boolean }): boolean {
  checkKnownKeys(options, ['special'], 'options')
  const { special = true } = options
  if (typeof special === 'boolean') return special
  throw new M2Error('BAD_OPTION', `special is ${typeName(special)}, expected true or false`)
}

function typeName(value: unknown): string {
  return value === null ? 'null' : `a value of type ${typeof value}`
}
