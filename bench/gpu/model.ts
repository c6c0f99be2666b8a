/** Whole models from end to end: prefill, decode, and a little more behind a cached prefix. */
import { memoryOf } from '../../lib/devices'
import { scalesFor } from '../../lib/kv-calibration'
import { heldColumns } from '../../lib/model/held-weights'
import { type Batch, type NativeModel, native } from '../../lib/native'
import { sample } from '../measure'
import type { Question, Timed } from './cells'
import { type Ask, typesOf, type Variant, whyNot } from './memory'
import { workOf } from './model-work'
import type { Plan } from './plan'
import { M2 } from './specs'

/** Tokens of a page. */
const PAGE = M2.page
const ROUNDS = 3
/** Tokens that the scales of an FP8 cache are found with. */
const MEASURED = 64

export async function benchModels(plan: Plan): Promise<Timed[]> {
  const cells: Timed[] = []
  for (const variant of plan.variants) cells.push(...(await benchModel(plan, variant)))
  return cells
}

/** What fails has its reason in the place of a time, and the others go on. */
async function benchModel(plan: Plan, variant: Variant): Promise<Timed[]> {
  const { available } = await memoryOf(plan.device)
  const asked = plan.asks.map((ask) => ({ ask, reason: whyNot(variant, ask, plan, available) }))
  const possible = asked.filter(({ reason }) => !reason).map(({ ask }) => ask)
  const runs = possible.length > 0 ? await Runs.load(plan, variant, possible).catch(messageOf) : ''
  const cells: Timed[] = []
  for (const { ask, reason } of asked) {
    const about = question(plan, variant, ask)
    const found = reason ?? (typeof runs === 'string' ? runs : await runs.time(ask).catch(messageOf))
    cells.push(typeof found === 'string' ? { ...about, reason: found } : { ...about, us: 1000 * found })
  }
  if (typeof runs !== 'string') await runs.close()
  return cells
}

const messageOf = (error: Error): string => error.message

function question({ stepTokens }: Plan, variant: Variant, ask: Ask): Question {
  const { sequences, context, computed } = ask
  const [work, shape] =
    computed === 1
      ? ['decode', `${sequences} x ${context}`]
      : computed === context
        ? ['prefill', `${context}`]
        : ['warm prefix', `${context - computed} + ${computed}`]
  const tokens = sequences * computed
  return { group: variant.name, work, shape, ...workOf(variant, ask, stepTokens), tokens }
}

/** Steps on a model whose rows all have pages of their own that the first row's context is copied to. */
class Runs {
  readonly #model: NativeModel
  readonly #plan: Plan
  readonly #vocabSize: number

  private constructor(model: NativeModel, plan: Plan, vocabSize: number) {
    this.#model = model
    this.#plan = plan
    this.#vocabSize = vocabSize
  }

  /** With room for what is asked, and warm. */
  static async load(plan: Plan, variant: Variant, asks: Ask[]): Promise<Runs> {
    const { geometry, kvDtype } = variant
    const random = { random: true as const, held: heldColumns(typesOf(variant)) }
    const weights = variant.weights === 'random' ? random : variant.weights
    const most = (of: (ask: Ask) => number) => Math.max(...asks.map(of))
    const options = {
      ...{ device: plan.device, threads: 0, geometry, weights, kvDtype, pageSize: PAGE },
      pages: most(({ sequences, context }) => sequences * pagesOf(context)),
      maxContext: most(({ context }) => context),
      maxSequences: most(({ sequences }) => sequences),
      maxStepTokens: plan.stepTokens,
      bannedIds: new Int32Array(),
    }
    const model = await native(plan.device).loadModel(options, () => {})
    const runs = new Runs(model, plan, geometry.vocabSize)
    if (kvDtype === 'fp8')
      await model.setKvScales(scalesFor(await model.measureKv(Int32Array.from({ length: MEASURED }, () => runs.#id()))))
    await runs.#compute(0, Math.min(...asks.map(({ context }) => context)))
    return runs
  }

  /** Milliseconds of what is asked; of a decode, of one step. A decode finds what the prefill before it left. */
  async time({ sequences, context, computed }: Ask): Promise<number> {
    if (computed === 1) return this.#decode(sequences, context)
    const prefix = context - computed
    if (prefix > 0) await this.#compute(0, prefix)
    return this.#compute(prefix, context)
  }

  /** Milliseconds until row 0 has the tokens `from` .. `to`, behind those that it had. */
  async #compute(from: number, to: number): Promise<number> {
    const { stepTokens } = this.#plan
    const start = performance.now()
    const steps: Promise<unknown>[] = []
    for (let at = from; at < to; at += stepTokens) {
      const count = Math.min(stepTokens, to - at)
      steps.push(this.#model.forward(this.#batch([{ row: 0, start: at, count, known: true }], to)))
      if (steps.length > 1) await steps.shift()
    }
    await Promise.all(steps)
    return performance.now() - start
  }

  /** Milliseconds of a step of `count` rows that all have row 0's context; the last of the steps reaches `context`. */
  async #decode(count: number, context: number): Promise<number> {
    const { steps } = this.#plan
    const own = pagesOf(context)
    const from = Int32Array.from({ length: own }, (_, i) => i)
    for (let row = 1; row < count; row++) {
      await this.#model.copyPages(
        from,
        from.map((page) => row * own + page),
      )
    }
    const times: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const flights: Promise<unknown>[] = []
      let start = 0
      for (let step = 0; step < steps; step++) {
        const chunks = Array.from({ length: count }, (_, row) => ({
          ...{ row, start: context - steps + step, count: 1, known: step === 0 },
        }))
        flights.push(this.#model.forward(this.#batch(chunks, context)))
        if (flights.length > 1) await flights.shift()
        if (step === 2) start = performance.now() // the first steps set pages and record
      }
      await Promise.all(flights)
      times.push((performance.now() - start) / (steps - 2))
    }
    return sample(times).median
  }

  close(): Promise<void> {
    return this.#model.close()
  }

  #id(): number {
    return Math.floor(this.#vocabSize * Math.random())
  }

  /** `known`: the ids are given, and the row's pages are set anew, for `total` tokens in all. */
  #batch(chunks: { row: number; start: number; count: number; known: boolean }[], total: number): Batch {
    const own = pagesOf(total)
    const columns = {
      ids: [] as number[],
      positions: [] as number[],
      slots: [] as number[],
      cu: [0],
      pages: [] as number[],
    }
    for (const { row, start, count, known } of chunks) {
      for (let at = start; at < start + count; at++) {
        columns.ids.push(known ? this.#id() : -1)
        columns.positions.push(at)
        columns.slots.push((row * own + Math.floor(at / PAGE)) * PAGE + (at % PAGE))
      }
      columns.cu.push(columns.ids.length)
      if (known) for (let i = 0; i < own; i++) columns.pages.push(row, i, row * own + i)
    }
    const N = chunks.length
    const none = new Int32Array()
    return {
      tokenIds: Int32Array.from(columns.ids),
      positions: Int32Array.from(columns.positions),
      slotMapping: Int32Array.from(columns.slots),
      cuSeqlensQ: Int32Array.from(columns.cu),
      contextLens: Int32Array.from(chunks, ({ start, count }) => start + count),
      rows: Int32Array.from(chunks, ({ row }) => row),
      pageUpdates: Int32Array.from(columns.pages),
      sampleAt: Int32Array.from(columns.cu.slice(1), (end) => end - 1),
      sampleRow: Int32Array.from(chunks, ({ row }) => row),
      samplingFloats: Float32Array.from({ length: 6 * N }, (_, i) => [1, 0.95, 0, 1, 0, 0][i % 6]!),
      samplingInts: Int32Array.from({ length: 6 * N }, (_, i) => [40, -1, 1, 0, i, 0][i % 6]!),
      ...{ biasOffsets: none, biasIds: none, biasValues: new Float32Array(), maskSamples: none, maskBits: none },
      ...{ historyRows: none, historyOffsets: none, historyGenerated: none, historyIds: none },
      ...{ scoreAt: none, scoreIds: none },
    }
  }
}

const pagesOf = (tokens: number): number => Math.ceil(tokens / PAGE)
