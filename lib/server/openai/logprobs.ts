/** Log probabilities in the two shapes that OpenAI's APIs have for them. All generated tokens are there, those of thinking and of markup too. */
import type { Result, TokenLogprob } from '../../generation'
import type { JsonObject } from '../../text/input'
import type { Tokenizer } from '../../text/tokenizer'

type Logprobs = NonNullable<Result['logprobs']>

/** JSON has no infinity. */
const LEAST = -9999

/** chat.completions */
export function chatLogprobs(logprobs: Logprobs, tokenizer: Tokenizer | null): JsonObject {
  const entry = ({ id, logprob }: TokenLogprob) => ({
    token: tokenText(id, tokenizer),
    logprob: Math.max(logprob, LEAST),
    bytes: tokenizer ? Array.from(tokenizer.bytesOf(id)) : null,
  })
  return { content: logprobs.map((one) => ({ ...entry(one), top_logprobs: one.top.map(entry) })), refusal: null }
}

/** completions @param offset where in the text of the choice the first token begins. */
export function textLogprobs(logprobs: Logprobs, tokenizer: Tokenizer | null, offset: number) {
  const tokens = logprobs.map(({ id }) => tokenText(id, tokenizer))
  const text_offset: number[] = []
  let at = offset
  for (const token of tokens) {
    text_offset.push(at)
    at += token.length
  }
  const top = ({ top }: Logprobs[number]) =>
    Object.fromEntries(top.map(({ id, logprob }) => [tokenText(id, tokenizer), Math.max(logprob, LEAST)]))
  return {
    tokens,
    token_logprobs: logprobs.map(({ logprob }) => Math.max(logprob, LEAST)),
    top_logprobs: logprobs.map(top),
    text_offset,
  }
}

/** A token of half a character has U+FFFD in it. */
export function tokenText(id: number, tokenizer: Tokenizer | null): string {
  return tokenizer ? tokenizer.decode([id]) : `token_id:${id}`
}
