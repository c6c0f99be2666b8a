/** Runs the scheduler against the fake model, step by step, holding its laws after every step. */
import { BatchPacker } from '../../lib/batch'
import { KvCache } from '../../lib/cache/kv-cache'
import { Scheduler, type StepPlan } from '../../lib/scheduler'
import { Sequence, type SequenceOptions } from '../../lib/sequence'
import { FakeModel, nextId, scoreOf } from '../engine/fake-model'

export interface SimulationOptions {
  pages: number
  pageSize: number
  rows: number
  stepTokens: number
  /** Default: contexts cost nothing. */
  contextPerToken?: number
  prefixCache?: boolean
  /** Steps that are planned before the ids of the first are known. Default 2. */
  flights?: number
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
  /** Every step's plan. */
  readonly trace: StepPlan[] = []
  private readonly flights: { plan: StepPlan; ids: Int32Array; scores: Float32Array }[] = []
  private readonly mostFlights: number
  private readonly packer: BatchPacker
  private arrivals = 0

  constructor(options: SimulationOptions) {
    this.mostFlights = options.flights ?? 2
    this.cache = new KvCache({ prefixCache: true, ...options })
    this.scheduler = new Scheduler(this.cache, { contextPerToken: Infinity, ...options })
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

  get isIdle(): boolean {
    return !this.scheduler.hasWork && this.flights.length === 0
  }

  /** Plans steps as far ahead as may be, then ends the first. `meanwhile` runs before that, as users' calls do. */
  step(now = 0, meanwhile: () => void = () => {}): void {
    for (const late of this.scheduler.expired(now)) this.end(late)
    while (this.flights.length < this.mostFlights && this.scheduler.hasWork) {
      const plan = this.scheduler.plan(now)
      this.checkPlan(plan)
      if (plan.tokens === 0) break
      this.trace.push(plan)
      const { ids, scores } = this.model.step(this.packer.pack(plan))
      this.model.copy(plan.copies.from, plan.copies.to)
      this.flights.push({ plan, ids, scores })
      this.checkLaws()
    }
    meanwhile()
    this.checkLaws()
    const flight = this.flights.shift()
    if (!flight) return
    for (const [n, sample] of flight.plan.samples.entries()) {
      if (this.scheduler.commit(sample, flight.ids[n]!) && sample.isFull) this.end(sample)
      this.onId(sample)
    }
    this.takeScores(flight.plan, flight.scores)
    this.steps++
    this.checkLaws()
  }

  private takeScores({ sequences, starts, counts }: StepPlan, scores: Float32Array): void {
    let taken = 0
    for (const [b, sequence] of sequences.entries()) {
      if (!sequence.scores) continue
      sequence.scores.set(scores.subarray(taken, taken + counts[b]!), starts[b]! + 1)
      taken += counts[b]!
      if (starts[b]! + counts[b]! === sequence.length - 1) this.end(sequence)
    }
    if (taken !== scores.length) throw new Error(`${scores.length} scores for ${taken} tokens`)
  }

  /** The forced ids of each sequence, by position. */
  readonly forced = new Map<Sequence, Map<number, number>>()

  force(sequence: Sequence, ids: readonly number[]): void {
    const positions = this.forced.get(sequence) ?? new Map<number, number>()
    for (const [i, id] of ids.entries()) {
      if (sequence.length + i < sequence.maxLength) positions.set(sequence.length + i, id)
    }
    this.forced.set(sequence, positions)
    sequence.force(ids)
    if (sequence.isFull) this.end(sequence)
  }

  /** Called for each sequence that got an id. */
  onId: (sequence: Sequence) => void = () => {}

  /** Steps until all have ended. */
  run(limit = 100_000): void {
    while (!this.isIdle) {
      if (this.steps > limit) throw new Error(`work is left after ${limit} steps`)
      this.step()
    }
  }

  checkLaws(): void {
    const live = [...this.live]
    this.cache.check(
      live.map(({ table, tokens, planned, length }) => ({ table, tokens, stored: Math.min(planned, length) })),
    )
    const { total, free, cached, private: own } = this.cache.counts()
    if (free + cached + own !== total) throw new Error('pages are not conserved')
    if (this.live.size === 0 && own !== 0) throw new Error(`${own} pages are private, and no sequence lives`)
    for (const sequence of live) {
      if (sequence.table.length > 0 && sequence.state !== 'running') throw new Error(`${sequence.state} with pages`)
    }
  }

  private checkPlan(plan: StepPlan): void {
    if (plan.tokens === 0 && this.flights.length === 0) throw new Error('there is work, and the step is empty')
    if (plan.tokens !== plan.counts.reduce((sum, count) => sum + count, 0)) throw new Error('tokens are not the sum')
    if (plan.cost < plan.tokens) throw new Error('tokens that cost less than 1')
    if (plan.counts.some((count) => count < 1)) throw new Error('a sequence without tokens in the step')
    for (const [b, sequence] of plan.sequences.entries()) {
      if (sequence.state !== 'running') throw new Error(`a sequence of the step is ${sequence.state}`)
      if (sequence.planned !== plan.starts[b]! + plan.counts[b]!)
        throw new Error('tokens of a sequence are not side by side')
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

/** The scores it must have, all of them. */
export function expectedScores({ tokens, length }: Sequence): Float32Array {
  const ids = [...tokens.subarray(0, length)]
  return Float32Array.from(ids, (id, i) => (i === 0 ? Number.NaN : scoreOf(ids.slice(0, i), id, VOCAB)))
}

/** The ids it must have, from its prompt and what was forced alone. */
export function expectedIds(
  sequence: Sequence,
  forced: ReadonlyMap<Sequence, Map<number, number>> = new Map(),
): number[] {
  const tokens = [...sequence.tokens.subarray(0, sequence.promptLength)]
  while (tokens.length < sequence.length) {
    const sampling = {
      temperature: sequence.sampling.temperature,
      seedLow: sequence.sampling.seedLow,
      sampleIndex: sequence.sampleIndex,
      penalized: sequence.keepsHistory ? tokens.slice(sequence.promptLength) : [],
    }
    tokens.push(forced.get(sequence)?.get(tokens.length) ?? nextId(tokens, VOCAB, sampling))
  }
  return tokens.slice(sequence.promptLength)
}
