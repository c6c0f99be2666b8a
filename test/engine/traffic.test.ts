/**
 * Random traffic through the whole engine, over the model of invented ids: whatever callers do and whenever, every request ends with the
 * ids that are its own, or with an error that says why not, and nothing stays behind.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Generation, Result } from '../../lib/generation'
import type { GenerateOptions } from '../../lib/options'
import { Random } from '../reference/random'
import { type FakeEngineOptions, fakeEngine } from './fake-engine'
import { nextId } from './fake-model'

const VOCAB = 500

interface Asked {
  prompt: number[]
  options: GenerateOptions
  /** Ends differently than by its own length or stop ids, or may. */
  mayAbort: boolean
}

interface Outcome extends Asked {
  result?: Result
  error?: { code: string; message: string }
  /** Read from the stream, for each sample. */
  read: number[][]
  readToEnd: boolean
}

class Traffic {
  readonly random: Random
  readonly fake: ReturnType<typeof fakeEngine>
  readonly limits: Required<Pick<FakeEngineOptions, 'context' | 'rows' | 'queue' | 'stepTokens'>>
  readonly outcomes: Outcome[] = []

  constructor(
    readonly seed: number,
    readonly isLong: boolean,
  ) {
    this.random = new Random(seed)
    const pageSize = isLong ? 8 : 1 + this.pick(5)
    const pages = isLong ? 90 : 6 + this.pick(30)
    const rows = 1 + this.pick(6)
    const stepTokens = rows + this.pick(20)
    const context = Math.min(pages * pageSize, isLong ? 700 : 60)
    const queue = this.oneIn(3) && !isLong ? this.pick(6) : 1000
    this.limits = { context, rows, queue, stepTokens }
    this.fake = fakeEngine({ ...this.limits, pages, pageSize, vocabSize: VOCAB, prefixCache: !this.oneIn(5) })
  }

  pick(below: number): number {
    return this.random.integer(below)
  }

  oneIn(count: number): boolean {
    return this.pick(count) === 0
  }

  /** A few microtasks or a few turns of the event loop. */
  async pause(turns = 8): Promise<void> {
    if (this.oneIn(2)) for (let i = this.pick(6); i > 0; i--) await null
    else for (let i = this.pick(turns); i > 0; i--) await new Promise(setImmediate)
    if (this.oneIn(20)) await wait(1)
  }

  ask(): Asked {
    const { context, rows } = this.limits
    // A few families of prompts that begin alike, so that pages are shared.
    const family = this.pick(3)
    const length = 1 + this.pick(Math.min(40, context - 1))
    const prompt = Array.from({ length }, (_, i) => (i < 3 * family ? 7 * family : 11 * family) + i)
    if (this.oneIn(2)) prompt[length - 1] = this.pick(VOCAB)
    const options: GenerateOptions = {
      maxTokens: this.isLong && this.oneIn(2) ? 300 + this.pick(350) : 1 + this.pick(30),
    }
    if (this.oneIn(2)) Object.assign(options, { temperature: 1, seed: this.pick(4) })
    if (this.oneIn(4)) options.n = 1 + this.pick(Math.min(3, rows))
    if (this.oneIn(3)) options.priority = this.pick(3)
    if (this.oneIn(4)) options.cacheSalt = `${this.pick(2)}`
    if (this.oneIn(4)) options.frequencyPenalty = 0.5
    if (this.oneIn(3)) options.stopTokenIds = Array.from({ length: this.isLong ? 1 : 15 }, () => this.pick(VOCAB))
    if (this.oneIn(6)) options.deadlineMs = this.pick(10)
    return { prompt, options, mayAbort: options.deadlineMs !== undefined }
  }

  /** One caller and its manners. */
  async call(): Promise<void> {
    await this.pause()
    const asked = this.ask()
    const controller = new AbortController()
    if (this.oneIn(4)) asked.options.signal = controller.signal
    const generation = this.fake.engine.generate(asked.prompt, asked.options)
    const outcome: Outcome = { ...asked, read: [[], [], []], readToEnd: false }
    this.outcomes.push(outcome)
    const aborting = this.oneIn(5) ? this.abort(outcome, generation, controller) : undefined
    try {
      if (this.oneIn(2)) await this.read(generation, outcome)
      if (this.oneIn(4)) await this.pause()
      outcome.result = await generation.result()
    } catch (error) {
      outcome.error = error as Outcome['error']
    }
    await aborting
  }

  private async abort(outcome: Outcome, generation: Generation, controller: AbortController): Promise<void> {
    outcome.mayAbort = true
    if (this.oneIn(2)) await this.pause(this.isLong ? 500 : 8)
    if (outcome.options.signal) controller.abort()
    else generation.abort()
  }

  private async read(generation: Generation, outcome: Outcome): Promise<void> {
    const isSlow = this.oneIn(2)
    const leavesAfter = this.oneIn(4) ? this.pick(20) : Infinity
    const stopsAfter = this.oneIn(4) ? this.pick(20) : Infinity
    let chunks = 0
    if (this.oneIn(5))
      void generation.result().catch(() => {}) // lifts the back-pressure, and leaving is no abort
    else if (leavesAfter < Infinity) outcome.mayAbort = true
    const iterator = generation[Symbol.asyncIterator]()
    for (;;) {
      const { done, value } = await iterator.next()
      if (done) break
      outcome.read[value.index]!.push(...value.tokenIds)
      if (++chunks > leavesAfter) return void (await iterator.return!())
      if (chunks === stopsAfter) return await this.pause(this.isLong ? 2000 : 8) // until the result is asked for
      if (isSlow) await this.pause(this.isLong && this.oneIn(4) ? 1000 : 8)
    }
    outcome.readToEnd = true
  }

  /** The ids of a sample up to where its own options end it, and why it ends there. */
  private own({ prompt, options }: Asked, sampleIndex: number): { ids: number[]; reason: string } {
    const { temperature = 0, seed: seedLow = 0, frequencyPenalty } = options
    const most = Math.min(options.maxTokens!, this.limits.context - prompt.length)
    const ids: number[] = []
    while (ids.length < most) {
      const penalized = frequencyPenalty ? ids : undefined
      ids.push(nextId([...prompt, ...ids], VOCAB, { temperature, seedLow, sampleIndex, penalized }))
      if (options.stopTokenIds?.includes(ids.at(-1)!)) return { ids, reason: 'stop' }
    }
    return { ids, reason: 'length' }
  }

  /** Of a call that was answered; `allEnd`: the engine was closed meanwhile. */
  checkResult(outcome: Outcome, mayAllAbort: boolean): void {
    const { result, options, read } = outcome
    const samples = result!.samples ?? [result!]
    expect(samples).toHaveLength(options.n ?? 1)
    for (const [index, { tokenIds, finishReason, promptTokenIds }] of samples.entries()) {
      const { ids, reason } = this.own(outcome, index)
      expect(promptTokenIds).toEqual(outcome.prompt)
      expect(tokenIds).toEqual(ids.slice(0, tokenIds.length))
      if (finishReason !== 'abort') expect([finishReason, tokenIds.length]).toEqual([reason, ids.length])
      else expect(outcome.mayAbort || mayAllAbort, 'somebody aborted').toBe(true)
      expect(read[index]).toEqual(tokenIds.slice(0, read[index]!.length))
      if (outcome.readToEnd) expect(read[index]).toEqual(tokenIds)
    }
  }

  /** The id that was not finite is the next one of the sequence that the error names. */
  checkBroken(outcome: Outcome, brokenIds: ReadonlySet<number>): void {
    const [, sample = '0', position] = /^sequence \d+(?:, sample (\d))?: .* at position (\d+)$/.exec(
      outcome.error!.message,
    )!
    const at = Number(position) - outcome.prompt.length
    expect(brokenIds.has(this.own(outcome, Number(sample)).ids[at]!)).toBe(true)
  }

  checkNothingStays(): void {
    const { pages, sequences } = this.fake.engine.stats()
    expect([pages.private, sequences]).toEqual([0, { running: 0, waiting: 0 }])
    expect(pages.free + pages.cached).toBe(pages.total)
    const { cache } = (this.fake.engine as unknown as { runner: { cache: { check(tables: []): void } } }).runner
    cache.check([])
  }
}

const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)

const CALLS = 50
const seeds = (count: number) => Array.from({ length: count }, (_, i) => i + 1)
const callsOf = (traffic: Traffic) => Promise.all(Array.from({ length: CALLS }, () => traffic.call()))

describe('random traffic', () => {
  it.each(seeds(40))('gives everyone its own ids, and counts them (seed %i)', async (seed) => {
    const traffic = new Traffic(seed, seed % 4 === 0)
    await callsOf(traffic)
    const { outcomes, fake, limits } = traffic
    for (const outcome of outcomes) {
      if (outcome.error) expect([outcome.error.code, limits.queue]).toEqual(['QUEUE_FULL', Math.min(limits.queue, 5)])
      else traffic.checkResult(outcome, false)
    }
    const results = outcomes.flatMap((outcome) => outcome.result ?? [])
    expect(fake.engine.stats()).toMatchObject({
      promptTokens: sum(results.map((result) => result.usage.promptTokens)),
      cachedTokens: sum(results.map((result) => result.usage.cachedTokens)),
      generatedTokens: sum(results.flatMap((result) => result.samples ?? result).map((one) => one.tokenIds.length)),
    })
    traffic.checkNothingStays()
  })

  it.each(seeds(15))('ends only those whose logits are not finite (seed %i)', async (seed) => {
    const traffic = new Traffic(1000 + seed, seed % 5 === 0)
    const { brokenIds } = traffic.fake.model
    for (let i = 0; i < 12; i++) brokenIds.add(traffic.pick(VOCAB))
    await callsOf(traffic)
    for (const outcome of traffic.outcomes) {
      if (outcome.error?.code === 'DEVICE_ERROR') traffic.checkBroken(outcome, brokenIds)
      else if (outcome.error) expect(outcome.error.code).toBe('QUEUE_FULL')
      else traffic.checkResult(outcome, false)
    }
    traffic.checkNothingStays()
  })

  it.each(seeds(15))('ends well when the engine is closed in the midst of it (seed %i)', async (seed) => {
    const traffic = new Traffic(2000 + seed, seed % 5 === 0)
    const calls = callsOf(traffic)
    for (let i = traffic.pick(4); i > 0; i--) await traffic.pause()
    await Promise.all([traffic.fake.engine.close(), traffic.fake.engine.close()])
    expect(traffic.fake.model.closed).toBe(true)
    traffic.checkNothingStays()
    await calls
    for (const outcome of traffic.outcomes) {
      if (outcome.error) expect(outcome.error.code).toMatch(/^(CLOSED|QUEUE_FULL)$/)
      else traffic.checkResult(outcome, true)
    }
  })

  it.each(seeds(15))('fails with one error when the device does (seed %i)', async (seed) => {
    const traffic = new Traffic(3000 + seed, seed % 5 === 0)
    const { model, engine } = traffic.fake
    const last = traffic.pick(20)
    model.onStep = () => {
      if (model.steps === last) throw new Error('the device is gone')
    }
    await callsOf(traffic)
    const errors = traffic.outcomes.flatMap((outcome) => outcome.error ?? [])
    const failures = errors.filter(({ code }) => code === 'DEVICE_ERROR')
    expect(failures.length).toBeGreaterThan(0)
    expect(new Set(failures).size).toBe(1)
    for (const { code, message } of errors) {
      expect(code).toMatch(/^(DEVICE_ERROR|CLOSED|QUEUE_FULL)$/)
      if (code !== 'QUEUE_FULL')
        expect(message).toMatch(/^(the engine is closed, after an error: )?the device is gone$/)
    }
    for (const outcome of traffic.outcomes) if (outcome.result) traffic.checkResult(outcome, false)
    await engine.close()
    traffic.checkNothingStays()
  })
})
