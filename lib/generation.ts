/** What callers hold while a prompt is continued: a stream of chunks, and the result. */
import { ChunkStream } from './chunk-stream'
import type { ToolCall, ToolCallDelta } from './text/output-parser'

/** What is new of one sample since its chunk before. */
export interface Chunk {
  /** May be empty: half a character, or what may become a stop string or a tag, is held back. */
  text: string
  /** New thinking; only there when there is some. */
  reasoning?: string
  tokenIds: number[]
  /** Those of `tokenIds`, where they were asked for, as in the result. */
  logprobs?: Result['logprobs']
  /** What is new of tool calls: id and name when one begins, then fragments that join to the JSON of its arguments. */
  toolCalls?: ToolCallDelta[]
  /** Which of n samples. */
  index: number
}

/** `tool_calls`: the model ended its turn, in which it called tools. */
export type FinishReason = 'stop' | 'length' | 'tool_calls' | 'abort'

export interface TokenLogprob {
  id: number
  logprob: number
}

export interface Result {
  /** The content, without reasoning and tool-call markup; of `generate` all text. The token that ended it, and a stop string, are not part of it. */
  text: string
  /** The thinking. Empty for `generate`, and where it is inline. */
  reasoning: string
  /** The last may have been cut off, as `finishReason` tells: it then has its complete arguments, and what there is of a string. */
  toolCalls: ToolCall[]
  /** All generated ids, the one that ended it included. */
  tokenIds: number[]
  promptTokenIds: number[]
  /** One entry for each of `tokenIds`. A token that was forced, not sampled, has logprob 0 and no alternatives. */
  logprobs?: (TokenLogprob & { top: TokenLogprob[] })[]
  finishReason: FinishReason
  /** The stop string that ended it, where one did. */
  stopSequence?: string
  usage: {
    promptTokens: number
    /** Prompt tokens whose KV pages were reused. */
    cachedTokens: number
    completionTokens: number
    /** Generated tokens of thinking, without the tag that ends it. */
    reasoningTokens: number
  }
  /** Milliseconds. What was not reached when the generation ended counts up to its end. */
  timing: {
    /** From the call to the first step. */
    queueMs: number
    /** From there to the first token. */
    prefillMs: number
    /** From the call to the first token. */
    firstTokenMs: number
    /** From the first token to the end. */
    decodeMs: number
  }
  /** All samples, when n > 1. The fields above are those of the first. */
  samples?: Result[]
}

/**
 * A prompt that is being continued: from the moment of the call, whether anybody looks or not.
 *
 * Iterate for the stream, await `result()`, or both, in any order. The stream is read once: each chunk goes to one reader, and what nobody has
 * read yet is merged. A reader that falls 256 tokens behind halts its sample until it reads on; meanwhile others have its place. Leaving the
 * loop early (`break`, `throw`) aborts the generation. Where `result()` has been asked for, neither happens. Errors are thrown by `result()`
 * and by the iterator; one that nobody looks at is dropped.
 *
 * @example
 * const generation = engine.generate('Once upon a time')
 * for await (const chunk of generation) process.stdout.write(chunk.text)
 * const { usage } = await generation.result()
 */
export interface Generation extends AsyncIterable<Chunk> {
  /** Tokens of the prompt, known from the call on; 0 when it was refused. */
  readonly promptTokens: number
  /** Resolves when all samples have ended, also by `abort`. @throws {M2Error} for arguments that are not sound, and when the work failed. */
  result(): Promise<Result>
  /** Ends the generation with finishReason "abort" and what there is. Does nothing when it has ended. */
  abort(): void
}

/** Tokens that may wait for a reader. */
const MOST_UNREAD = 256

/** What a generation asks of the engine. */
export interface GenerationControls {
  abort(): void
  /** The reader of a sample has fallen behind. */
  halt(index: number): void
  /** It reads on. */
  resume(index: number): void
}

const NO_CONTROLS: GenerationControls = { abort() {}, halt() {}, resume() {} }

/** A generation as the engine drives it. */
export class LiveGeneration implements Generation {
  promptTokens = 0
  private controls = NO_CONTROLS
  /** Samples whose reader has fallen behind. */
  private readonly halted = new Set<number>()
  private isRead = false
  private readonly stream = new ChunkStream()
  /** As `result()`, but asking for it does not keep the generation running when its stream is left. */
  readonly settled: Promise<Result>
  private resolve!: (result: Result) => void
  private reject!: (error: unknown) => void
  private isResultAsked = false

  constructor() {
    this.settled = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Who only iterates, or does not look at all, must not end the process with an unhandled rejection.
    this.settled.catch(() => {})
  }

  /** The generation is accepted. */
  start(promptTokens: number, controls: GenerationControls): void {
    this.promptTokens = promptTokens
    this.controls = controls
  }

  result(): Promise<Result> {
    this.isResultAsked = true
    for (const index of this.halted) this.resumeSample(index)
    return this.settled
  }

  abort(): void {
    this.controls.abort()
  }

  [Symbol.asyncIterator](): AsyncIterator<Chunk, undefined> {
    this.isRead = true
    return {
      next: async () => {
        const read = await this.stream.next()
        if (!read.done && this.halted.has(read.value.index)) this.resumeSample(read.value.index)
        return read
      },
      return: async () => {
        if (!this.isResultAsked) this.abort()
        return { done: true, value: undefined }
      },
    }
  }

  push(chunk: Chunk): void {
    this.stream.push(chunk)
    if (!this.isRead || this.isResultAsked || this.stream.unread(chunk.index) < MOST_UNREAD) return
    this.halted.add(chunk.index)
    this.controls.halt(chunk.index)
  }

  complete(result: Result): void {
    this.controls = NO_CONTROLS
    this.resolve(result)
    this.stream.end()
  }

  fail(error: unknown): void {
    this.controls = NO_CONTROLS
    this.reject(error)
    this.stream.end(error)
  }

  private resumeSample(index: number): void {
    this.halted.delete(index)
    this.controls.resume(index)
  }
}
