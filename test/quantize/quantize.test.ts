/** Quantised checkpoints, read by means of their own and loaded; and what becomes of a run that ends early. */
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Engine, type EngineOptions, type LayerLoss, quantizeModel } from '../../lib/index'
import { quantize } from '../../lib/quantize/quantize'
import { failure, modelFolder, spoil, temporaryFolder, writeJson } from '../model/folder'
import { readCheckpoint } from '../reference/checkpoint-reader'
import type { RandomModel } from '../reference/checkpoint-writer'
import { bf16Bits, fromBf16Bits } from '../reference/number-formats'

/** Groups that are ragged at the end of rows, and blocks of FP8 too. */
const GEOMETRY = {
  ...{ vocabSize: 290, hiddenSize: 160, layers: 2, heads: 6, kvHeads: 2, headDim: 32, rotaryDim: 16, ropeTheta: 1e4 },
  ...{ experts: 4, expertsPerToken: 2, expertHidden: 288, rmsNormEps: 1e-6 },
}
const SOURCES: [string, Partial<RandomModel>][] = [
  ['bf16', {}],
  ['f32, a tied head', { dtype: 'F32', tied: true }],
  ['FP8 in three shards', { fp8: true, shards: 3 }],
]
const source = (model: Partial<RandomModel> = {}) => modelFolder({ geometry: GEOMETRY, seed: 7, ...model })
const target = () => path.join(temporaryFolder(), 'int4')

interface Tensor {
  dtype: string
  shape: number[]
  data: Buffer
}

/** All tensors of a folder, and the files that they are in. */
function tensorsOf(dir: string): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>()
  for (const file of readdirSync(dir).filter((name) => name.endsWith('.safetensors'))) {
    const bytes = readFileSync(path.join(dir, file))
    const start = 8 + Number(bytes.readBigUInt64LE(0))
    const { __metadata__, ...header } = JSON.parse(bytes.toString('utf8', 8, start))
    for (const [name, entry] of Object.entries<{ dtype: string; shape: number[]; data_offsets: [number, number] }>(
      header,
    )) {
      const [begin, end] = entry.data_offsets
      tensors.set(name, { dtype: entry.dtype, shape: entry.shape, data: bytes.subarray(start + begin, start + end) })
    }
  }
  return tensors
}

const round = (x: number) => fromBf16Bits(bf16Bits(x))

/** The numbers of a packed matrix, and the scales of its groups. */
function unpacked(tensors: Map<string, Tensor>, name: string): { values: Float64Array; rows: number; cols: number } {
  const [packed, scale, shape] = ['packed', 'scale', 'shape'].map((part) => tensors.get(`${name}_${part}`)!) as [
    Tensor,
    Tensor,
    Tensor,
  ]
  const [rows, cols] = [Number(shape.data.readBigInt64LE(0)), Number(shape.data.readBigInt64LE(8))]
  expect([packed.dtype, packed.shape]).toEqual(['I32', [rows, cols / 8]])
  expect([scale.dtype, scale.shape]).toEqual(['BF16', [rows, Math.ceil(cols / 128)]])
  expect([shape.dtype, shape.shape]).toEqual(['I64', [2]])
  const values = Float64Array.from({ length: rows * cols }, (_, i) => {
    const code = (packed.data.readUInt32LE(4 * Math.floor(i / 8)) >>> (4 * (i % 8))) & 15
    const group = Math.floor(i / cols) * scale.shape[1]! + Math.floor((i % cols) / 128)
    return round((code - 8) * fromBf16Bits(scale.data.readUInt16LE(2 * group)))
  })
  return { values, rows, cols }
}

/** Squared error of a group whose weights are rounded with this scale. */
function errorWith(weights: Float64Array, scale: number): number {
  let error = 0
  for (const w of weights) {
    const code = scale === 0 ? 0 : Math.max(-8, Math.min(7, Math.round(w / scale)))
    error += (w - round(code * scale)) ** 2
  }
  return error
}

async function answer(dir: string, options: EngineOptions = {}) {
  await using engine = await Engine.load(dir, { device: 'cpu', ...options })
  const prompt = Array.from({ length: 30 }, (_, i) => (i * 37) % 290)
  const { tokenIds, logprobs } = await engine
    .generate(prompt, { maxTokens: 10, temperature: 0, logprobs: 2, ignoreEos: true })
    .result()
  return { tokenIds, logprobs }
}

describe.each(SOURCES)('from %s', (_, model) => {
  it('writes experts as codes, and all else as it means', async () => {
    const [from, to] = [source(model), target()]
    writeJson(from, 'tokenizer_config.json', { kept: true })
    const made = await quantizeModel(from, to)
    expect(made.directory).toBe(to)
    expect(readdirSync(to).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer_config.json'])
    const [numbers, tensors] = [readCheckpoint(from).tensors, tensorsOf(to)]
    for (const name of [...numbers.keys()].filter((name) => name.endsWith('_scale_inv'))) numbers.delete(name)
    const experts = [...numbers.keys()].filter((name) => name.includes('.experts.'))
    const others = [...numbers.keys()].filter((name) => !name.includes('.experts.'))
    expect(tensors.size).toBe(3 * experts.length + others.length)
    for (const name of others) {
      const { dtype, data } = tensors.get(name)!
      const got = Float64Array.from({ length: numbers.get(name)!.length }, (_, i) =>
        dtype === 'F32' ? data.readFloatLE(4 * i) : fromBf16Bits(data.readUInt16LE(2 * i)),
      )
      const isProjection = model.fp8 && name.includes('_proj')
      expect(got, name).toEqual(isProjection ? numbers.get(name)!.map(round) : numbers.get(name))
    }
    let [squares, errors] = [0, 0]
    for (const name of experts) {
      const { values, rows, cols } = unpacked(tensors, name)
      const meant = numbers.get(name)!.map(round)
      for (let row = 0; row < rows; row++)
        for (let first = row * cols; first < (row + 1) * cols; first += 128) {
          const end = Math.min(first + 128, (row + 1) * cols)
          const weights = meant.subarray(first, end)
          const error = values.subarray(first, end).reduce((sum, v, i) => sum + (v - weights[i]!) ** 2, 0)
          squares += weights.reduce((sum, w) => sum + w * w, 0)
          errors += error
          const largest = weights.reduce((most, w) => Math.max(most, Math.abs(w)), 0)
          expect(error).toBeLessThanOrEqual(errorWith(weights, round(largest / 7)) * (1 + 1e-9))
        }
    }
    expect(made.error).toBeCloseTo(Math.sqrt(errors / squares), 9)
    expect(made.error).toBeLessThan(0.11)
    expect(made.layers.map(({ layer }) => layer)).toEqual([0, 1])
  })

  it('loads, and answers with the bits of experts that are quantised as they are loaded', async () => {
    const [from, to] = [source(model), target()]
    await quantizeModel(from, to)
    expect(await answer(to)).toEqual(await answer(from, { weightDtype: 'int4' }))
  })
})

it('finds scales that are hardly worse than the best of many', async () => {
  const [from, to] = [source(), target()]
  await quantizeModel(from, to)
  const name = 'model.layers.1.block_sparse_moe.experts.2.w1.weight'
  const { values, rows, cols } = unpacked(tensorsOf(to), name)
  const meant = readCheckpoint(from).tensors.get(name)!
  let [found, best] = [0, 0]
  for (let row = 0; row < rows; row += 3) {
    const weights = meant.subarray(row * cols, row * cols + 128)
    found += values.subarray(row * cols, row * cols + 128).reduce((sum, v, i) => sum + (v - weights[i]!) ** 2, 0)
    const largest = weights.reduce((most, w) => Math.max(most, Math.abs(w)), 0)
    let least = Number.POSITIVE_INFINITY
    for (let ratio = 0.3; ratio <= 1.01; ratio += 0.002)
      for (const sign of [1, -1]) least = Math.min(least, errorWith(weights, round((sign * ratio * largest) / 7)))
    best += least
  }
  expect(found / best).toBeLessThan(1.02)
})

it('cuts large models into shards with an index, which hold the same', async () => {
  const [from, whole, cut] = [source(), target(), target()]
  await quantizeModel(from, whole)
  await quantize(from, cut, {}, 300_000)
  const names = readdirSync(cut).filter((name) => name.endsWith('.safetensors'))
  expect(names.length).toBeGreaterThan(3)
  expect(names[0]).toBe(`model-00001-of-0000${names.length}.safetensors`)
  const index = JSON.parse(readFileSync(path.join(cut, 'model.safetensors.index.json'), 'utf8'))
  const tensors = tensorsOf(cut)
  expect(Object.keys(index.weight_map).sort()).toEqual([...tensors.keys()].sort())
  expect(index.metadata.total_size).toBe([...tensors.values()].reduce((sum, { data }) => sum + data.length, 0))
  expect(tensors).toEqual(tensorsOf(whole))
  expect(await answer(cut)).toEqual(await answer(whole))
})

it('says what each layer lost, and how far it is', async () => {
  const layers: LayerLoss[] = []
  const progress: number[] = []
  const made = await quantizeModel(source(), target(), {
    onLayer: (layer) => layers.push(layer),
    onProgress: ({ done, total }) => progress.push(done / total),
  })
  expect(layers).toEqual(made.layers)
  for (const { w1, w3, w2, clipped, worst } of layers) {
    for (const error of [w1, w3, w2, worst.error]) expect(error).toBeGreaterThan(0.05)
    expect(worst.error).toBeGreaterThanOrEqual(Math.max(w1, w3, w2))
    expect(clipped).toBeGreaterThan(0.1)
    expect(clipped).toBeLessThan(1)
  }
  expect(progress.at(-1)).toBe(1)
  expect(progress).toEqual([...progress].sort((a, b) => a - b))
})

describe('a run that ends early', () => {
  const SHARD = 200_000

  it('leaves no model, and the next goes on to the same bytes', async () => {
    const [from, whole, to] = [source({ fp8: true }), target(), target()]
    await quantize(from, whole, {}, SHARD)
    let furthest = 0
    for (let stops = 1; ; stops++) {
      const stop = new AbortController()
      let reports = 0
      const layers: number[] = []
      const onProgress = ({ done }: { done: number }) => {
        if (done <= furthest || ++reports < 3) return
        furthest = done
        stop.abort(new Error('enough'))
      }
      const run = quantize(
        from,
        to,
        { signal: stop.signal, onProgress, onLayer: ({ layer }) => layers.push(layer) },
        SHARD,
      )
      const ended = await run.then(
        () => true,
        (error: Error) => {
          expect(error.message).toBe('enough')
          return false
        },
      )
      if (ended) {
        expect(stops).toBeGreaterThan(1)
        expect(layers).toEqual([0, 1])
        break
      }
      expect(await failure(() => Engine.load(to))).toMatch(/^MODEL_NOT_FOUND .*config\.json/)
    }
    expect(readdirSync(to).sort()).toEqual(readdirSync(whole).sort())
    for (const name of readdirSync(whole)) {
      expect(readFileSync(path.join(to, name)).equals(readFileSync(path.join(whole, name))), name).toBe(true)
    }
  })

  it('is gone on with though it ended before its first note was whole', async () => {
    const to = temporaryFolder()
    writeJson(to, 'm2-quantize.json.partial', '{')
    await quantizeModel(source(), to)
    expect(readdirSync(to).sort()).toEqual(['config.json', 'model.safetensors'])
  })

  it('does not start when the signal is there already', async () => {
    const to = target()
    const run = quantizeModel(source(), to, { signal: AbortSignal.abort(new Error('no')) })
    await expect(run).rejects.toThrow('no')
    expect(readdirSync(path.dirname(to))).toEqual([])
  })

  it('is not gone on with by another model', async () => {
    const to = target()
    const stop = new AbortController()
    const run = quantize(source(), to, { signal: stop.signal, onProgress: () => stop.abort() }, SHARD)
    await expect(run).rejects.toThrow()
    expect(await failure(() => quantizeModel(source({ seed: 8 }), to))).toBe(
      `BAD_INPUT ${to}: expected what an interrupted run of the same model left, found that of another`,
    )
  })
})

describe('refuses', () => {
  it('a folder that holds something', async () => {
    const to = temporaryFolder()
    writeFileSync(path.join(to, 'note.txt'), '')
    expect(await failure(() => quantizeModel(source(), to))).toBe(
      `BAD_INPUT ${to}: expected an empty folder, or none, found note.txt`,
    )
    const from = source()
    expect(await failure(() => quantizeModel(from, from))).toMatch(/^BAD_INPUT .*expected an empty folder/)
  })

  it('a place that cannot be written', async () => {
    const file = path.join(temporaryFolder(), 'file')
    writeFileSync(file, '')
    const to = path.join(file, 'model')
    expect(await failure(() => quantizeModel(source(), to))).toBe(
      `BAD_INPUT ${to}: expected a place to write files, found ENOTDIR`,
    )
    const taken = target()
    mkdirSync(path.join(taken, 'model.safetensors.partial'), { recursive: true })
    writeJson(taken, 'm2-quantize.json', {})
    expect(await failure(() => quantizeModel(source(), taken))).toMatch(/^BAD_INPUT .*expected what an interrupted run/)
  })

  it('weights that are in 4 bits already', async () => {
    const int4 = { form: 'awq', group: 32, symmetric: false, scaleDtype: 'F16' } as const
    const from = source({ int4 })
    expect(await failure(() => quantizeModel(from, target()))).toMatch(
      /^BAD_INPUT .*: expected weights in bf16, f16, f32 or FP8, found model\.layers\.0\..*weight in 4 bits already \(AWQ\)$/,
    )
  })

  it('numbers that are none, by file and tensor, and leaves no file under its name', async () => {
    const [from, to] = [source(), target()]
    const name = 'model.layers.1.block_sparse_moe.experts.0.w3.weight'
    spoil(from, name, 77, 1)
    expect(await failure(() => quantizeModel(from, to))).toBe(
      `BAD_CHECKPOINT ${path.join(from, 'model.safetensors')}: ${name}: expected finite numbers to quantise, found one that is not`,
    )
    expect(readdirSync(to)).toEqual(['m2-quantize.json'])
  })

  it('a file that is cut short meanwhile', async () => {
    const [from, to] = [source({ shards: 2 }), target()]
    let cut = false
    const onProgress = () => {
      if (!cut) truncateSync(path.join(from, 'model-00001-of-00002.safetensors'), 70_000)
      cut = true
    }
    expect(await failure(() => quantize(from, to, { onProgress }, 100_000))).toMatch(
      /^BAD_CHECKPOINT .*model-00001-of-00002\.safetensors: tensor model\..* goes on to byte \d+, but the file has 70000 bytes$/,
    )
  })

  it('options that there are not', async () => {
    const options = { bits: 8 } as never
    expect(await failure(() => quantizeModel(source(), target(), options))).toMatch(/^BAD_OPTION quantizeModel: .*bits/)
  })
})
