/** What callers give as a raw prompt, text or token ids, as checked ids. */

import { M2Error } from './errors'
import type { ModelFacts } from './generation-settings'
import { shown } from './option-values'
import type { Tokenizer } from './text/tokenizer'

/** @throws {M2Error} BAD_INPUT naming the prompt or the id that is not sound; CONTEXT_LENGTH_EXCEEDED. */
export function promptIds(prompt: unknown, tokenizer: Tokenizer | null, model: ModelFacts): Int32Array {
  if (typeof prompt === 'string') return checkLength(encode(prompt, tokenizer, model.context), model.context)
  if (!isArrayLike(prompt)) throw badPrompt('a string or an array of token ids', shown(prompt))
  return checkedIds('prompt', checkLength(prompt, model.context), model.vocabSize)
}

/** @throws {M2Error} BAD_INPUT naming the ids or the one that is not sound; CONTEXT_LENGTH_EXCEEDED. */
export function idsToScore(given: unknown, { context, vocabSize }: ModelFacts): Int32Array {
  if (!isArrayLike(given) || given.length === 0) {
    throw new M2Error('BAD_INPUT', `ids: expected an array of at least one token id, found ${shown(given)}`)
  }
  if (given.length > context) {
    const expected = `expected at most ${context} tokens, the context`
    throw new M2Error('CONTEXT_LENGTH_EXCEEDED', `ids: ${expected}, found ${given.length}`)
  }
  return checkedIds('ids', given, vocabSize)
}

function checkedIds(name: string, given: ArrayLike<unknown>, vocabSize: number): Int32Array {
  const ids = new Int32Array(given.length)
  for (let i = 0; i < ids.length; i++) {
    const id = given[i]
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      const expected = `a token id from 0 to ${vocabSize - 1}`
      throw new M2Error('BAD_INPUT', `${name}[${i}]: expected ${expected}, found ${shown(id)}`)
    }
    ids[i] = id as number
  }
  return ids
}

/** The prompt, if it has a token and leaves room for one more. @throws {M2Error} BAD_INPUT or CONTEXT_LENGTH_EXCEEDED. */
export function checkLength<T extends ArrayLike<unknown>>(prompt: T, context: number): T {
  if (prompt.length === 0) throw badPrompt('at least one token', 'none')
  if (prompt.length < context) return prompt
  const most = mostCounted(context)
  const expected = `expected at most ${context - 1} tokens, one less than the context`
  const found = prompt.length > most ? `more than ${most}` : prompt.length
  throw new M2Error('CONTEXT_LENGTH_EXCEEDED', `prompt: ${expected}, found ${found}`)
}

/** Up to how many tokens a prompt that is too long is counted. Encoding leaves the rest, as it holds up everything else that runs. */
export const mostCounted = (context: number) => context + 2 ** 15

function encode(text: string, tokenizer: Tokenizer | null, context: number): Int32Array {
  if (tokenizer) return tokenizer.encodeSegments([{ text, special: true }], mostCounted(context))
  throw badPrompt('token ids, as this model has no tokenizer.json', 'a string')
}

function isArrayLike(value: unknown): value is ArrayLike<unknown> {
  return typeof value === 'object' && value !== null && Number.isSafeInteger((value as ArrayLike<unknown>).length)
}

function badPrompt(expected: string, found: string): M2Error {
  return new M2Error('BAD_INPUT', `prompt: expected ${expected}, found ${found}`)
}
