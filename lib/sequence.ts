/** A request's tokens and their state, as the scheduler sees them. */
import { PageTable } from './cache/kv-cache'

/** Columns of a batch's sampling arrays that stay the same for the life of a sequence. */
export interface Sampling {
  temperature: number
  topP: number
  minP: number
  repetitionPenalty: number
  presencePenalty: number
  frequencyPenalty: number
  topK: number
  /** -1: none, else how many alternatives. */
  logprobs: number
  /** 64 bits, as two signed words. */
  seedLow: number
  seedHigh: number
  biasIds: Int32Array
  biasValues: Float32Array
}

export interface SequenceOptions {
  /** Order of arrival; samples of one prompt arrive together. */
  arrival: number
  /** Which of n samples of the prompt. */
  sampleIndex: number
  prompt: Int32Array
  /** Tokens, prompt included, at which the sequence is full. */
  maxLength: number
  /** Higher first. */
  priority: number
  /** On the clock of `Scheduler.plan`; Infinity: none. */
  deadline: number
  sampling: Sampling
  /** Prefixes are shared only among sequences of equal salt. Default: none. */
  cacheSalt?: string
  constraint?: Constraint
  /** The prompt is scored, and not continued. It has two tokens at least. Default false. */
  isScored?: boolean
}

/** What may come next, where not every id may: a grammar. */
export interface Constraint {
  /**
   * The mask hangs on the ids so far: it is asked for when all of them are known. Else ids may be pending. Who turns this on calls
   * `Sequence.force`, since what is pending was sampled without.
   */
  readonly isLive: boolean
  /** [ceil(V / 32)] bit v % 32 of word v / 32: id v may come next. Asked for once before each id. null: every id may. */
  mask(): Int32Array | null
}

/**
 * `following`: a sample without pages of its own, until its leader's prompt is planned. `parked`: out of the way, because its reader
 * has fallen behind.
 */
export type SequenceState = 'waiting' | 'running' | 'following' | 'parked' | 'finished'

/**
 *            0                  planned             length      end
 *  tokens    |-- K, V stored -----|-- later steps ----|-- pending --|
 *
 * Planning runs ahead of the device: `planned` counts what the steps planned so far store, run or not, and an id that such a step samples
 * is pending until it is known. An id is sampled when a step reaches `end`. A prompt, a chunk of it, a decode step and a recomputation
 * after preemption are all the same: `planned` runs after `end`.
 */
export class Sequence {
  readonly arrival: number
  readonly sampleIndex: number
  readonly promptLength: number
  readonly maxLength: number
  readonly priority: number
  readonly deadline: number
  readonly sampling: Sampling
  /** Penalties look at the ids so far, so the row on the device keeps them. */
  readonly keepsHistory: boolean
  readonly constraint: Constraint | undefined
  /** [length] of a sequence that is scored: the log probability of each token behind those before it. NaN for the first, and until it is known. */
  readonly scores: Float32Array | undefined

  state: SequenceState = 'waiting'
  /** [capacity] the first `length` are the prompt and what was generated. */
  tokens: Int32Array
  length: number
  planned = 0
  /** Ids that planned steps sample, not known yet. */
  pending = 0
  /** Of the next ids to become known, those that do not count: ids were forced in their place. */
  private void = 0
  /** Row of the persistent batch; -1 while waiting. */
  row = -1
  table: PageTable
  /** The device knows the ids so far, for the penalties. */
  historySent = false
  /** The other samples of the prompt, until they fork from this one. */
  followers: Sequence[] = []
  /** Tokens of the prompt that need not be computed, as cached pages hold them. */
  cachedTokens = 0
  /** The prompt has been planned to its end. */
  prefilled = false
  /** Tokens behind which a score is planned. Those of pages that are taken over later need no computing any more. */
  scored = 0
  /** When the sequence first got into a step, on the clock of `Scheduler.plan`; NaN before. */
  startedAt = Number.NaN

  constructor(options: SequenceOptions) {
    const { prompt, sampling } = options
    this.arrival = options.arrival
    this.sampleIndex = options.sampleIndex
    this.promptLength = prompt.length
    this.maxLength = options.maxLength
    this.priority = options.priority
    this.deadline = options.deadline
    this.sampling = sampling
    this.keepsHistory =
      sampling.repetitionPenalty !== 1 || sampling.presencePenalty !== 0 || sampling.frequencyPenalty !== 0
    this.constraint = options.constraint
    if (options.isScored) this.scores = new Float32Array(prompt.length).fill(Number.NaN)
    this.table = new PageTable(options.cacheSalt)
    this.tokens = new Int32Array(prompt.length + 64)
    this.tokens.set(prompt)
    this.length = prompt.length
  }

  get isFull(): boolean {
    return this.length >= this.maxLength
  }

  /** Tokens, those included that are not known yet. */
  get end(): number {
    return this.length + this.pending
  }

  /** Tokens that the next steps have to compute: the known ones, then a pending one. */
  get remaining(): number {
    if (this.scores) return this.length - 1 - this.planned
    if (this.end >= this.maxLength || (this.constraint?.isLive && this.pending > 0)) return 0
    return (this.planned < this.length ? this.length : this.end) - this.planned
  }

  /** The beginning that cached pages may stand for: they have keys and values, but no logits to score with. */
  get reusable(): number {
    return this.scores ? this.scored : this.length
  }

  /** A step has sampled the oldest pending id. True when it counts, and is appended. */
  take(id: number): boolean {
    if (this.void > 0) {
      this.void--
      return false
    }
    this.pending--
    this.append(id)
    return true
  }

  private append(id: number): void {
    if (this.length === this.tokens.length) {
      const grown = new Int32Array(2 * this.length)
      grown.set(this.tokens)
      this.tokens = grown
    }
    this.tokens[this.length++] = id
  }

  /**
   * Appends ids that were not sampled, as many as there is room for. Those that are pending stood in their place and do not count: without ids, the next
   * one is sampled anew.
   */
  force(ids: ArrayLike<number>): void {
    this.void += this.pending
    this.pending = 0
    this.planned = Math.min(this.planned, this.length) // K and V beyond are those of pending ids
    for (let i = 0; i < ids.length && !this.isFull; i++) this.append(ids[i]!)
    this.planned = Math.min(this.planned, this.length - 1)
    this.historySent = false // the device counts what it samples, and it did not sample these
  }
}

/** Below zero when `a` goes first: higher priority, then order of arrival. */
export function compareRank(a: Sequence, b: Sequence): number {
  return b.priority - a.priority || a.arrival - b.arrival || a.sampleIndex - b.sampleIndex
}
