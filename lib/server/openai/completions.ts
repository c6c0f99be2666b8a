/** POST /v1/completions: raw text or ids, without the chat template. */
import { M2Error } from '../../errors'
import type { Chunk, Generation, Result } from '../../generation'
import { inPieces } from '../../pieces'
import { badInput, type JsonObject } from '../../text/input'
import type { Tokenizer } from '../../text/tokenizer'
import type { EventWriter, Face, RequestContext, ServerEvent } from '../face'
import { Fields } from '../fields'
import { JoinedGeneration } from '../joined-generation'
import { errorBody, errorEvent } from './errors'
import { textLogprobs, tokenText } from './logprobs'
import { generateOptions, includesUsage, refuse } from './options'
import { finishReason, samplesOf, saysNothing, usageOf } from './result'

type Prompt = string | number[]

/** Of one request; OpenAI's embeddings take as many inputs. */
const MOST_CHOICES = 2048

/** OpenAI's, and so that of clients that leave it out. */
const DEFAULT_MAX_TOKENS = 16

export const completions: Face = {
  read: (body, context) => {
    const fields = new Fields(body)
    const prompts = promptsOf(fields)
    const samples = fields.integer('n', { least: 1 }) ?? 1
    checkChoices(prompts.length, samples)
    const asked = askedOf(fields, prompts, samples, context)
    const options = {
      maxTokens: DEFAULT_MAX_TOKENS,
      ...definedOnly(generateOptions(fields)),
      logprobs: logprobs(fields),
    }
    return {
      stream: fields.boolean('stream') ?? false,
      start: (engine, signal) => {
        const generate = (prompt: Prompt) => engine.generate(prompt, { ...options, signal })
        if (prompts.length === 1) return generate(prompts[0]!)
        return inPieces(startAll(prompts, generate)).then((parts) => new JoinedGeneration(parts, samples))
      },
      body: (result) => completion(result, context, asked),
      events: () => new ChunkWriter(context, asked),
    }
  },
  errorBody,
}

/** What the client wants to be told. */
interface Asked {
  tokenIds: boolean
  /** In a stream. */
  usage: boolean
  /** What stands before the text of a choice: its prompt, where that was asked for. */
  echo(index: number): string
}

/** One prompt, or several: text, or ids. */
function promptsOf(fields: Fields): Prompt[] {
  const prompt = fields.value('prompt')
  if (typeof prompt === 'string') return [prompt]
  const isList = Array.isArray(prompt) && prompt.length > 0
  if (isList && prompt.every((one) => typeof one === 'number')) return [prompt]
  if (isList && prompt.every((one) => typeof one === 'string' || Array.isArray(one))) return prompt
  throw badInput('prompt', 'a string, an array of token ids, or an array of either', prompt)
}

function checkChoices(prompts: number, samples: number): void {
  if (prompts * samples <= MOST_CHOICES) return
  const found = `${prompts} with n ${samples}`
  throw new M2Error('BAD_INPUT', `prompt: expected at most ${MOST_CHOICES} prompts, times n, found ${found}`)
}

/** Up to the first that is refused, as that ends all. */
function* startAll(prompts: Prompt[], generate: (prompt: Prompt) => Generation): Generator<void, Generation[]> {
  const parts: Generation[] = []
  for (const prompt of prompts) {
    const part = generate(prompt)
    parts.push(part)
    if (part.promptTokens === 0) break
    yield
  }
  return parts
}

function askedOf(fields: Fields, prompts: Prompt[], samples: number, { tokenizer }: RequestContext): Asked {
  const bestOf = fields.integer('best_of', { least: 1 })
  if (bestOf !== undefined && bestOf !== samples) throw badInput('best_of', `n, which is ${samples}`, bestOf)
  if (fields.string('suffix')) refuse(fields, { suffix: 'this model continues text' })
  const echo = fields.boolean('echo') ?? false
  if (echo && fields.value('logprobs') !== undefined) {
    throw new M2Error('BAD_OPTION', 'echo: not supported with logprobs; those of the prompt are not computed')
  }
  return {
    tokenIds: fields.boolean('return_token_ids') ?? false,
    usage: includesUsage(fields),
    echo: (index) => (echo ? textOf(prompts[Math.floor(index / samples)]!, tokenizer) : ''),
  }
}

function textOf(prompt: Prompt, tokenizer: Tokenizer | null): string {
  return typeof prompt === 'string' ? prompt : prompt.map((id) => tokenText(id, tokenizer)).join('')
}

function logprobs(fields: Fields): number | undefined {
  return fields.value('logprobs') as number | undefined
}

function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}

function completion(result: Result, { id, created, model, tokenizer }: RequestContext, asked: Asked): JsonObject {
  const choices = samplesOf(result).map((sample, index) => ({
    index,
    text: asked.echo(index) + sample.text,
    logprobs: sample.logprobs ? textLogprobs(sample.logprobs, tokenizer, 0) : null,
    finish_reason: finishReason(sample.finishReason),
    ...(asked.tokenIds && { token_ids: sample.tokenIds, prompt_token_ids: sample.promptTokenIds }),
  }))
  return { id: `cmpl-${id}`, object: 'text_completion', created, model, choices, usage: usageOf(result) }
}

class ChunkWriter implements EventWriter {
  /** Of each choice that has begun, characters of its tokens so far. Their text may come later. */
  private readonly lengths = new Map<number, number>()

  constructor(
    private readonly context: RequestContext,
    private readonly asked: Asked,
  ) {}

  begin(): ServerEvent[] {
    return []
  }

  chunk(chunk: Chunk): ServerEvent[] {
    const { index, tokenIds, logprobs: found } = chunk
    const tellsTokens = tokenIds.length > 0 && (this.asked.tokenIds || found !== undefined)
    if (saysNothing(chunk) && !tellsTokens) return []
    const text = this.unechoed(index) + chunk.text
    const offset = this.lengths.get(index) ?? 0
    const logprobs = found ? textLogprobs(found, this.context.tokenizer, offset) : null
    this.lengths.set(index, offset + (logprobs?.tokens.join('').length ?? 0))
    const choice = {
      logprobs,
      finish_reason: null,
      ...(this.asked.tokenIds && { token_ids: tokenIds }),
    }
    return [this.event([{ index, text, ...choice }])]
  }

  end(result: Result): ServerEvent[] {
    const ends = samplesOf(result).map((sample, index) =>
      this.event([
        {
          index,
          text: this.unechoed(index),
          logprobs: null,
          finish_reason: finishReason(sample.finishReason),
          ...(this.asked.tokenIds && { prompt_token_ids: sample.promptTokenIds }),
        },
      ]),
    )
    const usage = this.asked.usage ? [this.event([], { usage: usageOf(result) })] : []
    return [...ends, ...usage, { data: '[DONE]' }]
  }

  error(error: M2Error): ServerEvent[] {
    return errorEvent(error)
  }

  private unechoed(index: number): string {
    return this.lengths.has(index) ? '' : this.asked.echo(index)
  }

  private event(choices: JsonObject[], more: JsonObject = {}): ServerEvent {
    const { id, created, model } = this.context
    const usage = this.asked.usage ? { usage: null } : {}
    return { data: { id: `cmpl-${id}`, object: 'text_completion', created, model, choices, ...usage, ...more } }
  }
}
