/** From what callers ask to what is run: the prompt's ids, and how the sampled ones become text. */

import { M2Error } from './errors'
import {
  type ChatSettings,
  checkChatOptions,
  checkGenerateOptions,
  type GenerateSettings,
  type ModelFacts,
} from './generation-settings'
import type { ChatOptions, GenerateOptions } from './options'
import { OutputText } from './output-text'
import { checkLength, promptIds } from './prompt'
import type { ForcedIds } from './sample'
import type { Sampling } from './sequence'
import { CALLS, joinSegments, type Segment, THINK_END, THINKING_CLOSE, THINKING_OPEN } from './text/markup'
import type { ChatMessage } from './text/messages'
import type { ChatTemplate } from './text/template'
import type { Tokenizer } from './text/tokenizer'
import { joinIds } from './text/transcript'

/** The parts of a loaded model that requests are made of. */
export interface TextModel {
  tokenizer: Tokenizer | null
  template: ChatTemplate | null
  facts: ModelFacts
}

/** Those of a model that can chat. */
export interface ChatModel {
  tokenizer: Tokenizer
  template: ChatTemplate
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
}

/** @throws {M2Error} BAD_OPTION, BAD_INPUT, CONTEXT_LENGTH_EXCEEDED */
export function prepareGenerate(model: TextModel, prompt: unknown, options: GenerateOptions): Prepared {
  const { tokenizer, facts } = model
  const settings = checkGenerateOptions(options, facts)
  const newText = () => tokenizer && new OutputText(tokenizer, settings.stop)
  return { prompt: promptIds(prompt, tokenizer, facts), settings, newText }
}

/** @throws {M2Error} BAD_INPUT when there is no text. */
export function chatModel({ tokenizer, template, facts }: TextModel): ChatModel {
  if (tokenizer && template) return { tokenizer, template, facts }
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
  { tokenizer, facts }: ChatModel,
  ids: ArrayLike<number>,
  rendered: readonly Segment[],
  settings: ChatSettings,
): Prepared {
  const { tools, reasoning, thinking, prefill } = settings
  const segments = [...rendered]
  const opensThinking = joinSegments(segments).endsWith(THINKING_OPEN)
  const startsIn = opensThinking && thinking ? 'reasoning' : 'text'
  if (!thinking) segments.push(markup(opensThinking ? THINKING_CLOSE : THINKING_OPEN + THINKING_CLOSE))
  // The beginning of the answer stands in the prompt, or is forced after the thinking.
  const [written, forced] = startsIn === 'text' ? [prefill, ''] : ['', prefill]
  const added =
    startsIn === 'text' ? encodeWithAnswer(tokenizer, segments, written) : tokenizer.encodeSegments(segments)
  return {
    prompt: checkLength(joinIds(ids, added), facts.context),
    settings: settings.mayCallTools
      ? settings
      : { ...settings, sampling: withoutToken(settings.sampling, tokenizer, CALLS) },
    newText: () => new OutputText(tokenizer, settings.stop, { tools, reasoning, startsIn }),
    prefill: written,
    forced: forcedIds(tokenizer, settings.maxReasoningTokens, forced),
  }
}

function forcedIds(tokenizer: Tokenizer, maxReasoningTokens: number, answer: string): ForcedIds {
  const tag = THINKING_CLOSE.indexOf(THINK_END)
  const encode = (text: string) => encodeWithAnswer(tokenizer, [markup(text)], answer)
  return {
    endOfThinking: tokenizer.idOf(THINK_END),
    answer: answer === '' ? new Int32Array(0) : encode(THINKING_CLOSE.slice(tag + THINK_END.length)),
    maxReasoningTokens,
    close: encode(THINKING_CLOSE),
    closeAfterNewline: encode(THINKING_CLOSE.slice(tag)),
  }
}

/** Ids of markup and of the answer's beginning behind it. */
function encodeWithAnswer(tokenizer: Tokenizer, segments: readonly Segment[], answer: string): Int32Array {
  if (answer !== '') return tokenizer.encodeSegments([...segments, plain(answer)])
  // A tokenizer cuts newlines differently before text than at the end, and the model knows those before text. A letter is never of one piece
  // with a newline, and one byte is always one token.
  return tokenizer.encodeSegments([...segments, plain('x')]).subarray(0, -1)
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

const markup = (text: string): Segment => ({ text, special: true })
const plain = (text: string): Segment => ({ text, special: false })
