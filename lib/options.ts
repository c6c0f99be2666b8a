/** The options that callers give, one flat interface per call. What is left out, or undefined, has its default. */
import type { KeepReasoning } from './text/chat'
import type { ChatMessage } from './text/messages'
import type { ToolDefinition } from './text/tools'

/** How far loading is; `total` 0 when it is not known. */
export interface LoadProgress {
  phase: string
  done: number
  total: number
}

/** Options of `Engine.load`. */
export interface EngineOptions {
  /** Where the model runs. Default "auto": a CUDA device when this build can use one, else the CPU. */
  device?: 'auto' | 'cpu' | 'cuda' | `cuda:${number}` | 'emulated'
  /** CPU threads. Default: the physical cores. */
  threads?: number
  /**
   * Element type of the KV cache. Default "auto": bf16. "fp8" takes half the memory and costs some accuracy: e4m3 with a scale for each layer and head,
   * which are found by running a short text through the model when it is first loaded so, and kept in its folder as m2-kv-scales.json where that can be
   * written.
   */
  kvDtype?: 'auto' | 'f32' | 'bf16' | 'fp8'
  /**
   * Element type of the weights' matrices. Default "auto": as stored (bf16, FP8 or 4 bits), f16 and f32 rounded to bf16. "bf16":
   * all become bf16, which takes more memory and changes no result. "fp8": all but FP8 become bf16; an error where there is none.
   * "int4": as "auto", and experts that are stored otherwise are quantised as they are loaded, to 4 bits in groups of 128, for some quality.
   */
  weightDtype?: 'auto' | 'bf16' | 'fp8' | 'int4'
  /**
   * Element type of what the layers' products take. Default "auto": bf16, and float32 for the dense ones on a CPU. "fp8": products with matrices that are
   * held as FP8 or int4 round their rows to e4m3, with a scale for each 128 numbers, which doubles the rate of Hopper's matrix units for some quality. With
   * `kvDtype: "fp8"` attention does the same with its queries and weights. Other devices round too, to show what it costs, and are not faster. An error where there are no such matrices with rows of a multiple of 128 numbers.
   */
  activationDtype?: 'auto' | 'fp8'
  /** Tokens in a page of the KV cache. Default 64. */
  pageSize?: number
  /** Memory for the KV cache: bytes, or a string such as "2GiB". Default: what fits. */
  kvMemory?: number | string
  /** Tokens of a sequence, prompt included. Default: the model's own limit, or what the KV cache holds where that is less. */
  maxContext?: number
  /** Sequences that run at the same time, never more than `maxStepTokens`; others wait. Default 64. */
  maxSequences?: number
  /**
   * Tokens that one step computes, over all sequences. Default: 512 on a CPU; on a GPU as many as give each expert a full tile of rows, 4,096 for MiniMax-M2.
   * While others decode, tokens of a prompt count for more the further back they look.
   */
  maxStepTokens?: number
  /** Requests that may wait for room; one more fails with QUEUE_FULL. Default 10,000. */
  maxQueue?: number
  /** Reuse the KV pages of equal prompt beginnings. Default true. */
  prefixCache?: boolean
  /** Called while the model loads. */
  onProgress?: (progress: LoadProgress) => void
}

/** Options of `engine.generate`. */
export interface GenerateOptions {
  /** Tokens to generate. Default and upper bound: what is left of the context; then the generation ends with finishReason "length". */
  maxTokens?: number
  /** Flattens (above 1) or sharpens (below) the distribution; 0 is greedy. Default: the model's generation_config.json. */
  temperature?: number
  /** Draw from the most probable tokens that together reach this probability, above 0 to 1. Default: the model's. */
  topP?: number
  /** Draw from so many most probable tokens; 0: all. Default: the model's. */
  topK?: number
  /** Drop tokens less probable than this share, 0 to 1, of the most probable one. Default: the model's, else 0. */
  minP?: number
  /** Divides positive and multiplies negative logits of tokens seen in prompt or output. Above 0; default: the model's, else 1. */
  repetitionPenalty?: number
  /** Taken from the logits of tokens that were generated. Default 0. */
  presencePenalty?: number
  /** Taken from the logits of generated tokens, once for each time. Default 0. */
  frequencyPenalty?: number
  /** Added to the logits of these token ids. */
  logitBias?: Record<number, number>
  /** An integer. Same seed, same prompt, same model: same tokens, whatever else runs beside it. Default: another one each time. */
  seed?: number
  /** The answer ends before the first of these strings. They are looked for in `text`, not in thinking that is split from it. */
  stop?: string | string[]
  /** Generation also ends with these token ids. */
  stopTokenIds?: number[]
  /** Go on after the model's end-of-turn token. Default false. */
  ignoreEos?: boolean
  /** Log probabilities of the generated tokens, each with so many most probable alternatives, 0 to 1000: of the raw logits, before penalties, bias, temperature and truncation. */
  logprobs?: number
  /** Samples that share the prefill. Default 1; at most `maxSequences`. */
  n?: number
  /** Milliseconds from the call after which the generation ends with finishReason "abort". */
  deadlineMs?: number
  /** Higher goes first. Default 0. */
  priority?: number
  /** Prefixes are shared only among requests of equal salt. */
  cacheSalt?: string
  /** Ends the generation with finishReason "abort" and what there is. */
  signal?: AbortSignal
}

/** Options of `engine.score`. */
export interface ScoreOptions {
  /** Higher goes first. Default 0. */
  priority?: number
  /** What is computed is shared only with requests of equal salt. */
  cacheSalt?: string
  /** The promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/** Options of `engine.chat`. */
export interface ChatOptions extends GenerateOptions {
  /** Functions that the model may call. */
  tools?: ToolDefinition[]
  /**
   * "auto" (default): the model decides. "none": it is offered no tools and cannot call any. "required": it calls at least one. A name: it calls that
   * one, once. Where it must call, the arguments follow the tool's schema.
   */
  toolChoice?: 'auto' | 'none' | 'required' | { name: string }
  /** Default true. False: the answer ends after the first call. */
  parallelToolCalls?: boolean
  /** "split" (default): thinking is in `reasoning`. "inline": it stays in `text`, between its tags. */
  reasoning?: 'split' | 'inline'
  /** Thinking is closed by force after so many tokens. */
  maxReasoningTokens?: number
  /** Default true. False opens the answer with a closed, empty thinking block, which is off the model's distribution. */
  thinking?: boolean
  /** The answer begins with this text: after the thinking, when the model thinks. It is part of `text`. */
  prefill?: string
  /** Which earlier thinking is rendered. Default "model": what the model's own template renders. */
  keepReasoning?: KeepReasoning
  /**
   * What the text must be: JSON that a schema admits, any JSON object, or what a regular expression (JavaScript's) matches as a whole. It holds after the
   * thinking, for which `maxReasoningTokens` sets an end. JSON is written without whitespace between its parts. With `tools` the model may call
   * them instead.
   */
  responseFormat?:
    | { type: 'json_schema'; schema: object }
    | { type: 'json_object' }
    | { type: 'regex'; pattern: string }
}

/** Options of `conversation.send`, which hold for that turn: those of a chat that do not belong to the whole conversation. */
export interface SendOptions extends Omit<ChatOptions, 'tools' | 'keepReasoning' | 'n'> {}

/** Options of `engine.conversation`. Those of `send` are the defaults of every turn. */
export interface ConversationOptions extends SendOptions {
  /** What was said before: a system message, earlier turns. Rendered with the first turn. Default: nothing. */
  messages?: readonly ChatMessage[]
  /** Functions that the model may call, in every turn. With `toolChoice: "none"` it is still shown them, but cannot call any. */
  tools?: ToolDefinition[]
  /**
   * Which thinking of earlier turns stays. "always": all of it, so each prompt begins with all ids so far. "model" (default): as the model's own
   * template has it; M2's drops it at each new user message. "never": none, also between the steps of a tool loop.
   */
  keepReasoning?: KeepReasoning
}
