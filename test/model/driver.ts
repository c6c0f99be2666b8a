/**
 * Drives the native model step by step: rows, page tables and batches kept by hand, so a test decides how a sequence is cut
 * into chunks and what runs beside it. Pages are handed out in a scattered order, as a long-running engine would.
 */
import { onTestFinished } from 'vitest'
import { readCheckpoint } from '../../lib/model/checkpoint'
import { loadConfig } from '../../lib/model/config'
import { holdWeights } from '../../lib/model/held-weights'
import { planWeights } from '../../lib/model/weights'
import { type Batch, type ModelOptions, type NativeModel, native } from '../../lib/native'

/** What models run on in tests: the CPU, the emulated GPU, and a GPU where there is one. */
type Settings = Pick<
  ModelOptions,
  'device' | 'keepRoutes' | 'kvDtype' | 'pageSize' | 'maxContext' | 'maxSequences' | 'maxStepTokens' | 'threads'
> & {
  /** Of an FP8 cache. By default some that suit keys and values of about 1, and differ. */
  kvScales?: (model: NativeModel) => Promise<Float32Array>
}

/** Tokens to add to the sequence of a row, and which of them to sample after. */
export interface Chunk {
  row: number
  ids: readonly number[]
  /** Indices into `ids`; by default the last. */
  sampleAt?: readonly number[]
}

export interface Sample {
  /** The greedy choice. */
  id: number
  /** Of every id of the vocabulary, from the raw logits; empty unless asked for. */
  logprobs: Float32Array
}

/** [L, K|V, Hk] */
export const someScales =
  ({ layers, kvHeads }: { layers: number; kvHeads: number }) =>
  async () =>
    Float32Array.from({ length: layers * 2 * kvHeads }, (_, i) => 0.02 + 0.003 * (i % 5))

async function planOf(folder: string, device: string): Promise<Pick<ModelOptions, 'geometry' | 'weights'>> {
  const config = await loadConfig(folder)
  const { table, stored } = planWeights(config, await readCheckpoint(folder))
  return {
    geometry: config,
    weights: { ...table, held: holdWeights(config, stored, device, { weightDtype: 'auto' }).held },
  }
}

const NEUTRAL_FLOATS = [0, 1, 0, 1, 0, 0] // greedy, nothing truncated, no penalty

export class Driver {
  readonly model: NativeModel
  readonly #settings: Settings
  readonly #vocabSize: number
  readonly #freePages: number[]
  readonly #pages: number[][] // per row
  readonly #lengths: number[] // tokens per row
  readonly #shared: number[] // tokens per row that stand in pages of another

  private constructor(model: NativeModel, settings: Settings, vocabSize: number, pages: number) {
    this.model = model
    this.#settings = settings
    this.#vocabSize = vocabSize
    const step = [7, 5, 3, 1].find((candidate) => pages % candidate !== 0 || candidate === 1)!
    this.#freePages = Array.from({ length: pages }, (_, i) => (i * step) % pages)
    this.#pages = Array.from({ length: settings.maxSequences }, () => [])
    this.#lengths = new Array(settings.maxSequences).fill(0)
    this.#shared = new Array(settings.maxSequences).fill(0)
  }

  /** A loaded model that closes when the test ends; of a folder, or as the door takes it. */
  static async load(
    from: string | Pick<ModelOptions, 'geometry' | 'weights'>,
    settings: Partial<Settings> = {},
  ): Promise<Driver> {
    const all: Settings = {
      device: 'cpu',
      keepRoutes: false,
      kvDtype: 'bf16',
      pageSize: 16,
      maxContext: 1024,
      maxSequences: 8,
      maxStepTokens: 1024,
      threads: 2,
      ...settings,
    }
    const { geometry, weights } = typeof from === 'string' ? await planOf(from, all.device) : from
    const pages = all.maxSequences * Math.ceil(all.maxContext / all.pageSize)
    const bannedIds = new Int32Array()
    const { kvScales, ...options } = all
    const model = await native(all.device).loadModel({ geometry, weights, pages, bannedIds, ...options }, () => {})
    onTestFinished(() => model.close())
    if (all.kvDtype === 'fp8') await model.setKvScales(await (kvScales ?? someScales(geometry))(model))
    return new Driver(model, all, geometry.vocabSize, pages)
  }

  /** Adds the chunks to their sequences in one step; the samples of each chunk, in its order. `change` takes the place of fields of the batch. */
  async step(chunks: readonly Chunk[], withLogprobs = false, change: Partial<Batch> = {}): Promise<Sample[][]> {
    const result = await this.model.forward({ ...this.batch(chunks, withLogprobs), ...change })
    const V = withLogprobs ? this.#vocabSize : 0
    let n = 0
    return chunks.map(({ ids, sampleAt = [ids.length - 1] }) =>
      sampleAt.map(() => {
        const logprobs = new Float32Array(V)
        for (let i = n * V; i < (n + 1) * V; i++) logprobs[result.topIds[i]!] = result.topLogprobs[i]!
        return { id: result.ids[n++]!, logprobs }
      }),
    )
  }

  /** Continues a row greedily: `ids` first, then what the model says, up to `limit` ids or `eos` (included). */
  async greedy(row: number, ids: readonly number[], limit: number, eos: number): Promise<number[]> {
    const generated: number[] = []
    let next = ids
    while (generated.length < limit && generated.at(-1) !== eos) {
      const [[sample]] = (await this.step([{ row, ids: next }])) as [[Sample]]
      generated.push(sample.id)
      next = [sample.id]
    }
    return generated
  }

  /** The pages of a row's sequence, in the order of its tokens. */
  pagesOf(row: number): Int32Array {
    return Int32Array.from(this.#pages[row]!)
  }

  /**
   * The sequence of a row, empty so far, begins with the first `pages` of another's, and has `length` tokens of them: what follows in these
   * pages is computed again and not stored.
   */
  share(from: number, row: number, pages: number, length: number): void {
    this.#pages[row] = this.#pages[from]!.slice(0, pages)
    this.#shared[row] = pages * this.#settings.pageSize
    this.#lengths[row] = length
  }

  /** Ends the sequence of a row: its own pages are free again. */
  release(row: number): void {
    this.#freePages.push(...this.#pages[row]!.splice(0).slice(this.#shared[row]! / this.#settings.pageSize))
    this.#lengths[row] = this.#shared[row] = 0
  }

  /** The record of one step that adds the chunks to their sequences. The driver takes it for done. */
  batch(chunks: readonly Chunk[], withLogprobs = false): Batch {
    const columns = {
      tokenIds: [] as number[],
      positions: [] as number[],
      slotMapping: [] as number[],
      cuSeqlensQ: [0],
      contextLens: [] as number[],
      rows: [] as number[],
      pageUpdates: [] as number[],
      sampleAt: [] as number[],
      sampleRow: [] as number[],
      samplingInts: [] as number[],
    }
    const { pageSize } = this.#settings
    for (const { row, ids, sampleAt = [ids.length - 1] } of chunks) {
      const start = this.#lengths[row]!
      const shared = this.#shared[row]!
      const pages = this.#pages[row]!
      if (start <= shared) for (const [i, page] of pages.entries()) columns.pageUpdates.push(row, i, page)
      for (const index of sampleAt) {
        columns.sampleAt.push(columns.tokenIds.length + index)
        columns.sampleRow.push(row)
        columns.samplingInts.push(0, withLogprobs ? this.#vocabSize : -1, 0, 0, start + index + 1, 0)
      }
      for (const [i, id] of ids.entries()) {
        const position = start + i
        if (position >= shared && position % pageSize === 0) {
          const page = this.#freePages.shift()!
          columns.pageUpdates.push(row, pages.length, page)
          pages.push(page)
        }
        columns.tokenIds.push(id)
        columns.positions.push(position)
        columns.slotMapping.push(position < shared ? -1 : pages.at(-1)! * pageSize + (position % pageSize))
      }
      this.#lengths[row] = start + ids.length
      columns.cuSeqlensQ.push(columns.tokenIds.length)
      columns.contextLens.push(this.#lengths[row]!)
      columns.rows.push(row)
    }
    const none = new Int32Array()
    const ints = Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, Int32Array.from(values)]))
    return {
      ...(ints as Record<keyof typeof columns, Int32Array>),
      samplingFloats: Float32Array.from(columns.sampleAt.flatMap(() => NEUTRAL_FLOATS)),
      biasOffsets: none,
      biasIds: none,
      biasValues: new Float32Array(),
      maskSamples: none,
      maskBits: none,
      historyRows: none,
      historyOffsets: none,
      historyGenerated: none,
      historyIds: none,
      scoreAt: none,
      scoreIds: none,
    }
  }
}
