/** What planning costs: the scheduler, the KV cache and the packing of steps, driven with invented ids and no model. */
import { BatchPacker } from '../lib/batch'
import { KvCache, PageTable } from '../lib/cache/kv-cache'
import { Engine } from '../lib/index'
import { Scheduler, type StepPlan } from '../lib/scheduler'
import { Sequence } from '../lib/sequence'
import { Random } from '../test/reference/random'
import { NEUTRAL } from '../test/scheduler/simulation'
import { type Contender, sample, takeTurns } from './measure'
import { digits, type Table } from './tables'

const ROUNDS = 15
const STEP_TOKENS = 512
const VOCAB = 200_000
const LONG_PROMPT = 100_000 // tokens
const LONG_PROMPTS = 8 // looked up in turn, so that none stays in the nearest cache

interface DriveOptions {
  rows: number
  prefixCache: boolean
  /** Steps that are planned before the ids of the first are known: 2 with run-ahead, else 1. */
  flights: number
  pages?: number
  pageSize?: number
}

/** The loop of lib/runner around a model that takes no time and samples random ids. */
class Drive {
  readonly cache: KvCache
  private readonly scheduler: Scheduler
  private readonly packer: BatchPacker
  private readonly flights: StepPlan[] = []
  private readonly random = new Random(3)
  private arrivals = 0

  constructor(private readonly options: DriveOptions) {
    const limits = { pages: 8192, pageSize: 64, stepTokens: STEP_TOKENS, contextPerToken: Infinity, ...options }
    this.cache = new KvCache(limits)
    this.scheduler = new Scheduler(this.cache, limits)
    this.packer = new BatchPacker(limits)
  }

  add(prompt: Int32Array, newTokens: number): Sequence {
    const arrival = this.arrivals++
    const maxLength = prompt.length + newTokens
    const options = { arrival, sampleIndex: 0, prompt, maxLength, priority: 0, deadline: Infinity, sampling: NEUTRAL }
    const sequence = new Sequence(options)
    this.scheduler.add([sequence])
    return sequence
  }

  step(): void {
    while (this.flights.length < this.options.flights && this.scheduler.hasWork) {
      const plan = this.scheduler.plan(0)
      if (plan.tokens === 0) break
      this.packer.pack(plan)
      this.flights.push(plan)
    }
    for (const sequence of this.flights.shift()?.samples ?? []) {
      if (this.scheduler.commit(sequence, this.random.integer(VOCAB)) && sequence.isFull)
        this.scheduler.finish(sequence)
    }
  }

  /** Steps until the prompts are computed. */
  prefill(sequences: readonly Sequence[]): void {
    while (sequences.some((sequence) => sequence.length === sequence.promptLength)) this.step()
  }

  /** Microseconds per step. */
  time(steps: number): number {
    return microseconds(() => {
      for (let i = 0; i < steps; i++) this.step()
    }, steps)
  }
}

export async function benchScheduler(): Promise<Table[]> {
  return [await decodeTable(), await mixedTable(), await lookupTable(), await publishTable()]
}

/** Steps in which every sequence decodes one token. */
async function decodeTable(): Promise<Table> {
  const sizes = [1, 64, 256]
  const ways = [
    { flights: 1, prefixCache: false },
    { flights: 1, prefixCache: true },
    { flights: 2, prefixCache: false },
    { flights: 2, prefixCache: true },
  ]
  const name = (rows: number, way: number) => `${rows} ${way}`
  const contenders: Record<string, Contender> = {}
  for (const rows of sizes) {
    for (const [w, way] of ways.entries()) contenders[name(rows, w)] = () => decode({ rows, ...way })
  }
  const times = await takeTurns(contenders, ROUNDS)
  return {
    title: 'Scheduler cost of a decode step',
    note: 'Microseconds of plan, pack and commit (median, spread), all sequences decoding on 512 tokens and more, pages of 64 tokens.',
    columns: ['sequences', 'plain', 'prefix cache', 'run-ahead', 'run-ahead and prefix cache'],
    rows: sizes.map((rows) => [`${rows}`, ...ways.map((_, w) => withSpread(times[name(rows, w)]!))]),
  }
}

function decode(options: DriveOptions): number {
  const steps = 512
  const drive = new Drive(options)
  const random = new Random(1)
  const sequences = Array.from({ length: options.rows }, () => drive.add(prompt(random, 512), 2 * steps))
  drive.prefill(sequences)
  return drive.time(steps)
}

/** Steps of 512 tokens: chunks of prompts beside sequences that decode. */
async function mixedTable(): Promise<Table> {
  const cases = [
    { decoding: 0, prompts: 1 },
    { decoding: 63, prompts: 1 },
    { decoding: 192, prompts: 64 },
  ]
  const contenders: Record<string, Contender> = {}
  for (const [c, { decoding, prompts }] of cases.entries()) {
    for (const prefixCache of [false, true])
      contenders[`${c} ${prefixCache}`] = () => mixed(decoding, prompts, prefixCache)
  }
  const times = await takeTurns(contenders, ROUNDS)
  return {
    title: 'Scheduler cost of a mixed step',
    note: `Microseconds of plan, pack and commit (median, spread) of steps of ${STEP_TOKENS} tokens, with run-ahead.`,
    columns: ['decoding', 'long prompts', 'without prefix cache', 'with prefix cache'],
    rows: cases.map(({ decoding, prompts }, c) => [
      `${decoding}`,
      `${prompts}`,
      withSpread(times[`${c} false`]!),
      withSpread(times[`${c} true`]!),
    ]),
  }
}

function mixed(decoding: number, prompts: number, prefixCache: boolean): number {
  const steps = 64
  const drive = new Drive({ rows: decoding + prompts, prefixCache, flights: 2 })
  const random = new Random(2)
  drive.prefill(Array.from({ length: decoding }, () => drive.add(prompt(random, 128), 4 * steps)))
  // Not done when the time is over: together the prompts have more tokens than the steps.
  for (let p = 0; p < prompts; p++) drive.add(prompt(random, Math.max(2048, (2 * steps * STEP_TOKENS) / prompts)), 1)
  drive.step()
  return drive.time(steps)
}

/** Finding the pages of a long prompt that are all cached. */
async function lookupTable(): Promise<Table> {
  const sizes = [64, 16]
  const contenders: Record<string, Contender> = {}
  for (const pageSize of sizes) Object.assign(contenders, lookups(pageSize))
  const times = await takeTurns(contenders, ROUNDS)
  return {
    title: `Lookup of a cached prompt of ${LONG_PROMPT} tokens`,
    note: 'Milliseconds (median, spread). The whole step: the request is taken in, its pages found, and the step planned and packed.',
    columns: ['tokens of a page', 'lookup', 'whole step'],
    rows: sizes.map((pageSize) => [
      `${pageSize}`,
      withSpread(times[`${pageSize} lookup`]!, 1000),
      withSpread(times[`${pageSize} step`]!, 1000),
    ]),
  }
}

function lookups(pageSize: number): Record<string, Contender> {
  const random = new Random(4)
  const prompts = Array.from({ length: LONG_PROMPTS }, () => prompt(random, LONG_PROMPT))
  const pages = (LONG_PROMPTS + 1) * Math.ceil(LONG_PROMPT / pageSize)
  const drive = new Drive({ rows: 1, prefixCache: true, flights: 1, pages, pageSize })
  for (const tokens of prompts) {
    drive.prefill([drive.add(tokens, 1)])
  }
  const full = Math.floor((LONG_PROMPT - 1) / pageSize)
  const expect = (found: number) => {
    if (found < full) throw new Error(`expected ${full} cached pages, found ${found}`)
  }
  const mean = (work: (tokens: Int32Array) => number) => sample(prompts.map(work)).median
  return {
    [`${pageSize} lookup`]: () =>
      mean((tokens) => {
        const table = new PageTable()
        const time = microseconds(() => drive.cache.adopt(table, tokens, tokens.length))
        expect(table.length)
        drive.cache.release(table)
        return time
      }),
    [`${pageSize} step`]: () =>
      mean((tokens) => {
        let sequence: Sequence | undefined
        const time = microseconds(() => {
          sequence = drive.add(tokens, 1)
          drive.step()
        })
        expect(sequence!.cachedTokens / pageSize)
        return time
      }),
  }
}

/** What the prefix cache costs where it never helps: steps of one prompt of 512 tokens each, none seen before, in a cache that is full. */
async function publishTable(): Promise<Table> {
  const sizes = [64, 16]
  const engine = await Engine.load(undefined, { prefixCache: false })
  const contenders: Record<string, Contender> = { model: () => prefill(engine) }
  for (const pageSize of sizes) {
    for (const prefixCache of [false, true]) contenders[`${pageSize} ${prefixCache}`] = unseen(pageSize, prefixCache)
  }
  try {
    const times = await takeTurns(contenders, ROUNDS)
    const model = times.model!
    return {
      title: `Prefix cache at zero hits, steps of ${STEP_TOKENS} tokens`,
      note: `Microseconds of planning a step (median, spread); share: what the prefix cache adds, of such a step of the embedded model (${withSpread(model, 1000)} ms).`,
      columns: ['tokens of a page', 'without prefix cache', 'with prefix cache', 'share of the step'],
      rows: sizes.map((pageSize) => {
        const [off, on] = [times[`${pageSize} false`]!, times[`${pageSize} true`]!]
        const share = (on.median - off.median) / model.median
        return [`${pageSize}`, withSpread(off), withSpread(on), `${(100 * share).toFixed(3)} %`]
      }),
    }
  } finally {
    await engine.close()
  }
}

function unseen(pageSize: number, prefixCache: boolean): Contender {
  const steps = 64
  const drive = new Drive({ rows: 64, prefixCache, flights: 2, pages: 65_536 / pageSize, pageSize })
  const random = new Random(5)
  return () => {
    for (let i = 0; i <= steps; i++) drive.add(prompt(random, STEP_TOKENS), 1)
    const time = drive.time(steps)
    drive.step()
    return time
  }
}

/** Microseconds of a step of 512 tokens on the embedded model. */
async function prefill(engine: Engine): Promise<number> {
  const tokens = Int32Array.from({ length: STEP_TOKENS }, () => 8 + Math.floor(1400 * Math.random()))
  const { timing } = await engine.generate(tokens, { maxTokens: 1, temperature: 0 }).result()
  return 1000 * timing.prefillMs
}

const prompt = (random: Random, length: number): Int32Array => Int32Array.from({ length }, () => random.integer(VOCAB))

function microseconds(work: () => void, times = 1): number {
  const start = performance.now()
  work()
  return (1000 * (performance.now() - start)) / times
}

const withSpread = ({ median, spread }: { median: number; spread: number }, divisor = 1): string =>
  `${digits(median / divisor)} ±${spread.toFixed(0)} %`
