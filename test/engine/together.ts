/** What the tests of sequences that run together share. */
import { onTestFinished, vi } from 'vitest'
import type { Result } from '../../lib/generation'
import { Scheduler } from '../../lib/scheduler'
import type { Sequence } from '../../lib/sequence'

/** What nothing beside a conversation may change. */
export function essence({ text, reasoning, tokenIds, logprobs, finishReason, samples }: Result) {
  const own = { text, reasoning, tokenIds, logprobs, finishReason }
  return { ...own, samples: samples?.map((sample) => [sample.tokenIds, sample.logprobs, sample.finishReason]) }
}

/** The arrivals of the sequences that gave their pages back for others, so far. */
export function watchPreemptions(): () => number[] {
  const spy = vi.spyOn(Scheduler.prototype as unknown as { preempt(sequence: Sequence): void }, 'preempt')
  onTestFinished(() => spy.mockRestore())
  return () => spy.mock.calls.map(([sequence]) => sequence.arrival)
}
