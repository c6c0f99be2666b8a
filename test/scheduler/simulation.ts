/** Runs the scheduler against the fake model, step by step, holding its laws after every step. */
import { BatchPacker } from '../../lib/batch'
import { KvCache } from '../../lib/cache/kv-cache'
import { Scheduler } from '../../lib/scheduler'
import { Sequence, type SequenceOptions } from '../../lib/sequence'
import { FakeModel, nextId } from '../engine/fake-model'

export interface SimulationOptions {
  pages: number
  pageSize: number
  rows: number
  stepTokens: number
}

export const VOCAB = 1000

/** Deterministic random numbers (mulberry32). */
export function randomNumbers(seed: number) {
  let state = seed
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  /** An integer from low to high, both included. */
  const between = (low: number, high: number) => low + Math.floor(next() * (high - low + 1))
  return { next, between }
}

export class Simulation {
  readonly cache: KvCache
  readonly scheduler: Scheduler
  readonly model: FakeModel
  /** Every sequence that was added and has not ended. */
  readonly live = new Set<Sequence>()
  readonly ended: Sequence[] = []
  steps = 0
  /** Sequences of each step. */
  readonly trace: Sequence[][] = []
  private readonly packer: BatchPacker
  private arrivals = 0

  constructor(options: SimulationOptions) {
    this.cache = new KvCache(options.pages, options.pageSize)
    this.scheduler = new Scheduler(this.cache, options)
    this.packer = new BatchPacker(options)
    this.model = new FakeModel({ ...options, vocabSize: VOCAB })
  }

  add(prompt: number[], newTokens: number, options: Partial<SequenceOptions> & { n?: number } = {}): Sequence[] {
    const arrival = this.arrivals++
    const samples = Array.from({ length: options.n ?? 1 }, (_, sampleIndex) => {
      return new Sequence({
        arrival,
        sampleIndex,
        prompt: Int32Array.from(prompt),
        maxLength: prompt.length + newTokens,
        priority: 0,
        deadline: Infinity,
        ...options,
        sampling: { ...NEUTRAL, temperature: 1, seedLow: arrival, ...options.sampling },
      })
    })
    for (const sample of samples) this.live.add(sample)
    this.scheduler.add(samples)
    return samples
  }

  end(sequence: Sequence): void {
    this.scheduler.finish(sequence)
    if (this.live.delete(sequence)) this.ended.push(sequence)
  }

  /** One step. `meanwhile` runs between plan and commit, as users' calls do. */
  step(now = 0, meanwhile: () => void = () => {}): void {
    for (const late of this.scheduler.expired(now)) this.end(late)
    if (!this.scheduler.hasWork) return
    const plan = this.scheduler.plan(now)
    if (plan.tokens === 0) throw new Error('there is work, and the step is empty')
    this.trace.push([...plan.sequences])
    this.model.copy(plan.copies.from, plan.copies.to)
    const { ids } = this.model.step(this.packer.pack(plan))
    this.checkLaws()
    meanwhile()
    this.scheduler.commit()
    for (const [n, sample] of plan.samples.entries()) {
      if (sample.state === 'finished') continue
      sample.append(ids[n]!)
      if (sample.isFull) this.end(sample)
    }
    this.steps++
    this.checkLaws()
  }

  /** Steps until all have ended. */
  run(limit = 100_000): void {
    while (this.scheduler.hasWork) {
      if (this.steps > limit) throw new Error(`work is left after ${limit} steps`)
      this.step()
    }
  }

  checkLaws(): void {
    const live = [...this.live]
    const tables = live.map((sequence) => sequence.table)
    this.cache.check(
      tables,
      live.map((sequence) => sequence.computed),
    )
    const { total, free, cached, private: own } = this.cache.counts()
    if (free + cached + own !== total) throw new Error('pages are not conserved')
    for (const sequence of live) {
      const holds = sequence.table.length > 0
      if (holds !== (sequence.state === 'running')) throw new Error(`${sequence.state} with pages: ${holds}`)
    }
  }
}

export const NEUTRAL = {
  temperature: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  topK: 0,
  logprobs: -1,
  seedLow: 0,
  seedHigh: 0,
  biasIds: new Int32Array(0),
  biasValues: new Float32Array(0),
}

/** The ids a sequence generated. */
export function generated(sequence: Sequence): number[] {
  return [...sequence.tokens.subarray(sequence.promptLength, sequence.length)]
}

/** The ids it must generate, from its tokens alone. */
export function expectedIds(sequence: Sequence): number[] {
  const tokens = [...sequence.tokens.subarray(0, sequence.promptLength)]
  while (tokens.length < sequence.length) {
    const sampling = {
      temperature: sequence.sampling.temperature,
      seedLow: sequence.sampling.seedLow,
      sampleIndex: sequence.sampleIndex,
      penalized: sequence.keepsHistory ? tokens.slice(sequence.promptLength) : [],
    }
    tokens.push(nextId(tokens, VOCAB, sampling))
  }
  return tokens.slice(sequence.promptLength)
}
