/**
 * A model of invented ids behind the native door. The id it samples is a hash of all tokens that it finds through the page table, so
 * a wrong slot, position, page table, copy or history gives other ids. It refuses a batch that breaks the door's rules.
 */
import { type Batch, type NativeModel, SAMPLING_FLOATS, SAMPLING_INTS, type StepResult } from '../../lib/native'

export interface FakeModelOptions {
  pages: number
  pageSize: number
  rows: number
  stepTokens: number
  vocabSize: number
}

/** What decides an id besides the tokens. */
export interface FakeSampling {
  temperature: number
  seedLow: number
  sampleIndex: number
  /** Generated ids, where a penalty looks at them. */
  penalized?: readonly number[]
}

const BASE = 0x811c9dc5

function mix(hash: number, value: number): number {
  return Math.imul(hash ^ value, 0x01000193) ^ (hash >>> 15)
}

/** The id that follows these tokens. */
export function nextId(tokens: ArrayLike<number>, vocabSize: number, sampling: FakeSampling): number {
  let hash = BASE
  for (let position = 0; position < tokens.length; position++) hash = mix(mix(hash, tokens[position]!), position)
  if (sampling.temperature > 0) hash = mix(mix(hash, sampling.seedLow), sampling.sampleIndex)
  for (const id of sampling.penalized ?? []) hash = mix(hash, id)
  return (mix(hash, tokens.length) >>> 0) % vocabSize
}

/** The score of an id behind these tokens. */
export function scoreOf(tokens: readonly number[], id: number, vocabSize: number): number {
  return -nextId([...tokens, id], vocabSize, { temperature: 0, seedLow: 0, sampleIndex: 0 })
}

interface Slot {
  token: number
  position: number
}

export class FakeModel implements NativeModel {
  readonly device = 'cpu'
  readonly description = 'a model of invented ids'
  readonly weightBytes = 0
  readonly kvBytes = 0
  readonly numerics = 'fake'
  steps = 0
  closed = false
  /** Called before each step; what it throws is the step's error. */
  onStep: (batch: Batch) => void = () => {}
  /** The id that follows these tokens, where it is not to be an invented one. */
  nextId: (tokens: readonly number[]) => number | undefined = () => undefined
  /** Ids whose sampling finds logits that are not finite, when they would be drawn. */
  readonly brokenIds = new Set<number>()
  private readonly slots: (Slot | undefined)[]
  private readonly pageTables: number[][]
  private readonly lastIds: number[]
  private readonly histories: { ids: number[]; generated: number }[]

  constructor(readonly options: FakeModelOptions) {
    this.slots = new Array(options.pages * options.pageSize)
    this.pageTables = Array.from({ length: options.rows }, () => [])
    this.lastIds = new Array(options.rows).fill(-1)
    this.histories = Array.from({ length: options.rows }, () => ({ ids: [], generated: 0 }))
  }

  async forward(batch: Batch): Promise<StepResult> {
    const result = this.step(batch) // copied at the call
    await new Promise(setImmediate)
    return result
  }

  async measureKv(): Promise<Float32Array> {
    throw new Error('a fake model has no keys and values')
  }

  async setKvScales(): Promise<void> {}

  async copyPages(from: Int32Array, to: Int32Array): Promise<void> {
    this.copy(from, to)
  }

  get pageBytes(): number {
    return 8 * this.options.pageSize
  }

  async readPages(pages: Int32Array): Promise<Uint8Array> {
    const slots = this.slotsOf(pages).map((slot) => this.slots[slot] ?? { token: -1, position: -1 })
    return new Uint8Array(Int32Array.from(slots.flatMap(({ token, position }) => [token, position])).buffer)
  }

  async writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    const words = new Int32Array(bytes.slice().buffer)
    for (const [i, slot] of this.slotsOf(pages).entries()) {
      this.slots[slot] = { token: words[2 * i]!, position: words[2 * i + 1]! }
    }
  }

  private slotsOf(pages: Int32Array): number[] {
    const S = this.options.pageSize
    return [...pages].flatMap((page) => Array.from({ length: S }, (_, s) => page * S + s))
  }

  async close(): Promise<void> {
    this.closed = true
  }

  copy(from: ArrayLike<number>, to: ArrayLike<number>): void {
    const S = this.options.pageSize
    for (let i = 0; i < from.length; i++) {
      for (let s = 0; s < S; s++) this.slots[to[i]! * S + s] = this.slots[from[i]! * S + s]
    }
  }

  step(batch: Batch): StepResult {
    if (this.closed) throw new Error('the model is closed')
    this.onStep(batch)
    this.steps++
    this.checkShapes(batch)
    for (let u = 0; u < batch.pageUpdates.length; u += 3) {
      const [row, index, page] = batch.pageUpdates.subarray(u, u + 3) as unknown as [number, number, number]
      this.pageTables[row]![index] = page
    }
    this.storeTokens(batch)
    for (const [h, row] of batch.historyRows.entries()) {
      const ids = [...batch.historyIds.subarray(batch.historyOffsets[h]!, batch.historyOffsets[h + 1]!)]
      this.histories[row] = { ids, generated: batch.historyGenerated[h]! }
    }
    return this.sample(batch)
  }

  private checkShapes(batch: Batch): void {
    const T = batch.tokenIds.length
    const B = batch.rows.length
    const N = batch.sampleAt.length
    const equal = (name: string, found: number, expected: number) => {
      if (found !== expected) throw new Error(`${name}: expected ${expected}, found ${found}`)
    }
    equal('positions', batch.positions.length, T)
    equal('slotMapping', batch.slotMapping.length, T)
    equal('cuSeqlensQ', batch.cuSeqlensQ.length, B + 1)
    equal('contextLens', batch.contextLens.length, B)
    equal('sampleRow', batch.sampleRow.length, N)
    equal('samplingFloats', batch.samplingFloats.length, N * SAMPLING_FLOATS.length)
    equal('samplingInts', batch.samplingInts.length, N * SAMPLING_INTS.length)
    equal('scoreIds', batch.scoreIds.length, batch.scoreAt.length)
    equal('the last of cuSeqlensQ', batch.cuSeqlensQ[B]!, T)
    equal('distinct rows', new Set(batch.rows).size, B)
    equal('distinct sampled rows', new Set(batch.sampleRow).size, N)
    const stored = batch.slotMapping.filter((slot) => slot !== -1)
    equal('distinct slots', new Set(stored).size, stored.length)
    if (T === 0 || T > this.options.stepTokens) throw new Error(`${T} tokens in a step`)
    const rows = [...batch.rows, ...batch.sampleRow]
    if (rows.some((row) => row < 0 || row >= this.options.rows)) throw new Error(`rows ${rows}`)
    if (stored.some((slot) => slot < 0 || slot >= this.slots.length)) throw new Error('slots')
  }

  private storeTokens(batch: Batch): void {
    for (let b = 0; b < batch.rows.length; b++) {
      for (let t = batch.cuSeqlensQ[b]!; t < batch.cuSeqlensQ[b + 1]!; t++) {
        const token = batch.tokenIds[t] === -1 ? this.lastIds[batch.rows[b]!]! : batch.tokenIds[t]!
        if (token < 0) throw new Error(`token ${t} is ${token}, in row ${batch.rows[b]}`)
        const slot = batch.slotMapping[t]!
        const position = batch.positions[t]!
        if (slot >= 0) this.slots[slot] = { token, position }
        else this.checkStored(batch.rows[b]!, position, token)
      }
    }
  }

  /** A token that is not stored must be stored already. */
  private checkStored(row: number, position: number, token: number): void {
    const S = this.options.pageSize
    const page = this.pageTables[row]![Math.floor(position / S)]!
    const slot = this.slots[page * S + (position % S)]
    if (slot?.token !== token || slot.position !== position) throw new Error(`position ${position} is not stored`)
  }

  /** The tokens of sequence b up to token t of the step, as attention finds them. */
  private readContext(batch: Batch, b: number, t: number): number[] {
    const S = this.options.pageSize
    const table = this.pageTables[batch.rows[b]!]!
    const context: number[] = []
    const length = batch.contextLens[b]! - (batch.cuSeqlensQ[b + 1]! - 1 - t)
    if (batch.positions[t] !== length - 1) throw new Error(`position ${batch.positions[t]} of context ${length}`)
    for (let position = 0; position < length; position++) {
      const slot = this.slots[table[Math.floor(position / S)]! * S + (position % S)]
      if (slot?.position !== position) throw new Error(`position ${position} is not in its slot`)
      context.push(slot.token)
    }
    return context
  }

  private sample(batch: Batch): StepResult {
    const N = batch.sampleAt.length
    const ids = new Int32Array(N)
    const column = (name: (typeof SAMPLING_INTS)[number]) => SAMPLING_INTS.indexOf(name)
    const asked = Array.from(
      { length: N },
      (_, n) => batch.samplingInts[n * SAMPLING_INTS.length + column('logprobs')]!,
    )
    const K = Math.max(0, ...asked)
    const logprobs = new Float32Array(asked.some((count) => count >= 0) ? N : 0)
    const topIds = new Int32Array(N * K)
    for (let n = 0; n < N; n++) {
      const t = batch.sampleAt[n]!
      const b = batch.cuSeqlensQ.findIndex((end) => end > t) - 1
      const context = this.readContext(batch, b, t)
      const floats = batch.samplingFloats.subarray(n * SAMPLING_FLOATS.length, (n + 1) * SAMPLING_FLOATS.length)
      const ints = batch.samplingInts.subarray(n * SAMPLING_INTS.length, (n + 1) * SAMPLING_INTS.length)
      if (ints[column('position')] !== context.length) throw new Error(`draw at ${ints[column('position')]}`)
      ids[n] = this.draw(context, floats, ints, batch.sampleRow[n]!)
      const bias = batch.biasOffsets.length > 0 ? batch.biasOffsets.subarray(n, n + 2) : [0, 0]
      for (let i = bias[0]!; i < bias[1]!; i++) if (batch.biasValues[i]! >= 100) ids[n] = batch.biasIds[i]!
      ids[n] = this.allowed(batch, n, ids[n]!)
      this.lastIds[batch.sampleRow[n]!] = Math.max(0, ids[n]!)
      if (asked[n]! >= 0) logprobs[n] = -ids[n]!
      for (let k = 0; k < K; k++) topIds[n * K + k] = (ids[n]! + k) % this.options.vocabSize
    }
    return {
      ids,
      logprobs,
      topIds,
      topLogprobs: new Float32Array(topIds).map((id) => -id),
      scores: this.score(batch),
      routes: new Int32Array(),
      startedAt: 0,
      endedAt: 0,
    }
  }

  private score(batch: Batch): Float32Array {
    return Float32Array.from(batch.scoreAt, (t, m) => {
      const b = batch.cuSeqlensQ.findIndex((end) => end > t) - 1
      const id = batch.scoreIds[m]!
      if (this.brokenIds.has(id)) return Number.NaN
      return scoreOf(this.readContext(batch, b, t), id, this.options.vocabSize)
    })
  }

  /** The id, or the next one that the sample's mask allows; -2 where it allows none. */
  private allowed(batch: Batch, n: number, id: number): number {
    const m = batch.maskSamples.indexOf(n)
    if (m < 0 || id < 0) return id
    const V = this.options.vocabSize
    const words = Math.ceil(V / 32)
    if (batch.maskBits.length !== batch.maskSamples.length * words) throw new Error('maskBits')
    for (let i = 0; i < V; i++) {
      const candidate = (id + i) % V
      if ((batch.maskBits[m * words + (candidate >> 5)]! >>> (candidate & 31)) & 1) return candidate
    }
    return -2
  }

  private draw(context: number[], floats: Float32Array, ints: Int32Array, row: number): number {
    const [temperature, , , repetition, presence, frequency] = floats
    const sampling: FakeSampling = {
      temperature: temperature!,
      seedLow: ints[SAMPLING_INTS.indexOf('seedLow')]!,
      sampleIndex: ints[SAMPLING_INTS.indexOf('sampleIndex')]!,
    }
    const isPenalized = repetition !== 1 || presence !== 0 || frequency !== 0
    const history = this.histories[row]!
    if (isPenalized) {
      if (history.ids.length !== context.length || history.ids.some((id, i) => id !== context[i])) {
        throw new Error(`the history of row ${row} is not its context`)
      }
      sampling.penalized = history.ids.slice(history.ids.length - history.generated)
    }
    const next = this.nextId(context) ?? nextId(context, this.options.vocabSize, sampling)
    const id = this.brokenIds.has(next) ? -1 : next
    if (isPenalized) {
      history.ids.push(Math.max(0, id))
      history.generated++
    }
    return id
  }
}
