/**
 * Decides which tokens of which sequences make the next step. Pure bookkeeping: no clock, no device, no text. It may plan a step
 * before the one before has run: what that one samples is pending, and the device knows it when its turn comes.
 *
 * Order is rank: priority, then arrival. What runs decodes first, one token each. Of what is left of a step's tokens, the best ranked
 * prompt gets half, and then all of them get what they need, the shortest first: so a long prompt always gets on, and short ones do not
 * wait for it. A sequence is let in when there are pages for its present tokens, and takes pages as it is computed; when none is
 * left the worst ranked gives all of its own back and waits to be computed again, from what is still cached of it. So the best ranked
 * always gets on, and every sequence that fits alone ends.
 *
 * Attention makes a token of a long prompt cost many times what one of a short prompt does. While others decode and wait for the step to end, a chunk is
 * as long as its cost allows, so the end of a long prompt does not hold them up for longer than its beginning.
 */
import type { KvCache, PageCopies } from './cache/kv-cache'
import { RankedList } from './ranked-list'
import { compareRank, type Sequence } from './sequence'
import { costOf, tokensWithin } from './step-cost'

export interface SchedulerLimits {
  /** Sequences that run at the same time: rows of the persistent batch. At most `stepTokens`, so that all can decode in one step. */
  rows: number
  /** Tokens of a step. */
  stepTokens: number
  /** Tokens of context that cost as much as a token does without any. */
  contextPerToken: number
}

/** What a step computes. */
export interface StepPlan {
  /** Sum of `counts`. */
  tokens: number
  /** Of all tokens, in tokens without context; contexts count only while somebody decodes. */
  cost: number
  /** The sequences of the step, side by side in this order: `counts` tokens of each from `starts` on. */
  sequences: Sequence[]
  starts: number[]
  counts: number[]
  /** Where each sequence begins to store K and V: below stand pages that it shares. */
  storeFrom: number[]
  /** Sequences that get an id sampled, each behind the last token of the step's sequence with this index. */
  samples: Sequence[]
  sampleOf: number[]
  /** Page copies to make after the step. */
  copies: PageCopies
}

export interface SequenceCounts {
  running: number
  waiting: number
}

const NONE: readonly Sequence[] = []

export class Scheduler {
  /** Prompt tokens of all requests so far that did not have to be computed. */
  cachedTokens = 0
  private readonly running = new RankedList()
  private readonly waiting = new RankedList()
  private readonly parked = new Set<Sequence>()
  private readonly freeRows: number[]
  /** Something has changed since the best ranked that waits found no room. */
  private mayAdmit = true
  /** Sequences with a deadline. */
  private timed = 0

  constructor(
    private readonly cache: KvCache,
    private readonly limits: SchedulerLimits,
  ) {
    this.freeRows = Array.from({ length: limits.rows }, (_, i) => limits.rows - 1 - i)
  }

  /** Sequences want to be computed. */
  get hasWork(): boolean {
    return this.running.length > 0 || this.waiting.length > 0
  }

  get counts(): SequenceCounts {
    return { running: this.running.length, waiting: this.waiting.length + this.parked.size }
  }

  /** Requests that wait, beyond those that rows are free for. */
  get queue(): number {
    return this.waiting.length - this.freeRows.length
  }

  /** Takes in the samples of one prompt, at most as many as there are rows. The first computes the prompt, the others fork from it. */
  add(samples: readonly Sequence[]): void {
    const [leader, ...followers] = samples as [Sequence, ...Sequence[]]
    for (const follower of followers) follower.state = 'following'
    leader.followers = followers
    this.enqueue(leader)
    if (leader.deadline < Infinity) this.timed += samples.length
  }

  /** Sequences whose deadline has passed, for the caller to finish. */
  expired(now: number): readonly Sequence[] {
    if (this.timed === 0) return NONE
    const late = this.all().filter((sequence) => sequence.deadline <= now)
    return late.flatMap((sequence) => [sequence, ...sequence.followers])
  }

  /** The first deadline of all; Infinity where there is none. */
  get nextDeadline(): number {
    if (this.timed === 0) return Infinity
    return Math.min(...this.all().map((sequence) => sequence.deadline))
  }

  /** The next step. Empty only while ids are pending that everything waits for. */
  plan(now: number): StepPlan {
    const step: StepPlan = {
      tokens: 0,
      cost: 0,
      sequences: [],
      starts: [],
      counts: [],
      storeFrom: [],
      samples: [],
      sampleOf: [],
      copies: { from: [], to: [] },
    }
    this.admit()
    const decodes = this.countDecodes()
    const contextPerToken = decodes > 0 ? this.limits.contextPerToken : Infinity
    const prompts = this.planByRank(step, decodes, contextPerToken, now)
    if (prompts.length > 0) this.planPrompts(step, prompts, contextPerToken, now)
    for (const sequence of step.sequences) if (sequence.prefilled) this.forkFollowers(sequence, step.copies)
    return step
  }

  /** The id that a step sampled for the sequence is known. True when it counts, and is appended. Ids come in the order of the steps. */
  commit(sequence: Sequence, id: number): boolean {
    return sequence.state !== 'finished' && sequence.take(id)
  }

  /** Ends a sequence, whatever its state. While it has followers, it and they are finished together. */
  finish(sequence: Sequence): void {
    if (sequence.state === 'finished') return
    this.remove(sequence)
    sequence.state = 'finished'
    if (sequence.deadline < Infinity) this.timed--
  }

  /** The sequence gives its pages and its row to others until it is resumed. Not for one that waits for its leader. */
  park(sequence: Sequence): void {
    this.remove(sequence)
    sequence.state = 'parked'
    this.parked.add(sequence)
  }

  /** A parked sequence goes on. */
  resume(sequence: Sequence): void {
    this.parked.delete(sequence)
    this.enqueue(sequence)
  }

  /** Lets sequences in, best ranked first and none before its turn. One of higher priority takes the room of lower ones. */
  private admit(): void {
    while (this.mayAdmit && this.waiting.best) {
      const best = this.waiting.best
      if (best.pending > 0) return // until the id is known that it goes on from
      if (!this.hasRoomFor(best)) {
        const worst = this.running.worst
        if (worst && worst.priority < best.priority) this.preempt(worst)
        else this.mayAdmit = false
        continue
      }
      this.waiting.remove(best)
      this.running.add(best)
      best.state = 'running'
      for (const sequence of [best, ...best.followers]) sequence.row = this.freeRows.pop()!
    }
  }

  /**
   * Rows and pages for the sequence, beyond those that are promised, and a page for each one that runs to grow into, lest what was let in
   * is soon sent back. It then holds the pages that are cached of it.
   */
  private hasRoomFor(sequence: Sequence): boolean {
    const samples = 1 + sequence.followers.length
    if (this.freeRows.length < samples) return false
    this.adopt(sequence)
    if (this.running.length === 0) return true // nobody else holds pages, and it fits alone
    let needed = this.running.length + samples - 1
    for (const one of this.running) needed += this.missingPages(one)
    if (needed + this.missingPages(sequence) <= this.cache.availablePages) return true
    this.giveBack(sequence)
    return false
  }

  private missingPages(sequence: Sequence): number {
    return Math.max(0, this.cache.pagesFor(sequence.length) - sequence.table.length)
  }

  private countDecodes(): number {
    let decodes = 0
    for (const sequence of this.running) if (sequence.remaining === 1) decodes++
    return decodes
  }

  /**
   * Decode steps, and half of the tokens left for the best ranked prompt. Best ranked first: where there are no pages the worst give way,
   * which are never in the step yet. Returns the prompts that have tokens left to compute.
   */
  private planByRank(step: StepPlan, decodes: number, contextPerToken: number, now: number): Sequence[] {
    const prompts: Sequence[] = []
    let half = Math.ceil((this.limits.stepTokens - decodes) / 2)
    for (let i = 0; i < this.running.length; i++) {
      const sequence = this.running.at(i)
      this.cache.merge(sequence.table, sequence.tokens, Math.min(sequence.planned, sequence.length))
      if (sequence.remaining > 1) {
        this.adopt(sequence)
        const count =
          half === 0 ? 0 : Math.min(sequence.remaining, tokensWithin(half, sequence.planned, contextPerToken))
        if (count < sequence.remaining) prompts.push(sequence)
        if (count === 0) continue
        half = 0
        const cost = costOf(count, sequence.planned, contextPerToken)
        if (this.makeRoom(sequence, sequence.planned + count)) this.schedule(step, sequence, count, cost, now)
      } else if (sequence.remaining === 1) {
        if (this.makeRoom(sequence, sequence.planned + 1)) this.schedule(step, sequence, 1, 1, now)
      }
    }
    return prompts.filter((sequence) => sequence.state === 'running')
  }

  /** What is left of the step's tokens, and of the pages, for prompts: higher priority first, then those that need least. */
  private planPrompts(step: StepPlan, prompts: Sequence[], contextPerToken: number, now: number): void {
    prompts.sort((a, b) => b.priority - a.priority || a.remaining - b.remaining || compareRank(a, b))
    for (const sequence of prompts) {
      const left = this.limits.stepTokens - step.cost
      if (left < 1) return
      const at = step.sequences.indexOf(sequence)
      if (at < 0) this.adopt(sequence) // also what this step computes for others
      const { planned, remaining } = sequence
      const wanted = planned + Math.min(remaining, tokensWithin(left, planned, contextPerToken))
      const count = this.cache.reserve(sequence.table, wanted) - planned
      const cost = costOf(count, planned, contextPerToken)
      if (count > 0) this.schedule(step, sequence, count, cost, now, at < 0 ? undefined : at)
    }
  }

  /** Takes over cached pages where the sequence has come to the end of a page. The last token is computed at least: an id is sampled after it. */
  private adopt(sequence: Sequence): void {
    const { table, tokens, length } = sequence
    const before = table.shared
    this.cache.adopt(table, tokens, sequence.reusable)
    if (table.shared === before) return
    const planned = Math.min(table.shared * this.cache.pageSize, length - 1)
    if (!sequence.prefilled) {
      const ofPrompt = (count: number) => Math.min(count, sequence.promptLength)
      sequence.cachedTokens += ofPrompt(planned) - ofPrompt(sequence.planned)
    }
    sequence.planned = planned
  }

  /** Pages for so many tokens, if need be those of the worst ranked. False: that was the sequence itself. */
  private makeRoom(sequence: Sequence, tokens: number): boolean {
    while (this.cache.reserve(sequence.table, tokens) < tokens) {
      const worst = this.running.worst!
      this.preempt(worst)
      if (worst === sequence) return false
    }
    return true
  }

  /** The sequence's next tokens join the step, at index `at`: behind those it has there already. An id is sampled after its last. */
  private schedule(
    step: StepPlan,
    sequence: Sequence,
    count: number,
    cost: number,
    now: number,
    at = step.sequences.length,
  ): void {
    if (at === step.sequences.length) {
      step.sequences.push(sequence)
      step.starts.push(sequence.planned)
      step.counts.push(0)
      step.storeFrom.push(sequence.table.shared * this.cache.pageSize)
    }
    step.counts[at]! += count
    step.tokens += count
    step.cost += cost
    sequence.planned += count
    sequence.scored = Math.max(sequence.scored, sequence.planned)
    this.cache.publish(sequence.table, sequence.tokens, Math.min(sequence.planned, sequence.length))
    if (Number.isNaN(sequence.startedAt)) for (const sample of [sequence, ...sequence.followers]) sample.startedAt = now
    if (sequence.planned < sequence.end) return
    if (!sequence.prefilled) this.endPrefill(sequence)
    for (const sample of [sequence, ...sequence.followers]) {
      step.samples.push(sample)
      step.sampleOf.push(at)
      sample.pending++
    }
  }

  private endPrefill(leader: Sequence): void {
    this.cachedTokens += leader.cachedTokens
    for (const sample of [leader, ...leader.followers]) {
      sample.cachedTokens = leader.cachedTokens
      sample.prefilled = true
    }
  }

  /** The prompt is planned: its other samples share its full pages. What of the rest cannot be copied for want of a page, they compute. */
  private forkFollowers(leader: Sequence, copies: PageCopies): void {
    for (const follower of leader.followers) {
      follower.planned = this.cache.fork(follower.table, leader.table, leader.planned, copies)
      follower.state = 'running'
      this.running.add(follower)
    }
    leader.followers = []
  }

  private preempt(sequence: Sequence): void {
    this.remove(sequence)
    this.enqueue(sequence)
  }

  private enqueue(sequence: Sequence): void {
    sequence.state = 'waiting'
    this.waiting.add(sequence)
    this.mayAdmit = true
  }

  /** Out of the list it is in, without row and pages. */
  private remove(sequence: Sequence): void {
    if (sequence.state === 'running') this.running.remove(sequence)
    if (sequence.state === 'waiting') this.waiting.remove(sequence)
    if (sequence.state === 'parked') this.parked.delete(sequence)
    this.cache.publish(sequence.table, sequence.tokens, Math.min(sequence.planned, sequence.length))
    for (const one of [sequence, ...sequence.followers]) this.giveBack(one)
    this.mayAdmit = true
  }

  private giveBack(sequence: Sequence): void {
    this.cache.release(sequence.table)
    sequence.planned = 0
    if (!sequence.prefilled) sequence.cachedTokens = 0
    sequence.historySent = false
    if (sequence.row >= 0) this.freeRows.push(sequence.row)
    sequence.row = -1
  }

  private all(): Sequence[] {
    return [...this.running, ...this.waiting, ...this.parked]
  }
}
