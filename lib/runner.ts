import { BatchPacker } from './batch'
import { KvCache, type PageCounts } from './cache/kv-cache'
import type { PrefixStore } from './cache/prefix-store'
import { M2Error } from './errors'
import type { TokenLogprob } from './generation'
import { asM2Error, type NativeModel, NOT_FINITE, type StepResult } from './native'
import type { PageDoor } from './prefixes/prefixes'
import { Scheduler, type SequenceCounts, type StepPlan } from './scheduler'
import type { Sequence } from './sequence'

export interface RunnerLimits {
  pages: number
  /** Tokens of a page. */
  pageSize: number
  /** Rows of the persistent batch. */
  rows: number
  stepTokens: number
  /** Tokens of context that cost as much as a token does without any. */
  contextPerToken: number
  /** Requests that may wait beyond those that rows are free for. */
  queue: number
  prefixCache: boolean
}

/** Who owns a sequence and is told of its ids and its end. */
export interface SequenceOwner {
  readonly sequence: Sequence
  /** An id was sampled and appended to the sequence. True: it is the last one. `logprob` and `top` count only where asked for. */
  accept(id: number, logprob: number, top: TokenLogprob[]): boolean
  end(reason: 'stop' | 'length' | 'abort'): void
}

/** The samples of one prompt. */
export interface Request {
  readonly samples: readonly SequenceOwner[]
  /** All samples have ended. */
  complete(): void
  /** The work failed; no sample is told. */
  fail(error: unknown): void
}

export interface RunnerCounts {
  pages: PageCounts
  sequences: SequenceCounts
  steps: number
  promptTokens: number
  cachedTokens: number
  generatedTokens: number
}

interface Entry {
  owner: SequenceOwner
  request: Request
}

/** A step that the model has, and what it will give. */
interface Flight {
  plan: StepPlan
  result: Promise<StepResult>
}

const NO_ALTERNATIVES: TokenLogprob[] = []

/** Steps that the model has at a time: one that runs, and the next, so that the device never waits for JavaScript. */
const FLIGHTS = 2

/** Milliseconds; of a longer one Node makes none. */
const LONGEST_TIMEOUT = 2 ** 31 - 1

/**
 * The one loop that drives the model: plan a step, hand it over, give out the ids of the one before. It runs while there is work and holds
 * nothing otherwise, so an idle engine does not keep the process alive.
 */
export class Runner implements PageDoor {
  private readonly cache: KvCache
  private readonly scheduler: Scheduler
  private readonly packer: BatchPacker
  /** Sequences that have not ended. */
  private readonly live = new Map<Sequence, Entry>()
  private readonly totals = { steps: 0, promptTokens: 0, generatedTokens: 0 }
  private loop: Promise<void> | undefined
  /** Ends what is parked when its deadline passes and nothing else runs. */
  private alarm: NodeJS.Timeout | undefined
  private closing: Promise<void> | undefined
  /** What submissions are answered with, once the engine is closed. */
  refusal: M2Error | undefined

  constructor(
    private readonly model: NativeModel,
    private readonly limits: RunnerLimits,
  ) {
    this.cache = new KvCache(limits)
    this.scheduler = new Scheduler(this.cache, limits)
    this.packer = new BatchPacker(limits)
  }

  get counts(): RunnerCounts {
    const { counts: sequences, cachedTokens } = this.scheduler
    return { pages: this.cache.counts(), sequences, cachedTokens, ...this.totals }
  }

  /** @throws {M2Error} CLOSED once the engine is closed. */
  checkOpen(): void {
    if (this.refusal) throw this.refusal
  }

  /** Takes in samples that fit alone, at most as many as there are rows. @throws {M2Error} CLOSED, QUEUE_FULL */
  submit(request: Request): void {
    this.checkOpen()
    this.checkQueue()
    const sequences = request.samples.map((owner) => owner.sequence)
    for (const owner of request.samples) this.live.set(owner.sequence, { owner, request })
    this.scheduler.add(sequences)
    this.totals.promptTokens += sequences[0]!.promptLength
    this.wake()
  }

  /** The reader of a sequence has fallen behind: it gives its place to others until it is resumed. */
  park(sequence: Sequence): void {
    if (sequence.state === 'running' || sequence.state === 'waiting') this.scheduler.park(sequence)
  }

  resume(sequence: Sequence): void {
    if (sequence.state !== 'parked') return
    this.scheduler.resume(sequence)
    this.wake()
  }

  /** Ends all samples of a request that have not ended. */
  abort(request: Request): void {
    for (const { sequence } of request.samples) this.end(sequence, 'abort')
  }

  /** The cached pages, to be saved and loaded. */
  get prefixes(): PrefixStore {
    return this.cache
  }

  async readPages(pages: Int32Array): Promise<Uint8Array> {
    this.checkOpen()
    return this.model.readPages(pages).catch((error) => {
      throw asM2Error(error)
    })
  }

  async writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    try {
      await this.model.writePages(pages, bytes)
    } catch (cause) {
      const error = asM2Error(cause)
      await this.breakDown(error) // the pages can be matched already
      throw error
    }
  }

  /** Idempotent. What runs ends with "abort"; resolves when the model is freed. */
  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown(): Promise<void> {
    this.refusal ??= new M2Error('CLOSED', 'the engine is closed')
    clearTimeout(this.alarm)
    for (const sequence of [...this.live.keys()]) this.end(sequence, 'abort')
    await this.loop
    await this.model.close()
  }

  private checkQueue(): void {
    const { queue } = this.scheduler
    if (queue < this.limits.queue) return
    throw new M2Error(
      'QUEUE_FULL',
      `expected fewer than ${this.limits.queue} requests that wait (maxQueue), found as many`,
    )
  }

  private wake(): void {
    clearTimeout(this.alarm)
    this.loop ??= this.run()
  }

  private async run(): Promise<void> {
    await null // what is asked in the same turn gets into the same step
    try {
      const flights: Flight[] = []
      for (;;) {
        for (const late of this.scheduler.expired(performance.now())) this.end(late, 'abort')
        this.takeOff(flights)
        const flight = flights.shift()
        if (!flight) break
        this.settle(flight.plan, await flight.result)
      }
    } catch (error) {
      await this.breakDown(asM2Error(error))
    } finally {
      this.loop = undefined // in the same turn in which there was no work left
      this.setAlarm()
    }
  }

  /** Plans steps and hands them over, as many as the model may have and as there are. */
  private takeOff(flights: Flight[]): void {
    while (flights.length < FLIGHTS && this.scheduler.hasWork) {
      const plan = this.scheduler.plan(performance.now())
      if (plan.tokens > 0) flights.push({ plan, result: this.launch(plan) })
      else if (flights.length > 0)
        return // everything waits for an id
      else throw new M2Error('DEVICE_ERROR', 'internal: expected a step to plan, found none')
    }
  }

  private launch(plan: StepPlan): Promise<StepResult> {
    const { from, to } = plan.copies
    const result = this.model.forward(this.packer.pack(plan))
    const copied = from.length > 0 && this.model.copyPages(Int32Array.from(from), Int32Array.from(to))
    const both = copied ? Promise.all([result, copied]).then(() => result) : result
    both.catch(() => {}) // the loop may end with the error of the step before
    return both
  }

  private settle(plan: StepPlan, result: StepResult): void {
    this.totals.steps++
    for (const [n, sequence] of plan.samples.entries()) {
      const entry = this.live.get(sequence)
      if (entry) this.give(entry, result, n) // else it ended while the step ran
    }
    let first = 0
    for (const [b, sequence] of plan.sequences.entries()) {
      if (!sequence.scores) continue
      const scores = result.scores.subarray(first, first + plan.counts[b]!)
      first += scores.length
      const entry = this.live.get(sequence)
      if (entry) this.giveScores(entry, plan.starts[b]! + 1, scores)
    }
  }

  private setAlarm(): void {
    const deadline = this.refusal ? Infinity : this.scheduler.nextDeadline
    if (deadline === Infinity) return
    const delay = Math.max(0, deadline - performance.now()) + 1
    const alarm = setTimeout(() => this.wake(), Math.min(delay, LONGEST_TIMEOUT))
    this.alarm = alarm.unref()
  }

  /** Gives the n-th id of a step to its sequence. */
  private give({ owner, request }: Entry, result: StepResult, n: number): void {
    const { sequence } = owner
    const id = result.ids[n]!
    if (id < 0) {
      this.fail(request, withoutId(sequence, id, sequence.length))
      return
    }
    if (!this.scheduler.commit(sequence, id)) return
    this.totals.generatedTokens++
    this.guard(request, () => {
      const isLast = owner.accept(id, result.logprobs[n] ?? Number.NaN, alternatives(sequence, result, n))
      if (isLast) this.end(sequence, 'stop')
      else if (sequence.isFull) this.end(sequence, 'length')
    })
  }

  /** Gives a step's scores to their sequence: of its tokens from `first` on. */
  private giveScores({ owner, request }: Entry, first: number, scores: Float32Array): void {
    const { sequence } = owner
    const broken = scores.findIndex(Number.isNaN)
    if (broken >= 0) {
      this.fail(request, withoutId(sequence, NOT_FINITE, first + broken))
      return
    }
    sequence.scores!.set(scores, first)
    if (first + scores.length === sequence.length) this.end(sequence, 'stop')
  }

  private end(sequence: Sequence, reason: 'stop' | 'length' | 'abort'): void {
    const entry = this.live.get(sequence)
    if (!entry) return
    const { owner, request } = entry
    this.drop(sequence)
    this.guard(request, () => {
      owner.end(reason)
      if (!request.samples.some((sample) => this.live.has(sample.sequence))) request.complete()
    })
  }

  /** Runs what an owner does with its ids: an error in one answer's text must not stop the others. */
  private guard(request: Request, work: () => void): void {
    try {
      work()
    } catch (error) {
      this.fail(request, error)
    }
  }

  private fail(request: Request, error: unknown): void {
    for (const { sequence } of request.samples) this.drop(sequence)
    request.fail(error)
  }

  private drop(sequence: Sequence): void {
    this.live.delete(sequence)
    this.scheduler.finish(sequence)
  }

  /** The device failed in mid-step: nothing can be trusted any more. */
  private async breakDown(error: M2Error): Promise<void> {
    this.refusal ??= new M2Error('CLOSED', `the engine is closed, after an error: ${error.message}`, { cause: error })
    for (const request of new Set([...this.live.values()].map((entry) => entry.request))) this.fail(request, error)
    await this.model.close().catch(() => {}) // the error above says more than what follows from it
  }
}

function withoutId({ arrival, sampleIndex }: Sequence, id: number, position: number): M2Error {
  const sequence = `sequence ${arrival}${sampleIndex > 0 ? `, sample ${sampleIndex}` : ''}`
  const [expected, found] =
    id === NOT_FINITE ? ['finite logits', 'NaN or infinity'] : ['an id that its constraint allows', 'none']
  return new M2Error('DEVICE_ERROR', `${sequence}: expected ${expected}, found ${found} at position ${position}`)
}

function alternatives({ sampling }: Sequence, { ids, topIds, topLogprobs }: StepResult, n: number): TokenLogprob[] {
  if (sampling.logprobs < 1) return NO_ALTERNATIVES
  const first = n * (topIds.length / ids.length)
  return Array.from(topIds.subarray(first, first + sampling.logprobs), (id, k) => {
    return { id, logprob: topLogprobs[first + k]! }
  })
}
