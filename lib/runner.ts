import { BatchPacker } from './batch'
import { KvCache, type PageCounts } from './cache/kv-cache'
import { M2Error } from './errors'
import type { TokenLogprob } from './generation'
import { asM2Error, type NativeModel, type StepResult } from './native'
import { Scheduler, type SequenceCounts, type StepPlan } from './scheduler'
import type { Sequence } from './sequence'

export interface RunnerLimits {
  pages: number
  /** Tokens of a page. */
  pageSize: number
  /** Rows of the persistent batch. */
  rows: number
  stepTokens: number
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
  generatedTokens: number
}

interface Entry {
  owner: SequenceOwner
  request: Request
}

const NO_ALTERNATIVES: TokenLogprob[] = []

/**
 * The one loop that drives the model: plan a step, run it, give out its ids. It runs while there is work and holds nothing otherwise, so an idle
 * engine does not keep the process alive.
 */
export class Runner {
  private readonly cache: KvCache
  private readonly scheduler: Scheduler
  private readonly packer: BatchPacker
  /** Sequences that have not ended. */
  private readonly live = new Map<Sequence, Entry>()
  private readonly totals = { steps: 0, promptTokens: 0, generatedTokens: 0 }
  private loop: Promise<void> | undefined
  private closing: Promise<void> | undefined
  /** What submissions are answered with, once the engine is closed. */
  private refusal: M2Error | undefined

  constructor(
    private readonly model: NativeModel,
    limits: RunnerLimits,
  ) {
    this.cache = new KvCache(limits.pages, limits.pageSize)
    this.scheduler = new Scheduler(this.cache, limits)
    this.packer = new BatchPacker(limits)
  }

  get counts(): RunnerCounts {
    return { pages: this.cache.counts(), sequences: this.scheduler.counts, ...this.totals }
  }

  /** @throws {M2Error} CLOSED once the engine is closed. */
  checkOpen(): void {
    if (this.refusal) throw this.refusal
  }

  /** Takes in samples that fit alone, at most as many as there are rows. @throws {M2Error} CLOSED */
  submit(request: Request): void {
    this.checkOpen()
    const sequences = request.samples.map((owner) => owner.sequence)
    for (const owner of request.samples) this.live.set(owner.sequence, { owner, request })
    this.scheduler.add(sequences)
    this.totals.promptTokens += sequences[0]!.promptLength
    this.loop ??= this.run()
  }

  /** Ends all samples of a request that have not ended. */
  abort(request: Request): void {
    for (const { sequence } of request.samples) this.end(sequence, 'abort')
  }

  /** Idempotent. What runs ends with "abort"; resolves when the model is freed. */
  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown(): Promise<void> {
    this.refusal ??= new M2Error('CLOSED', 'the engine is closed')
    for (const sequence of [...this.live.keys()]) this.end(sequence, 'abort')
    await this.loop
    await this.model.close()
  }

  private async run(): Promise<void> {
    await null // what is asked in the same turn gets into the same step
    try {
      while (this.scheduler.hasWork) await this.step()
    } catch (error) {
      await this.breakDown(asM2Error(error))
    } finally {
      this.loop = undefined
    }
  }

  private async step(): Promise<void> {
    const now = performance.now()
    for (const late of this.scheduler.expired(now)) this.end(late, 'abort')
    if (!this.scheduler.hasWork) return
    const plan = this.scheduler.plan(now)
    const result = await this.compute(plan)
    this.totals.steps++
    this.scheduler.commit()
    for (const [n, sequence] of plan.samples.entries()) {
      const entry = this.live.get(sequence)
      if (entry) this.give(entry, result, n) // else it was aborted while the step ran
    }
  }

  private async compute(plan: StepPlan): Promise<StepResult> {
    const { from, to } = plan.copies
    const batch = this.packer.pack(plan)
    if (from.length === 0) return this.model.forward(batch)
    const copied = this.model.copyPages(Int32Array.from(from), Int32Array.from(to))
    const [result] = await Promise.all([this.model.forward(batch), copied])
    return result
  }

  /** Gives the n-th id of a step to its sequence. */
  private give({ owner, request }: Entry, result: StepResult, n: number): void {
    const { sequence } = owner
    const id = result.ids[n]!
    if (id < 0) {
      this.fail(request, notFinite(sequence))
      return
    }
    sequence.append(id)
    this.totals.generatedTokens++
    this.guard(request, () => {
      const isLast = owner.accept(id, result.logprobs[n] ?? Number.NaN, alternatives(sequence, result, n))
      if (isLast) this.end(sequence, 'stop')
      else if (sequence.isFull) this.end(sequence, 'length')
    })
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

function notFinite({ arrival, sampleIndex, length }: Sequence): M2Error {
  const sequence = `sequence ${arrival}${sampleIndex > 0 ? `, sample ${sampleIndex}` : ''}`
  return new M2Error('DEVICE_ERROR', `${sequence}: expected finite logits, found NaN or infinity at position ${length}`)
}

function alternatives({ sampling }: Sequence, { ids, topIds, topLogprobs }: StepResult, n: number): TokenLogprob[] {
  if (sampling.logprobs < 1) return NO_ALTERNATIVES
  const first = n * (topIds.length / ids.length)
  return Array.from(topIds.subarray(first, first + sampling.logprobs), (id, k) => {
    return { id, logprob: topLogprobs[first + k]! }
  })
}
