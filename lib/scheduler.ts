/**
 * Decides which tokens of which sequences make the next step. Pure bookkeeping: no clock, no device, no text.
 *
 * Order everywhere is rank: priority, then arrival. What runs decodes first, one token each; what is left of the step's
 * tokens goes to prompts, in chunks. A sequence is let in when all its present tokens find pages, and takes pages one by one as
 * it grows; when none is free the worst ranked gives all of its own back and waits to be computed again. So the best ranked
 * always gets on, and every sequence that fits alone ends.
 */
import type { KvCache, PageCopies } from './cache/kv-cache'
import { RankedList } from './ranked-list'
import type { Sequence } from './sequence'

export interface SchedulerLimits {
  /** Sequences that run at the same time: rows of the persistent batch. At most `stepTokens`, so that all can decode in one step. */
  rows: number
  /** Tokens of a step. */
  stepTokens: number
}

/** What the next step computes. The scheduler reuses it: it holds until the next `plan`. */
export interface StepPlan {
  /** Page copies to make before the step. */
  copies: PageCopies
  /** Sequences in the step; each brings its next `scheduled` tokens, side by side in this order. */
  sequences: Sequence[]
  /** Sum of `scheduled`. */
  tokens: number
  /** Sequences that get an id sampled, and at which token of the step. */
  samples: Sequence[]
  sampleAt: number[]
}

export interface SequenceCounts {
  running: number
  waiting: number
}

const NONE: readonly Sequence[] = []

export class Scheduler {
  private readonly running = new RankedList()
  private readonly waiting = new RankedList()
  private readonly freeRows: number[]
  private readonly step: StepPlan = {
    copies: { from: [], to: [] },
    sequences: [],
    tokens: 0,
    samples: [],
    sampleAt: [],
  }
  /** Copies for the forks since the last plan. */
  private copies: PageCopies = { from: [], to: [] }
  /** Sequences with a deadline. */
  private timed = 0

  constructor(
    private readonly cache: KvCache,
    private readonly limits: SchedulerLimits,
  ) {
    this.freeRows = Array.from({ length: limits.rows }, (_, i) => limits.rows - 1 - i)
  }

  get hasWork(): boolean {
    return this.running.length > 0 || this.waiting.length > 0
  }

  get counts(): SequenceCounts {
    return { running: this.running.length, waiting: this.waiting.length }
  }

  /** Takes in the samples of one prompt, at most as many as there are rows. The first computes the prompt, the others fork from it. */
  add(samples: readonly Sequence[]): void {
    const [leader, ...followers] = samples as [Sequence, ...Sequence[]]
    for (const follower of followers) follower.state = 'following'
    leader.followers = followers
    this.waiting.add(leader)
    if (leader.deadline < Infinity) this.timed += samples.length
  }

  /** Sequences whose deadline has passed, for the caller to finish. */
  expired(now: number): readonly Sequence[] {
    if (this.timed === 0) return NONE
    const late = [...this.running, ...this.waiting].filter((sequence) => sequence.deadline <= now)
    return late.flatMap((sequence) => [sequence, ...sequence.followers])
  }

  /** The next step; not empty while there is work. `commit` follows before the next plan. */
  plan(now: number): StepPlan {
    this.growRunning()
    this.admit(now)
    this.fillStep()
    this.step.copies = this.copies
    if (this.copies.from.length > 0) this.copies = { from: [], to: [] }
    return this.step
  }

  /** The planned step has been computed. Followers fork here, before sampled ids are appended. */
  commit(): void {
    for (const sequence of this.step.sequences) {
      if (sequence.state !== 'running') continue // ended while the step ran
      sequence.computed += sequence.scheduled
      if (sequence.remaining === 0) this.forkFollowers(sequence)
    }
  }

  /** Ends a sequence, whatever its state. While it has followers, it and they are finished together. */
  finish(sequence: Sequence): void {
    if (sequence.state === 'finished') return
    if (sequence.state === 'running') this.running.remove(sequence)
    if (sequence.state === 'waiting') this.waiting.remove(sequence)
    this.giveBack(sequence)
    sequence.state = 'finished'
    if (sequence.deadline < Infinity) this.timed--
  }

  /** Every running sequence gets pages for the tokens it has; where there are none, the worst ranked gives way. */
  private growRunning(): void {
    for (let i = 0; i < this.running.length; i++) {
      const sequence = this.running.at(i)
      while (sequence.state === 'running' && !this.cache.reserve(sequence.table, sequence.length)) {
        this.preempt(this.running.worst!)
      }
    }
  }

  private preempt(sequence: Sequence): void {
    this.running.remove(sequence)
    for (const follower of sequence.followers) this.giveBack(follower)
    this.wait(sequence)
  }

  /** Lets sequences in, best ranked first and none before its turn, until the step has tokens enough. */
  private admit(now: number): void {
    let tokens = 0
    if (this.waiting.length > 0) for (const sequence of this.running) tokens += sequence.remaining
    for (let best = this.waiting.best; best && tokens < this.limits.stepTokens; best = this.waiting.best) {
      if (!this.hasRoomFor(best)) return
      this.cache.reserve(best.table, best.length)
      this.waiting.remove(best)
      this.running.add(best)
      best.state = 'running'
      for (const sequence of [best, ...best.followers]) {
        sequence.row = this.freeRows.pop()!
        if (Number.isNaN(sequence.startedAt)) sequence.startedAt = now
      }
      tokens += best.remaining
    }
  }

  /** Rows and pages for the sequence, and a page for each one that runs to grow into, lest what was let in is soon sent back. */
  private hasRoomFor(sequence: Sequence): boolean {
    const samples = 1 + sequence.followers.length
    if (this.freeRows.length < samples) return false
    if (this.running.length === 0) return true // all pages are free, and it fits alone
    return this.cache.freePages >= this.cache.pagesFor(sequence.length) + this.running.length + samples - 1
  }

  private fillStep(): void {
    const { sequences, samples, sampleAt } = this.step
    sequences.length = samples.length = sampleAt.length = 0
    let budget = this.limits.stepTokens // for prompts: what decoding leaves
    for (const sequence of this.running) if (sequence.remaining === 1) budget--
    let tokens = 0
    for (const sequence of this.running) {
      const decodes = sequence.remaining === 1
      sequence.scheduled = decodes ? 1 : Math.min(sequence.remaining, budget)
      if (!decodes) budget -= sequence.scheduled
      if (sequence.scheduled === 0) continue
      tokens += sequence.scheduled
      sequences.push(sequence)
      if (sequence.scheduled < sequence.remaining) continue
      samples.push(sequence, ...sequence.followers)
      while (sampleAt.length < samples.length) sampleAt.push(tokens - 1)
    }
    this.step.tokens = tokens
  }

  /** The prompt is computed: its other samples share its full pages. One that finds no page for the rest computes it itself, later. */
  private forkFollowers(leader: Sequence): void {
    for (const follower of leader.followers) {
      const table = this.cache.fork(leader.table, leader.computed, this.copies)
      if (table) {
        follower.table = table
        follower.computed = leader.computed
        follower.state = 'running'
        this.running.add(follower)
      } else {
        this.wait(follower)
      }
    }
    if (leader.followers.length > 0) leader.followers = []
  }

  /** Back to the queue, with its tokens and without anything computed. */
  private wait(sequence: Sequence): void {
    this.giveBack(sequence)
    sequence.state = 'waiting'
    this.waiting.add(sequence)
  }

  private giveBack(sequence: Sequence): void {
    this.cache.release(sequence.table)
    sequence.computed = 0
    sequence.scheduled = 0
    sequence.sentPages = 0
    sequence.historySent = false
    if (sequence.row >= 0) this.freeRows.push(sequence.row)
    sequence.row = -1
  }
}
