/** POST /tokenize and /detokenize, in the shape that vLLM gave them. */
import type { Engine } from '../engine'
import { M2Error } from '../errors'
import { badInput, type JsonObject } from '../text/input'
import type { ChatMessage } from '../text/messages'
import type { Tokenizer } from '../text/tokenizer'
import type { ToolDefinition } from '../text/tools'
import { Fields } from './fields'

/** More would hold up what else runs: encoding them, and writing them as JSON. */
const MOST_TOKENS = 2 ** 19

/** Ids of `prompt` (or `text`), or of the prompt that `messages` and `tools` become. Nothing is put in front: `add_special_tokens` changes nothing. */
export function tokenize(engine: Engine, body: JsonObject): JsonObject {
  const tokens = Array.from(encode(new Fields(body), engine))
  return { count: tokens.length, max_model_len: engine.model.context, tokens }
}

export function detokenize(engine: Engine, body: JsonObject): JsonObject {
  const tokens = new Fields(body).list('tokens')
  if (!tokens) throw badInput('tokens', 'an array of token ids', undefined)
  const text = tokenizerOf(engine).decode(tokens as number[])
  return { text, prompt: text }
}

function encode(fields: Fields, engine: Engine): Int32Array {
  fields.boolean('add_special_tokens')
  const messages = fields.list('messages')
  if (messages) {
    return engine.encodeChat(messages as ChatMessage[], { tools: fields.list('tools') as ToolDefinition[] | undefined })
  }
  const text = fields.string('text') ?? fields.string('prompt')
  if (text === undefined) throw badInput('text', 'a string, or messages in its place', undefined)
  const ids = tokenizerOf(engine).encodeSegments([{ text, special: true }], MOST_TOKENS)
  if (ids.length <= MOST_TOKENS) return ids
  throw new M2Error('BAD_INPUT', `text: expected at most ${MOST_TOKENS} tokens, found more`)
}

function tokenizerOf({ tokenizer }: Engine): Tokenizer {
  if (tokenizer) return tokenizer
  throw new M2Error('BAD_INPUT', 'text: expected a model with a tokenizer.json, found none')
}
