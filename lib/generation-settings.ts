/** Options of a generation with everything checked and every default filled in. */
import { randomBytes } from 'node:crypto'
import { M2Error } from './errors'
import { checkKnownKeys } from './known-keys'
import type { GenerationDefaults } from './model/generation-config'
import {
  badOption,
  checkKeys,
  optionalBoolean,
  optionalChoice,
  optionalInteger,
  optionalNumber,
  optionalString,
} from './option-values'
import type { ChatOptions, ConversationOptions, GenerateOptions, ScoreOptions, SendOptions } from './options'
import type { Sampling } from './sequence'
import type { KeepReasoning } from './text/chat'
import { checkJson } from './text/input'

/** What the options of a generation are checked against. */
export interface ModelFacts {
  vocabSize: number
  /** Tokens of a sequence, prompt included. */
  context: number
  /** Ids that end a turn. */
  eosTokenIds: readonly number[]
  generation: GenerationDefaults
  hasTokenizer: boolean
  /** Samples that run at the same time. */
  rows: number
}

export interface GenerateSettings {
  /** Infinity: what is left of the context. */
  maxTokens: number
  sampling: Sampling
  stop: string[]
  /** Ids that end the generation, those of the model included. */
  stopTokenIds: ReadonlySet<number>
  n: number
  /** Milliseconds; Infinity: none. */
  deadlineMs: number
  priority: number
  /** '': none. */
  cacheSalt: string
  signal: AbortSignal | undefined
}

export interface ChatSettings extends GenerateSettings {
  /** Those the model is offered; checked where they are rendered. */
  tools: ChatOptions['tools']
  toolChoice: NonNullable<ChatOptions['toolChoice']>
  parallelToolCalls: boolean
  responseFormat: ChatOptions['responseFormat']
  reasoning: 'split' | 'inline'
  /** Infinity: no limit. */
  maxReasoningTokens: number
  thinking: boolean
  /** '' when there is none. */
  prefill: string
  keepReasoning: KeepReasoning
}

/** Colder than this is greedy: logits divided by less overflow. */
const LEAST_TEMPERATURE = 1e-5

/** More alternatives than this cost more to hand over than the step takes. */
const MOST_LOGPROBS = 1000

// Records, so that a key that is missing here does not compile.
const GENERATE_KEYS: Record<keyof GenerateOptions, true> = {
  maxTokens: true,
  temperature: true,
  topP: true,
  topK: true,
  minP: true,
  repetitionPenalty: true,
  presencePenalty: true,
  frequencyPenalty: true,
  logitBias: true,
  seed: true,
  stop: true,
  stopTokenIds: true,
  ignoreEos: true,
  logprobs: true,
  n: true,
  deadlineMs: true,
  priority: true,
  cacheSalt: true,
  signal: true,
}
const CHAT_KEYS: Record<keyof ChatOptions, true> = {
  ...GENERATE_KEYS,
  tools: true,
  toolChoice: true,
  parallelToolCalls: true,
  reasoning: true,
  maxReasoningTokens: true,
  thinking: true,
  prefill: true,
  keepReasoning: true,
  responseFormat: true,
}

export const CONVERSATION_KEYS: Record<keyof ConversationOptions | 'n', true> = { ...CHAT_KEYS, messages: true }
const SCORE_KEYS: Record<keyof ScoreOptions, true> = { priority: true, cacheSalt: true, signal: true }
/** What is rendered once, at the beginning of a conversation, or decides how everything in it is. */
const OF_ALL_TURNS = ['tools', 'keepReasoning'] as const

/** @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found. */
export function checkGenerateOptions(options: GenerateOptions, model: ModelFacts): GenerateSettings {
  checkKeys('generate', options, GENERATE_KEYS)
  return generateSettings(options, model)
}

/** What decides whose turn it is, and who may share. */
export type SharedSettings = Pick<GenerateSettings, 'priority' | 'cacheSalt' | 'signal'>

/** @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found. */
export function checkScoreOptions(options: ScoreOptions): SharedSettings {
  checkKeys('score', options, SCORE_KEYS)
  return sharedSettings(options)
}

/** @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found; BAD_INPUT for tools. */
export function checkChatOptions(options: ChatOptions, model: ModelFacts): ChatSettings {
  checkKeys('chat', options, CHAT_KEYS)
  return chatSettings(options, model)
}

/** @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found. */
export function checkConversationOptions(options: ConversationOptions, model: ModelFacts): void {
  checkKeys('conversation', options, CONVERSATION_KEYS)
  turnSettings(options, model)
}

/**
 * Options of one turn over those of its conversation.
 * @throws {M2Error} BAD_OPTION naming the option, what was expected and what was found.
 */
export function checkSendOptions(
  options: SendOptions,
  conversation: ConversationOptions,
  model: ModelFacts,
): ChatSettings {
  checkKeys('send', options, CHAT_KEYS)
  for (const key of OF_ALL_TURNS) {
    const found = (options as ChatOptions)[key]
    if (found !== undefined) throw badOption(`send: ${key}`, 'it among the options of the conversation', found)
  }
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return turnSettings({ ...conversation, ...Object.fromEntries(given) }, model)
}

function turnSettings(options: ChatOptions, model: ModelFacts): ChatSettings {
  const { n = 1 } = options
  if (n !== 1) throw badOption('n', '1, as a conversation goes on in one way', n)
  return { ...chatSettings(options, model), tools: options.tools } // also where none may be called now: they are rendered
}

function chatSettings(options: ChatOptions, model: ModelFacts): ChatSettings {
  const toolChoice = checkToolChoice(options.toolChoice)
  const responseFormat = checkResponseFormat(options.responseFormat)
  const maxReasoningTokens = optionalInteger('maxReasoningTokens', options.maxReasoningTokens, { least: 0 }) ?? Infinity
  if (options.ignoreEos && (responseFormat || (toolChoice !== 'auto' && toolChoice !== 'none'))) {
    throw badOption('ignoreEos', 'it without responseFormat and without a tool that must be called', true)
  }
  return {
    ...generateSettings(options, model),
    tools: toolChoice === 'none' ? undefined : options.tools,
    toolChoice,
    parallelToolCalls: optionalBoolean('parallelToolCalls', options.parallelToolCalls) ?? true,
    responseFormat,
    reasoning: optionalChoice('reasoning', options.reasoning, ['split', 'inline']) ?? 'split',
    maxReasoningTokens,
    thinking: (optionalBoolean('thinking', options.thinking) ?? true) && maxReasoningTokens > 0,
    prefill: optionalString('prefill', options.prefill) ?? '',
    keepReasoning: optionalChoice('keepReasoning', options.keepReasoning, ['model', 'always', 'never']) ?? 'model',
  }
}

function checkToolChoice(option: unknown): ChatSettings['toolChoice'] {
  if (option === undefined) return 'auto'
  if (option === 'auto' || option === 'none' || option === 'required') return option
  const name = (option as { name?: unknown } | null)?.name
  if (typeof option !== 'object' || typeof name !== 'string') {
    throw badOption('toolChoice', '"auto", "none", "required" or { name }', option)
  }
  checkKnownKeys(option as object, ['name'], 'toolChoice')
  return { name }
}

/** Their contents are checked where grammars are made of them. */
const FORMATS = { json_schema: 'schema', json_object: undefined, regex: 'pattern' } as const

function checkResponseFormat(option: unknown): ChatOptions['responseFormat'] {
  if (option === undefined) return undefined
  if (typeof option !== 'object' || option === null) throw badOption('responseFormat', 'an object with a type', option)
  const { type } = option as { type?: unknown }
  if (!Object.hasOwn(FORMATS, String(type)))
    throw badOption('responseFormat.type', '"json_schema", "json_object" or "regex"', type)
  const content = FORMATS[type as keyof typeof FORMATS]
  checkKnownKeys(option, content ? ['type', content] : ['type'], 'responseFormat')
  const found = content && (option as Record<string, unknown>)[content]
  if (content === 'pattern' && typeof found !== 'string') throw badOption('responseFormat.pattern', 'a string', found)
  if (content === 'schema' && (typeof found !== 'object' || found === null)) {
    throw badOption('responseFormat.schema', 'a JSON schema object', found)
  }
  if (content === 'schema') checkJson(found, 'responseFormat.schema')
  return option as ChatOptions['responseFormat']
}

function generateSettings(options: GenerateOptions, model: ModelFacts): GenerateSettings {
  const stopTokenIds = checkStopTokenIds(options.stopTokenIds, model.vocabSize)
  const ignoreEos = optionalBoolean('ignoreEos', options.ignoreEos) ?? false
  return {
    maxTokens: optionalInteger('maxTokens', options.maxTokens, { least: 1 }) ?? Infinity,
    sampling: checkSampling(options, model),
    stop: checkStop(options.stop, model.hasTokenizer),
    stopTokenIds: new Set(ignoreEos ? stopTokenIds : [...model.eosTokenIds, ...stopTokenIds]),
    n: checkSamples(options.n, model.rows),
    deadlineMs: optionalNumber('deadlineMs', options.deadlineMs, { least: 0 }) ?? Infinity,
    ...sharedSettings(options),
  }
}

function sharedSettings(options: ScoreOptions): SharedSettings {
  return {
    priority: optionalNumber('priority', options.priority) ?? 0,
    cacheSalt: optionalString('cacheSalt', options.cacheSalt) ?? '',
    signal: checkSignal(options.signal),
  }
}

function checkSampling(options: GenerateOptions, { generation, vocabSize }: ModelFacts): Sampling {
  const temperature = optionalNumber('temperature', options.temperature, { least: 0 }) ?? generation.temperature
  const topK = optionalInteger('topK', options.topK, { least: 0 }) ?? generation.topK
  return {
    temperature: temperature < LEAST_TEMPERATURE ? 0 : temperature,
    topP: optionalNumber('topP', options.topP, { least: 0, most: 1, above: true }) ?? generation.topP,
    topK: Math.min(topK, vocabSize),
    minP: optionalNumber('minP', options.minP, { least: 0, most: 1 }) ?? generation.minP,
    repetitionPenalty:
      optionalNumber('repetitionPenalty', options.repetitionPenalty, { least: 0, above: true }) ??
      generation.repetitionPenalty,
    presencePenalty: optionalNumber('presencePenalty', options.presencePenalty) ?? 0,
    frequencyPenalty: optionalNumber('frequencyPenalty', options.frequencyPenalty) ?? 0,
    logprobs:
      optionalInteger('logprobs', options.logprobs, { least: 0, most: Math.min(MOST_LOGPROBS, vocabSize) }) ?? -1,
    ...checkSeed(options.seed),
    ...checkLogitBias(options.logitBias, vocabSize),
  }
}

function checkSeed(option: unknown): Pick<Sampling, 'seedLow' | 'seedHigh'> {
  const seed = optionalInteger('seed', option, { least: Number.MIN_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER })
  const bytes = seed === undefined ? randomBytes(8) : Buffer.alloc(8)
  if (seed !== undefined) bytes.writeBigInt64LE(BigInt(seed))
  return { seedLow: bytes.readInt32LE(0), seedHigh: bytes.readInt32LE(4) }
}

function checkLogitBias(option: unknown, vocabSize: number): Pick<Sampling, 'biasIds' | 'biasValues'> {
  if (option !== undefined && (typeof option !== 'object' || option === null || Array.isArray(option))) {
    throw badOption('logitBias', 'an object of token id to number', option)
  }
  const entries = Object.entries(option ?? {})
  for (const [id, value] of entries) {
    checkTokenId('logitBias', /^\d+$/.test(id) ? Number(id) : id, vocabSize)
    if (value === undefined) throw badOption(`logitBias[${id}]`, 'a number', value)
    optionalNumber(`logitBias[${id}]`, value)
  }
  return {
    biasIds: Int32Array.from(entries, ([id]) => Number(id)),
    biasValues: Float32Array.from(entries, ([, value]) => value as number),
  }
}

function checkStop(option: unknown, hasTokenizer: boolean): string[] {
  const stops: unknown[] = option === undefined ? [] : Array.isArray(option) ? option : [option]
  for (const stop of stops) {
    if (typeof stop !== 'string' || stop === '') throw badOption('stop', 'a non-empty string, or several', stop)
  }
  if (stops.length > 0 && !hasTokenizer) {
    throw new M2Error('BAD_OPTION', 'stop: expected stopTokenIds, found strings: this model has no tokenizer.json')
  }
  return stops as string[]
}

function checkStopTokenIds(option: unknown, vocabSize: number): number[] {
  if (option === undefined) return []
  if (!Array.isArray(option)) throw badOption('stopTokenIds', 'an array of token ids', option)
  for (const id of option) checkTokenId('stopTokenIds', id, vocabSize)
  return option as number[]
}

function checkTokenId(name: string, id: unknown, vocabSize: number): void {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabSize) return
  throw badOption(name, `token ids from 0 to ${vocabSize - 1}`, id)
}

function checkSamples(option: unknown, rows: number): number {
  const n = optionalInteger('n', option, { least: 1 }) ?? 1
  if (n <= rows) return n
  throw badOption('n', `at most ${rows}: samples run at the same time, within maxSequences and maxStepTokens`, n)
}

function checkSignal(signal: AbortSignal | undefined): AbortSignal | undefined {
  // By its looks: a signal may come from another realm, or a polyfill.
  if (signal === undefined) return undefined
  const methods = [signal?.addEventListener, signal?.removeEventListener]
  if (typeof signal?.aborted === 'boolean' && methods.every((one) => typeof one === 'function')) return signal
  throw badOption('signal', 'an AbortSignal', signal)
}
