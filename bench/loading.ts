/**
 * Loading checkpoints as MiniMax-M2 is published, in FP8 and in 4 bits, cut down so that they can be written here: one with all of its 96,103 tensors in 130 shards, but narrow
 * ones; one with tensors of full size, but few. The first shows what a tensor costs, the second what a byte does.
 */
import { closeSync, mkdtempSync, openSync, readdirSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Engine } from '../lib/index'
import { readCheckpoint } from '../lib/model/checkpoint'
import { loadConfig } from '../lib/model/config'
import { planWeights } from '../lib/model/weights'
import type { ModelGeometry } from '../lib/native'
import { configOf, type RandomModel, safetensorsBytes, type TensorToWrite } from '../test/reference/checkpoint-writer'
import type { Int4Form } from '../test/reference/int4-formats'
import { takeTurns } from './measure'
import { digits, type Table } from './tables'

const ROUNDS = 5
/** Weights that share a scale and a zero, in 4 bits. */
const GROUP = 128

interface Case {
  name: string
  geometry: ModelGeometry
  shards: number
  form: 'fp8' | Int4Form
}

const COMMON = { headDim: 128, rotaryDim: 64, ropeTheta: 5e6, expertsPerToken: 8, rmsNormEps: 1e-6, vocabSize: 4096 }
const CASES: Case[] = [
  {
    name: 'all tensors, narrow',
    geometry: { ...COMMON, hiddenSize: 192, layers: 62, heads: 6, kvHeads: 1, experts: 256, expertHidden: 128 },
    shards: 130,
    form: 'fp8',
  },
  ...(['fp8', 'awq', 'gptq', 'compressed-tensors'] as const).map((form) => ({
    name: 'full width, 64 experts of one layer',
    geometry: { ...COMMON, hiddenSize: 3072, layers: 1, heads: 48, kvHeads: 8, experts: 64, expertHidden: 1536 },
    shards: 1,
    form,
  })),
]

export async function benchLoading(): Promise<Table[]> {
  const tables: Table[] = []
  for (const one of CASES) {
    const dir = mkdtempSync(path.join(os.tmpdir(), 'm2-loading-'))
    try {
      writeCheckpoint(dir, one)
      tables.push(await measure(dir, one))
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  }
  return tables
}

async function measure(dir: string, { name, shards, form }: Case): Promise<Table> {
  const files = readdirSync(dir).map((name) => path.join(dir, name))
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0)
  const config = await loadConfig(dir)
  const checkpoint = await readCheckpoint(dir)
  const times = await takeTurns(
    {
      reading: () => elapsed(() => files.forEach(readWhole)),
      headers: () => elapsed(() => readCheckpoint(dir)),
      plan: () => elapsed(() => planWeights(config, checkpoint)),
      load: () => elapsed(() => load(dir, 'auto')),
      rounded: () => elapsed(() => load(dir, 'bf16')),
    },
    ROUNDS,
  )
  const row = (what: string, { median, spread }: (typeof times)['load']) => [
    what,
    `${digits(median / 1000)} ±${spread.toFixed(0)} %`,
    digits(bytes / median / 1000),
    digits(median / checkpoint.tensors.size),
  ]
  return {
    title: `Loading ${form}: ${name}`,
    note:
      `${digits(bytes / 2 ** 20)} MiB in ${checkpoint.tensors.size} tensors and ${shards === 1 ? 'one file' : `${shards} files`}, from the system's file ` +
      `cache; ${ROUNDS} rounds in turns, medians.`,
    columns: ['what', 'ms', 'GB/s', 'us a tensor'],
    rows: [
      row('reading the files, no more', times.reading),
      row('headers and index', times.headers),
      row('binding and checks', times.plan),
      row('Engine.load and close, held as stored', times.load),
      row('Engine.load and close, as bf16', times.rounded),
    ],
  }
}

async function load(dir: string, weightDtype: 'auto' | 'bf16'): Promise<void> {
  const engine = await Engine.load(dir, { device: 'cpu', kvMemory: '64MiB', weightDtype })
  await engine.close()
}

function writeCheckpoint(dir: string, { geometry, shards, form }: Case): void {
  const weightMap: Record<string, string> = {}
  const tensors = [...publishedTensors(geometry, form)]
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-${`${shard}`.padStart(5, '0')}-of-${`${shards}`.padStart(5, '0')}.safetensors`
    const from = Math.floor((tensors.length * shard) / shards)
    const part = tensors.slice(from, Math.floor((tensors.length * (shard + 1)) / shards)).map((make) => make())
    for (const { name } of part) weightMap[name] = file
    writeFileSync(path.join(dir, file), safetensorsBytes(part))
  }
  writeFileSync(path.join(dir, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }))
  writeFileSync(path.join(dir, 'config.json'), JSON.stringify(configOf({ geometry, seed: 0, ...quantization(form) })))
}

function quantization(form: Case['form']): Partial<RandomModel> {
  return form === 'fp8' ? { fp8: true } : { int4: { form, group: GROUP, symmetric: false, scaleDtype: 'F16' } }
}

/** Each made when its shard is written. Their numbers say nothing. */
function* publishedTensors(g: ModelGeometry, form: Case['form']): Generator<() => TensorToWrite> {
  const tensor = (name: string, dtype: string, shape: number[], elementBytes: number) => () => {
    const elements = shape.reduce((product, size) => product * size, 1)
    return { name, dtype, shape, data: new Uint8Array(elements * elementBytes).fill(0x38) }
  }
  function* matrix(name: string, rows: number, cols: number) {
    if (form === 'fp8') {
      yield tensor(`${name}.weight`, 'F8_E4M3', [rows, cols], 1)
      yield tensor(`${name}.weight_scale_inv`, 'F32', [Math.ceil(rows / 128), Math.ceil(cols / 128)], 4)
      return
    }
    const groups = Math.ceil(cols / GROUP)
    const packed = form === 'compressed-tensors'
    const codes = { awq: [cols, rows / 8], 'compressed-tensors': [rows, cols / 8] }[form as string] ?? [cols / 8, rows]
    yield tensor(`${name}.${packed ? 'weight_packed' : 'qweight'}`, 'I32', codes, 4)
    const zeros = packed ? [rows / 8, groups] : [groups, rows / 8]
    yield tensor(`${name}.${packed ? 'weight_zero_point' : 'qzeros'}`, 'I32', zeros, 4)
    const scales = packed ? [rows, groups] : [groups, rows]
    yield tensor(`${name}.${packed ? 'weight_scale' : 'scales'}`, 'F16', scales, 2)
  }
  const { vocabSize: V, hiddenSize: C, expertHidden: F } = g
  const [queries, keys] = [g.heads * g.headDim, g.kvHeads * g.headDim]
  yield tensor('model.embed_tokens.weight', 'BF16', [V, C], 2)
  for (let layer = 0; layer < g.layers; layer++) {
    const prefix = `model.layers.${layer}`
    for (const norm of ['input_layernorm', 'post_attention_layernorm']) {
      yield tensor(`${prefix}.${norm}.weight`, 'BF16', [C], 2)
    }
    yield tensor(`${prefix}.self_attn.q_norm.weight`, 'BF16', [queries], 2)
    yield tensor(`${prefix}.self_attn.k_norm.weight`, 'BF16', [keys], 2)
    yield* matrix(`${prefix}.self_attn.q_proj`, queries, C)
    yield* matrix(`${prefix}.self_attn.k_proj`, keys, C)
    yield* matrix(`${prefix}.self_attn.v_proj`, keys, C)
    yield* matrix(`${prefix}.self_attn.o_proj`, C, queries)
    yield tensor(`${prefix}.block_sparse_moe.gate.weight`, 'F32', [g.experts, C], 4)
    yield tensor(`${prefix}.block_sparse_moe.e_score_correction_bias`, 'F32', [g.experts], 4)
    for (let expert = 0; expert < g.experts; expert++) {
      const place = `${prefix}.block_sparse_moe.experts.${expert}`
      yield* matrix(`${place}.w1`, F, C)
      yield* matrix(`${place}.w2`, C, F)
      yield* matrix(`${place}.w3`, F, C)
    }
  }
  yield tensor('model.norm.weight', 'BF16', [C], 2)
  yield tensor('lm_head.weight', 'BF16', [V, C], 2)
}

const CHUNK = Buffer.alloc(2 ** 20)

function readWhole(file: string): void {
  const descriptor = openSync(file, 'r')
  while (readSync(descriptor, CHUNK, 0, CHUNK.length, null) > 0);
  closeSync(descriptor)
}

async function elapsed(work: () => unknown): Promise<number> {
  const start = performance.now()
  await work()
  return 1000 * (performance.now() - start)
}
