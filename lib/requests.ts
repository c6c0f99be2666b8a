/** From what callers ask to what is run: the prompt's ids, and how the sampled ones become text. */

import type { AnswerGrammars } from './answer-grammars'
import { acceptedIds, GrammarConstraint, maskWithout } from './constraint'
import { M2Error } from './errors'
import {
  type ChatSettings,
  checkChatOptions,
  checkGenerateOptions,
  type GenerateSettings,
  type ModelFacts,
} from './generation-settings'
import { badOption } from './option-values'
import type { ChatOptions, GenerateOptions } from './options'
import { OutputText } from './output-text'
import { checkLength, mostCounted, promptIds } from './prompt'
import type { ForcedIds } from './sample'
import type { Sampling } from './sequence'
import { CALLS, CALLS_END, type Segment, THINK_END, THINKING_CLOSE, THINKING_OPEN } from './text/markup'
import type { ChatMessage } from './text/messages'
import type { ChatTemplate } from './text/template'
import type { Tokenizer } from './text/tokenizer'
import { joinIds } from './text/transcript'

/** The parts of a loaded model that requests are made of. */
export interface TextModel {
  tokenizer: Tokenizer | null
  template: ChatTemplate | null
  /** Null without a tokenizer. */
  grammars: AnswerGrammars | null
  facts: ModelFacts
}

/** Those of a model that can chat. */
export interface ChatModel {
  tokenizer: Tokenizer
  template: ChatTemplate
  grammars: AnswerGrammars
  facts: ModelFacts
}

/** A checked request. */
export interface Prepared {
  prompt: Int32Array
  settings: GenerateSettings
  /** A way to text for each sample; null without a tokenizer. */
  newText(): OutputText | null
  /** The answer's beginning, when it is part of the prompt. */
  prefill?: string
  forced?: ForcedIds
  /** What each sample's ids must follow. */
  newConstraint?(): GrammarConstraint
}

/** @throws {M2Error} BAD_OPTION, BAD_INPUT, CONTEXT_LENGTH_EXCEEDED */
export function prepareGenerate(model: TextModel, prompt: unknown, options: GenerateOptions): Prepared {
  const { tokenizer, facts } = model
  const settings = checkGenerateOptions(options, facts)
  const newText = () => tokenizer && new OutputText(tokenizer, settings.stop)
  return { prompt: promptIds(prompt, tokenizer, facts), settings, newText }
}

/** @throws {M2Error} BAD_INPUT when there is no text. */
export function chatModel({ tokenizer, template, grammars, facts }: TextModel): ChatModel {
  if (tokenizer && template && grammars) return { tokenizer, template, grammars, facts }
  throw new M2Error('BAD_INPUT', 'chat: expected a model with a tokenizer.json, found none; generate takes token ids')
}

/** @throws {M2Error} BAD_OPTION, BAD_INPUT, CONTEXT_LENGTH_EXCEEDED */
export function prepareChat(textModel: TextModel, messages: readonly ChatMessage[], options: ChatOptions): Prepared {
  const model = chatModel(textModel)
  const settings = checkChatOptions(options, model.facts)
  const { tools, keepReasoning } = settings
  return prepareAnswer(model, [], model.template.render(messages, { tools, keepReasoning }), settings)
}

/**
 * The model's answer to ids, if there are some already, and the segments behind them, which end with the generation prompt.
 * @throws {M2Error} BAD_INPUT, CONTEXT_LENGTH_EXCEEDED
 */
export function prepareAnswer(
  model: ChatModel,
  ids: ArrayLike<number>,
  rendered: readonly Segment[],
  settings: ChatSettings,
): Prepared {
  const { tokenizer, facts } = model
  const { tools, reasoning, thinking, prefill } = settings
  const segments = [...rendered]
  const opensThinking = endOf(segments, THINKING_OPEN.length) === THINKING_OPEN
  const startsIn = opensThinking && thinking ? 'reasoning' : 'text'
  if (!thinking) segments.push(markup(opensThinking ? THINKING_CLOSE : THINKING_OPEN + THINKING_CLOSE))
  // The beginning of the answer stands in the prompt, or is forced after the thinking.
  const [written, forced] = startsIn === 'text' ? [prefill, ''] : ['', prefill]
  const most = mostCounted(facts.context)
  const added =
    startsIn === 'text'
      ? encodeWithAnswer(tokenizer, segments, written, most)
      : tokenizer.encodeSegments(segments, most)
  const prompt = checkLength(joinIds(ids, added), facts.context)
  const constraint = constraintOf(model, settings, startsIn)
  return {
    prompt,
    settings:
      settings.toolChoice === 'none'
        ? { ...settings, sampling: withoutToken(settings.sampling, tokenizer, CALLS) }
        : settings,
    newText: () => new OutputText(tokenizer, settings.stop, { tools, reasoning, startsIn }),
    prefill: written,
    forced: forcedIds(tokenizer, settings, forced, constraint === undefined, most),
    ...(constraint && { newConstraint: constraint }),
  }
}

/** What the answer's ids must follow, from the end of the thinking on; while it thinks it can neither call tools nor end. */
function constraintOf(
  { tokenizer, grammars, facts }: ChatModel,
  settings: ChatSettings,
  startsIn: 'reasoning' | 'text',
): (() => GrammarConstraint) | undefined {
  const [tag, newlines] = [THINK_END, THINKING_CLOSE.slice(THINKING_CLOSE.indexOf(THINK_END) + THINK_END.length)]
  const before = startsIn === 'reasoning' ? newlines : ''
  const grammar = grammars.of(settings, before)
  if (!grammar) return undefined
  const after = startsIn === 'reasoning' ? tokenizer.idOf(tag) : undefined
  if (startsIn === 'reasoning' && after === undefined) {
    throw new M2Error('BAD_OPTION', `responseFormat, toolChoice: expected a model with the token ${tag}, found none`)
  }
  const prefill = plainIds(tokenizer, before + settings.prefill, mostCounted(facts.context)) // what is behind is never reached
  if (settings.prefill !== '' && acceptedIds(grammar, prefill) < prefill.length) {
    throw badOption('prefill', 'the beginning of an answer that responseFormat and toolChoice allow', settings.prefill)
  }
  const mask = maskWithout([...facts.eosTokenIds, ...idsOf(tokenizer, CALLS)], facts.vocabSize)
  return () => {
    const constraint = new GrammarConstraint({ grammar, after, before: mask })
    if (startsIn === 'text') for (const id of prefill) constraint.accept(id)
    return constraint
  }
}

function forcedIds(
  tokenizer: Tokenizer,
  settings: ChatSettings,
  answer: string,
  isFree: boolean,
  most: number,
): ForcedIds {
  const tag = THINKING_CLOSE.indexOf(THINK_END)
  const encode = (text: string) => encodeWithAnswer(tokenizer, [markup(text)], answer, most)
  const closeCalls = tokenizer.encode(`\n${CALLS_END}`)
  return {
    endOfThinking: tokenizer.idOf(THINK_END),
    answer: answer === '' ? new Int32Array(0) : encode(THINKING_CLOSE.slice(tag + THINK_END.length)),
    maxReasoningTokens: settings.maxReasoningTokens,
    close: encode(THINKING_CLOSE),
    closeAfterNewline: encode(THINKING_CLOSE.slice(tag)),
    ...(isFree && !settings.parallelToolCalls && { closeCalls }),
  }
}

/** Ids of markup and of the answer's beginning behind it: all, or the first `most` + 1. */
function encodeWithAnswer(
  tokenizer: Tokenizer,
  segments: readonly Segment[],
  answer: string,
  most: number,
): Int32Array {
  if (answer !== '') return tokenizer.encodeSegments([...segments, plain(answer)], most)
  // A tokenizer cuts newlines differently before text than at the end, and the model knows those before text. A letter is never of one piece
  // with a newline, and one byte is always one token.
  return tokenizer.encodeSegments([...segments, plain('x')], most + 1).subarray(0, -1)
}

const plainIds = (tokenizer: Tokenizer, text: string, most: number): Int32Array =>
  tokenizer.encodeSegments([plain(text)], most)

function idsOf(tokenizer: Tokenizer, token: string): number[] {
  const id = tokenizer.idOf(token)
  return id === undefined ? [] : [id]
}

/** Far below any logit, and far from overflowing. */
const NEVER = -1e30

function withoutToken(sampling: Sampling, tokenizer: Tokenizer, token: string): Sampling {
  const id = tokenizer.idOf(token)
  if (id === undefined) return sampling
  return {
    ...sampling,
    biasIds: Int32Array.from([...sampling.biasIds, id]),
    biasValues: Float32Array.from([...sampling.biasValues, NEVER]),
  }
}

/** The last characters. No segment is empty, and a long one is not copied. */
const endOf = (segments: readonly Segment[], length: number): string =>
  segments
    .slice(-length)
    .map(({ text }) => text.slice(-length))
    .join('')
    .slice(-length)

const markup = (text: string): Segment => ({ text, special: true })
const plain = (text: string): Segment => ({ text, special: false })
