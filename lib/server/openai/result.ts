/** What the answers of OpenAI's APIs share. */
import type { Chunk, FinishReason, Result } from '../../generation'
import type { JsonObject } from '../../text/input'

/** What was cut short by the server (it shuts down) is to a client what was cut short by a limit: not whole. */
export function finishReason(reason: FinishReason): string {
  return reason === 'abort' ? 'length' : reason
}

export function samplesOf(result: Result): Result[] {
  return result.samples ?? [result]
}

/** The prompt counts once, however many samples share it. */
export function usageOf(result: Result): JsonObject {
  const { promptTokens, cachedTokens } = result.usage
  const sum = (count: 'completionTokens' | 'reasoningTokens') =>
    samplesOf(result).reduce((total, { usage }) => total + usage[count], 0)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: sum('completionTokens'),
    total_tokens: promptTokens + sum('completionTokens'),
    prompt_tokens_details: { cached_tokens: cachedTokens },
    completion_tokens_details: { reasoning_tokens: sum('reasoningTokens') },
  }
}

/** Chunks that only say that tokens came are for those who asked for tokens. */
export function saysNothing({ text, reasoning, toolCalls }: Chunk): boolean {
  return text === '' && !reasoning && !toolCalls
}
