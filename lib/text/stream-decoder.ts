/** Ids to text as they are sampled. What is given out is whole characters; bytes of an unfinished one wait for the next ids. */
import { specialOf, type Tokenizer } from './tokenizer'

export class StreamDecoder {
  readonly #tokenizer: Tokenizer
  readonly #special: boolean
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

  /** @param options.special default true: control tokens are shown; with false they are left out, as by {@link Tokenizer.decode}. */
  constructor(tokenizer: Tokenizer, options: { special?: boolean } = {}) {
    this.#tokenizer = tokenizer
    this.#special = specialOf(options)
  }

  /**
   * The text that is complete with `ids`. All texts, and that of `end()`, join to what `decode` gives for all ids.
   * @throws M2Error BAD_INPUT for an id that has no token.
   */
  push(ids: ArrayLike<number>): string {
    return this.#utf8.decode(this.#tokenizer.bytesOfAll(ids, this.#special), { stream: true })
  }

  /** What is left: U+FFFD for an unfinished character, else nothing. The decoder then begins anew. */
  end(): string {
    return this.#utf8.decode()
  }
}
