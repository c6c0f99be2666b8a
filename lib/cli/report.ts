/** What `m2 generate` says about a result on stderr. */
import type { Engine, Result } from '../index'

/** One line: how many tokens, how fast, and why it ended. */
export function summary({ usage, timing, finishReason, text }: Result): string {
  const thinking = usage.reasoningTokens > 0 ? ` (${usage.reasoningTokens} thinking)` : ''
  // The first token comes out of the prefill, so the decode time is that of all others.
  const rate = timing.decodeMs > 0 ? (1000 * (usage.completionTokens - 1)) / timing.decodeMs : 0
  const cached = usage.cachedTokens > 0 ? ` (${usage.cachedTokens} cached)` : ''
  const noAnswer = finishReason === 'length' && text === '' && usage.reasoningTokens > 0 ? ' while still thinking' : ''
  return [
    `${usage.completionTokens} tokens${thinking}${rate > 0 ? `, ${rate.toFixed(1)} tokens/s` : ''}`,
    `prompt ${usage.promptTokens} tokens${cached} in ${timing.prefillMs.toFixed(0)} ms`,
    `finished: ${finishReason}${noAnswer}`,
  ].join('; ')
}

/** One line a token: its log probability, its text, then the most probable alternatives. */
export function logprobTable({ logprobs = [] }: Result, tokenizer: Engine['tokenizer']): string {
  const shown = (id: number) => JSON.stringify(tokenizer?.decode([id]) ?? id)
  const lines = logprobs.map(({ id, logprob, top }) => {
    const others = top.map((other) => `${shown(other.id)} ${other.logprob.toFixed(4)}`)
    return `${logprob.toFixed(4)} ${shown(id)}${others.length > 0 ? `  of ${others.join(', ')}` : ''}\n`
  })
  return lines.join('')
}
