/** The fields that OpenAI's APIs share, and what they are to the engine, which checks them. */
import { M2Error } from '../../errors'
import type { GenerateOptions } from '../../options'
import type { Fields } from '../fields'

/** Each field and its option. Not OpenAI's: those from top_k on. */
const OPTIONS: Record<string, keyof GenerateOptions> = {
  max_tokens: 'maxTokens',
  temperature: 'temperature',
  top_p: 'topP',
  n: 'n',
  stop: 'stop',
  seed: 'seed',
  presence_penalty: 'presencePenalty',
  frequency_penalty: 'frequencyPenalty',
  logit_bias: 'logitBias',
  top_k: 'topK',
  min_p: 'minP',
  repetition_penalty: 'repetitionPenalty',
  stop_token_ids: 'stopTokenIds',
  ignore_eos: 'ignoreEos',
  priority: 'priority',
  cache_salt: 'cacheSalt',
}

const NAMES: Record<string, string> = {
  ...Object.fromEntries(Object.entries(OPTIONS).map(([field, option]) => [option, field])),
  toolChoice: 'tool_choice',
  maxReasoningTokens: 'max_reasoning_tokens',
  keepReasoning: 'keep_reasoning',
  responseFormat: 'response_format',
}

export function generateOptions(fields: Fields): GenerateOptions {
  return Object.fromEntries(Object.entries(OPTIONS).map(([field, option]) => [option, fields.value(field)]))
}

/** An error of the engine in this API's names: `maxTokens: expected ...` is about `max_tokens`. */
export function inFieldNames(message: string): string {
  return message.replace(/^[a-z]\w*(?=[:.[])/i, (name) => (Object.hasOwn(NAMES, name) ? NAMES[name]! : name))
}

/** @throws {M2Error} BAD_OPTION for a field that would change the answer, and does not here. */
export function refuse(fields: Fields, names: Record<string, string>): void {
  for (const [name, reason] of Object.entries(names)) {
    if (fields.value(name) !== undefined) throw new M2Error('BAD_OPTION', `${name}: not supported; ${reason}`)
  }
}

/** What a stream is asked to tell besides the answer. */
export function includesUsage(fields: Fields): boolean {
  return fields.fields('stream_options')?.boolean('include_usage') ?? false
}
