import type { GrammarConstraint } from './constraint'
import type { Chunk, FinishReason, Result, TokenLogprob } from './generation'
import type { OutputText } from './output-text'
import type { Sequence } from './sequence'
import type { Delta } from './text/output-parser'

/** Ids that are put into a chat's output instead of being sampled. */
export interface ForcedIds {
  /** The id of the tag that ends thinking; undefined where the tokenizer has none. */
  endOfThinking: number | undefined
  /** After that tag: the beginning of the answer that the caller wrote. May be empty. */
  answer: Int32Array
  /** Tokens of thinking after which it is closed. */
  maxReasoningTokens: number
  /** What closes it, and that beginning. The line of thinking is ended first, where it is not. */
  close: Int32Array
  closeAfterNewline: Int32Array
  /** What stands behind a first call that is to be the last one. */
  closeCalls?: Int32Array
}

/** What one sample has generated so far. */
export interface SampleSoFar {
  tokenIds: readonly number[]
  /** One for each id, where they were asked for. */
  logprobs: NonNullable<Result['logprobs']>
}

export interface SampleOptions {
  /** Which of n samples. */
  index: number
  sequence: Sequence
  /** What a fork goes on from; it is given out again. */
  soFar?: SampleSoFar
  /** `performance.now()` of the call. */
  calledAt: number
  stopTokenIds: ReadonlySet<number>
  /** Null without a tokenizer. */
  text: OutputText | null
  /** The answer's beginning, when it is part of the prompt. */
  prefill?: string
  forced?: ForcedIds
  /** The same as the sequence's. */
  constraint?: GrammarConstraint
  onChunk(chunk: Chunk): void
}

/** One sample of a prompt: takes its ids as they are sampled, and makes chunks and a result of them. */
export class Sample {
  readonly sequence: Sequence
  private readonly output = { text: '', reasoning: '' }
  private readonly tokenIds: number[] = []
  private readonly logprobs: NonNullable<Result['logprobs']> = []
  private reasoningTokens = 0
  private firstTokenAt = Number.NaN
  private endedAt = Number.NaN
  private reason: FinishReason = 'stop'

  constructor(private readonly options: SampleOptions) {
    this.sequence = options.sequence
    if (options.prefill) this.emit(options.text!.pushText(options.prefill), [])
    if (options.soFar) this.replay(options.soFar)
  }

  get soFar(): SampleSoFar {
    return { tokenIds: [...this.tokenIds], logprobs: [...this.logprobs] }
  }

  /** It ended where the model or the caller wanted it to: nothing comes after that. */
  get hasStopped(): boolean {
    return !Number.isNaN(this.endedAt) && (this.reason === 'stop' || this.reason === 'tool_calls')
  }

  /** Takes the id that was just sampled and appended to the sequence; may force more behind it. True when it is the last one. */
  accept(id: number, logprob: number, top: TokenLogprob[]): boolean {
    if (Number.isNaN(this.firstTokenAt)) this.firstTokenAt = performance.now()
    if (this.sequence.sampling.logprobs >= 0) this.logprobs.push({ id, logprob, top })
    const { text, stopTokenIds } = this.options
    if (stopTokenIds.has(id) || !text) {
      this.emit({}, [id])
      return stopTokenIds.has(id)
    }
    // An id that was sampled ahead of the grammar does not count.
    if (this.options.constraint?.accept(id)) this.sequence.force([])
    const wasReasoning = text.inReasoning
    this.emit(text.push([id]), [id])
    if (text.inReasoning) this.reasoningTokens++
    if (wasReasoning) this.force(this.forcedAfter(id, text.inReasoning))
    const { closeCalls } = this.options.forced ?? {}
    if (!closeCalls || text.completeCalls === 0) return text.stopped
    this.force(text.endsLine ? closeCalls.subarray(1) : closeCalls)
    return true
  }

  end(reason: 'stop' | 'length' | 'abort'): void {
    this.endedAt = performance.now()
    const { text } = this.options
    if (text) this.emit(text.end(), [])
    this.reason = reason === 'stop' && text && text.toolCalls.length > 0 ? 'tool_calls' : reason
  }

  /** Of a sample that has ended. */
  result(promptTokenIds: number[]): Result {
    const { calledAt, text } = this.options
    const startedAt = orElse(this.sequence.startedAt, this.endedAt)
    const firstTokenAt = orElse(this.firstTokenAt, this.endedAt)
    return {
      ...this.output,
      toolCalls: text?.toolCalls ?? [],
      tokenIds: this.tokenIds,
      promptTokenIds,
      ...(this.sequence.sampling.logprobs >= 0 && { logprobs: this.logprobs }),
      finishReason: this.reason,
      ...(text?.stopSequence !== undefined && { stopSequence: text.stopSequence }),
      usage: {
        promptTokens: promptTokenIds.length,
        cachedTokens: this.sequence.cachedTokens,
        completionTokens: this.tokenIds.length,
        reasoningTokens: this.reasoningTokens,
      },
      timing: {
        queueMs: startedAt - calledAt,
        prefillMs: firstTokenAt - startedAt,
        firstTokenMs: firstTokenAt - calledAt,
        decodeMs: this.endedAt - firstTokenAt,
      },
    }
  }

  private forcedAfter(id: number, inReasoning: boolean): Int32Array | undefined {
    const { forced } = this.options
    if (!forced) return undefined
    if (!inReasoning) return id === forced.endOfThinking ? forced.answer : undefined
    if (this.reasoningTokens < forced.maxReasoningTokens) return undefined
    return this.options.text!.endsLine ? forced.closeAfterNewline : forced.close
  }

  private force(ids: Int32Array | undefined): void {
    if (!ids || ids.length === 0) return
    const taken = this.append(ids)
    this.emit(this.options.text!.push(taken), taken)
  }

  /** Ids that are not sampled here: those that the sequence has room for. */
  private append(ids: ArrayLike<number>, logprobs: SampleSoFar['logprobs'] = []): number[] {
    const { sequence } = this
    const before = sequence.length
    sequence.force(ids)
    const taken = Array.from(sequence.tokens.subarray(before, sequence.length))
    for (const id of taken) this.options.constraint?.accept(id)
    if (sequence.sampling.logprobs >= 0) {
      for (const [i, id] of taken.entries()) this.logprobs.push(logprobs[i] ?? { id, logprob: 0, top: [] })
    }
    return taken
  }

  private replay({ tokenIds, logprobs }: SampleSoFar): void {
    const { text } = this.options
    for (const id of this.append(tokenIds, logprobs)) {
      this.emit(text ? text.push([id]) : {}, [id])
      if (text?.inReasoning) this.reasoningTokens++
    }
  }

  private emit(delta: Delta, ids: number[]): void {
    const before = this.tokenIds.length
    for (const id of ids) this.tokenIds.push(id)
    this.output.text += delta.text ?? ''
    this.output.reasoning += delta.reasoning ?? ''
    if (ids.length === 0 && !delta.text && !delta.reasoning && !delta.toolCalls) return
    const chunk: Chunk = { text: delta.text ?? '', tokenIds: ids, index: this.options.index }
    if (delta.reasoning) chunk.reasoning = delta.reasoning
    if (this.sequence.sampling.logprobs >= 0) chunk.logprobs = this.logprobs.slice(before, before + ids.length)
    if (delta.toolCalls) chunk.toolCalls = delta.toolCalls
    this.options.onChunk(chunk)
  }
}

function orElse(time: number, otherwise: number): number {
  return Number.isNaN(time) ? otherwise : time
}
