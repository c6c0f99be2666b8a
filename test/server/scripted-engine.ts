/** An engine that says what a test tells it to. */
import type { Engine } from '../../lib/engine'
import { M2Error } from '../../lib/errors'
import type { Chunk, Generation, Result } from '../../lib/generation'

export const RESULT: Result = {
  text: 'yes',
  reasoning: '',
  toolCalls: [],
  tokenIds: [7],
  promptTokenIds: [1, 2],
  finishReason: 'stop',
  usage: { promptTokens: 2, cachedTokens: 1, completionTokens: 1, reasoningTokens: 0 },
  timing: { queueMs: 1, prefillMs: 4, firstTokenMs: 5, decodeMs: 20 },
}
export const CHUNK: Chunk = { text: 'yes', tokenIds: [7], index: 0 }

export interface Script {
  chunks?: Chunk[]
  result?: Result
  /** Thrown after the chunks. */
  error?: unknown
  /** The generation is not accepted. */
  refusal?: unknown
  /** Resolves before the first chunk. */
  prefill?: Promise<void>
}

export function generation(script: Script = {}): Generation {
  const { chunks = [CHUNK], result = RESULT, error, refusal, prefill } = script
  return {
    promptTokens: refusal ? 0 : result.usage.promptTokens,
    async *[Symbol.asyncIterator]() {
      if (refusal) throw refusal
      await prefill
      yield* chunks
      if (error) throw error
    },
    async result() {
      if (refusal ?? error) throw refusal ?? error
      await prefill
      return result
    },
    abort() {},
  }
}

export function scriptedEngine(script: Script = {}, refusal?: M2Error): Engine {
  const engine: Partial<Engine> = {
    model: { directory: '/models/some-model', context: 100 } as Engine['model'],
    tokenizer: null,
    refusal,
    chat: () => generation(script),
    generate: () => generation(script),
    stats: () => ({
      pages: { total: 10, free: 4, cached: 5, private: 1 },
      sequences: { running: 2, waiting: 3 },
      ...{ steps: 11, promptTokens: 12, cachedTokens: 6, generatedTokens: 13 },
    }),
  }
  return engine as Engine
}

export const failed = (code: M2Error['code'], message = 'it failed') => new M2Error(code, message)
