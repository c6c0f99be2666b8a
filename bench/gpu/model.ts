/** The whole model at MiniMax-M2's own sizes, with as many layers as the device holds, of weights that the device makes: prefill and decode from end to end. */
import { type Batch, type ModelGeometry, type NativeModel, native } from '../../lib/native'
import { sample } from '../measure'
import { digits, type Table } from '../tables'
import { M2, type Sizes, SMALL } from './specs'

interface Plan {
  sizes: Sizes
  layers: number
  contexts: number[]
  sequences: number[]
  stepTokens: number
  /** Decode steps of one measurement. */
  steps: number
}

/** Bytes of one layer's weights at M2's sizes, in bf16. */
const LAYER_BYTES = 2 * (3 * 256 * 3072 * 1536 + 2 * (48 + 8) * 128 * 3072)
/** Of the device's memory for KV, activations, embedding and head. */
const REST_BYTES = 16 * 2 ** 30

/** `device`: "cuda", or "emulated" for a trial of the bench at small sizes, whose times mean nothing. */
export async function benchGpuModel(device: string): Promise<Table[]> {
  const { free } = await native(device).deviceMemory(device)
  const plan: Plan =
    device === 'emulated'
      ? { sizes: SMALL, layers: 2, contexts: [100], sequences: [1, 2], stepTokens: 64, steps: 3 }
      : {
          sizes: M2,
          layers: Math.max(1, Math.min(62, Math.floor((free - REST_BYTES) / LAYER_BYTES))),
          contexts: [1024, 8192, 32_768, 131_072],
          sequences: [1, 4, 8, 16],
          stepTokens: 8192,
          steps: 32,
        }
  const runs = new Runs(await load(device, plan), plan)
  const rows: string[][] = []
  for (const context of plan.contexts) {
    const prefill = await runs.prefill(context)
    rows.push([`prefill of ${context}`, '1', digits((1e3 * context) / prefill), digits(prefill)])
    for (const count of plan.sequences) {
      if (!runs.fits(count, context)) continue
      const step = await runs.decode(count, context)
      rows.push([`decode on ${context}`, `${count}`, digits((1e3 * count) / step), digits(step)])
    }
  }
  await runs.close()
  return [
    {
      title: `The whole model, ${plan.layers} of 62 layers`,
      note: `Weights in bf16, KV in bf16, steps of up to ${plan.stepTokens} tokens; a decode step runs while the next is already handed over.`,
      columns: ['work', 'sequences', 'tokens/s', 'ms'],
      rows,
    },
  ]
}

async function load(device: string, { sizes, layers, contexts, sequences, stepTokens }: Plan): Promise<NativeModel> {
  const geometry: ModelGeometry = { ...sizes, layers, rotaryDim: sizes.headDim / 2, ropeTheta: 5e6, rmsNormEps: 1e-6 }
  const maxContext = Math.max(...contexts) + 64
  const perRow = Math.ceil(maxContext / sizes.page)
  return native(device).loadModel(
    {
      ...{ device, threads: 0, geometry, weights: 'random', kvDtype: 'bf16', pageSize: sizes.page },
      ...{ pages: 2 * perRow, maxContext, maxSequences: Math.max(...sequences), maxStepTokens: stepTokens },
      bannedIds: new Int32Array(),
    },
    () => {},
  )
}

/** Steps on a model whose rows all have the pages of their own that the first row's context was copied to. */
class Runs {
  readonly #model: NativeModel
  readonly #plan: Plan
  readonly #perRow: number

  constructor(model: NativeModel, plan: Plan) {
    this.#model = model
    this.#plan = plan
    this.#perRow = Math.ceil((Math.max(...plan.contexts) + 64) / plan.sizes.page)
  }

  /** Whether so many sequences of a context have pages of their own. */
  fits(count: number, context: number): boolean {
    return count * this.#pagesOf(context + this.#plan.steps) <= 2 * this.#perRow
  }

  /** Milliseconds until row 0 has `context` tokens. */
  async prefill(context: number): Promise<number> {
    const { stepTokens } = this.#plan
    const start = performance.now()
    const steps: Promise<unknown>[] = []
    for (let at = 0; at < context; at += stepTokens) {
      const count = Math.min(stepTokens, context - at)
      steps.push(this.#model.forward(this.#batch([{ row: 0, start: at, count, known: true }], context)))
      if (steps.length > 1) await steps.shift()
    }
    await Promise.all(steps)
    return performance.now() - start
  }

  /** Milliseconds of a decode step of `count` rows whose contexts are as long as row 0's. */
  async decode(count: number, context: number): Promise<number> {
    const { steps } = this.#plan
    const total = context + steps
    const own = this.#pagesOf(total)
    for (let row = 1; row < count; row++) {
      const from = Int32Array.from({ length: own }, (_, i) => i)
      await this.#model.copyPages(
        from,
        from.map((page) => row * own + page),
      )
    }
    const times: number[] = []
    for (let round = 0; round < 3; round++) {
      const flights: Promise<unknown>[] = []
      let start = 0
      for (let step = 0; step < steps; step++) {
        const chunks = Array.from({ length: count }, (_, row) => ({
          row,
          start: context + step,
          count: 1,
          known: step === 0,
        }))
        flights.push(this.#model.forward(this.#batch(chunks, total)))
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

  #pagesOf(tokens: number): number {
    return Math.ceil(tokens / this.#plan.sizes.page)
  }

  /** `known`: the ids are given, and the row's pages are set anew, for `total` tokens in all. */
  #batch(chunks: { row: number; start: number; count: number; known: boolean }[], total: number): Batch {
    const { page, vocabSize } = this.#plan.sizes
    const own = this.#pagesOf(total)
    const columns = {
      ids: [] as number[],
      positions: [] as number[],
      slots: [] as number[],
      cu: [0],
      pages: [] as number[],
    }
    for (const { row, start, count, known } of chunks) {
      for (let at = start; at < start + count; at++) {
        columns.ids.push(known ? Math.floor(vocabSize * Math.random()) : -1)
        columns.positions.push(at)
        columns.slots.push((row * own + Math.floor(at / page)) * page + (at % page))
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
