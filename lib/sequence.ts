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
}

/** `following`: a sample without tokens of its own, until its leader has computed their prompt. */
export type SequenceState = 'waiting' | 'running' | 'following' | 'finished'

/**
 *            0           computed   computed + scheduled      length
 *  tokens    |-- K, V stored --|-- in this step --|-- later steps --|
 *
 * An id is sampled when the step reaches `length`. A prompt, a chunk of it, a decode step and a recomputation after preemption
 * are all the same: `computed` runs after `length`.
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

  state: SequenceState = 'waiting'
  /** [capacity] the first `length` are the prompt and what was generated. */
  tokens: Int32Array
  length: number
  computed = 0
  scheduled = 0
  /** Row of the persistent batch; -1 while waiting. */
  row = -1
  table = new PageTable()
  /** Entries of the page table that the device knows for this row. */
  sentPages = 0
  /** The device knows the ids so far, for the penalties. */
  historySent = false
  /** The other samples of the prompt, until they fork from this one. */
  followers: Sequence[] = []
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
    this.tokens = new Int32Array(prompt.length + 64)
    this.tokens.set(prompt)
    this.length = prompt.length
  }

  get isFull(): boolean {
    return this.length >= this.maxLength
  }

  /** Tokens whose K and V are not stored. */
  get remaining(): number {
    return this.length - this.computed
  }

  append(id: number): void {
    if (this.length === this.tokens.length) {
      const grown = new Int32Array(2 * this.length)
      grown.set(this.tokens)
      this.tokens = grown
    }
    this.tokens[this.length++] = id
  }

  /** Appends ids that were not sampled, as many as there is room for. */
  force(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length && !this.isFull; i++) this.append(ids[i]!)
    this.historySent = false // the device counts what it samples, and it did not sample these
  }
}

/** Below zero when `a` goes first: higher priority, then order of arrival. */
export function compareRank(a: Sequence, b: Sequence): number {
  return b.priority - a.priority || a.arrival - b.arrival || a.sampleIndex - b.sampleIndex
}
