/** `/stats`: what was computed, how fast, and how much of the context is taken. */
import { summary } from '../report'
import { count, type Row, table } from '../table'
import type { Session } from './session'

export function statsText({ last, totals, tokens }: Session, context: number): string {
  const { answers, completionTokens, promptTokens, cachedTokens, decodedTokens, decodeMs } = totals
  const rate = decodeMs > 0 ? `, ${((1000 * decodedTokens) / decodeMs).toFixed(1)} tokens/s` : ''
  const share = promptTokens > 0 ? ` (${Math.round((100 * cachedTokens) / promptTokens)} %)` : ''
  const rows: Row[] = [
    ['last answer', ...(last ? summary(last).split('; ') : ['none yet'])],
    [
      'all',
      `${count(answers)} ${answers === 1 ? 'answer' : 'answers'}, ${count(completionTokens)} tokens${rate}`,
      `prompts ${count(promptTokens)} tokens, ${count(cachedTokens)} cached${share}`,
    ],
    ['context', `${count(tokens)} of ${count(context)} tokens`],
  ]
  return table(rows)
}
