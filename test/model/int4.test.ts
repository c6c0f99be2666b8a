/** Checkpoints in 4 bits: held as they are or made bf16, they are one model with the bf16 checkpoint of the weights that they mean, bit for bit. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { Engine, type EngineOptions } from '../../lib/index'
import { readCheckpoint as readHeaders } from '../../lib/model/checkpoint'
import { loadConfig } from '../../lib/model/config'
import { holdWeights } from '../../lib/model/held-weights'
import { planWeights } from '../../lib/model/weights'
import type { ModelGeometry } from '../../lib/native'
import { createOps } from '../../lib/ops'
import { DEVICES, isThere } from '../devices'
import { readCheckpoint } from '../reference/checkpoint-reader'
import { encode, type RandomModel, safetensorsBytes, type TensorToWrite } from '../reference/checkpoint-writer'
import { dequantizeInt4, int4Config, packInt4 } from '../reference/int4-formats'
import { fromBf16Bits } from '../reference/number-formats'
import { Random } from '../reference/random'
import { failure, modelFolder, rewrite, TINY, temporaryFolder, writeJson } from './folder'

const GEOMETRY: ModelGeometry = {
  ...{ vocabSize: 300, hiddenSize: 160, layers: 2, heads: 6, kvHeads: 1, headDim: 64, rotaryDim: 32, ropeTheta: 5e6 },
  ...{ experts: 8, expertsPerToken: 2, expertHidden: 288, rmsNormEps: 1e-6 },
}

const AWQ: RandomModel['int4'] = { form: 'awq', group: 128, symmetric: false, scaleDtype: 'F16' }

const MODELS: [name: string, model: Partial<RandomModel>][] = [
  ['AWQ', { int4: AWQ }],
  ['AWQ without zeros, groups of 32, in three shards', { int4: { ...AWQ, group: 32, symmetric: true }, shards: 3 }],
  ['AWQ of the experts alone, with attention in FP8', { int4: { ...AWQ, only: /\.w[123]\.weight$/ }, fp8: true }],
  [
    'AWQ of one layer and of q and k of the other',
    { int4: { ...AWQ, group: 64, only: /s\.0.*(_proj|\.w[123])\.weight$|1.*[qk]_proj/ } },
  ],
  ['GPTQ', { int4: { form: 'gptq', group: 64, symmetric: false, scaleDtype: 'F16' } }],
  ['symmetric GPTQ', { int4: { form: 'gptq', group: 128, symmetric: true, scaleDtype: 'BF16' }, shards: 2 }],
  ['GPTQ of version 2', { int4: { form: 'gptq_v2', group: 32, symmetric: false, scaleDtype: 'F32' } }],
  [
    'compressed-tensors, lm_head too',
    {
      int4: {
        form: 'compressed-tensors',
        group: 32,
        symmetric: false,
        scaleDtype: 'BF16',
        only: /(_proj|\.w[123]|head)\.weight$/,
      },
    },
  ],
  [
    'symmetric compressed-tensors',
    { int4: { form: 'compressed-tensors', group: 128, symmetric: true, scaleDtype: 'F16' }, shards: 2 },
  ],
]

/** What a folder's tensors mean, as a bf16 checkpoint; the shapes are those of `plain`. */
function meaningOf(dir: string, plain: string): string {
  const bytes = readFileSync(path.join(plain, 'model.safetensors'))
  const header: Record<string, { shape: number[] }> = JSON.parse(
    bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0))),
  )
  const tensors = [...readCheckpoint(dir).tensors].flatMap(([name, values]) => {
    const shape = header[name]?.shape
    if (!shape) return []
    const dtype = name.endsWith('bias') ? 'F32' : 'BF16'
    return [{ name, dtype, shape, data: encode(values, dtype) }]
  })
  const to = temporaryFolder()
  writeJson(to, 'config.json', readFileSync(path.join(plain, 'config.json'), 'utf8'))
  writeFileSync(path.join(to, 'model.safetensors'), safetensorsBytes(tensors))
  return to
}

const PROMPT = Array.from({ length: 40 }, (_, i) => (i * 37) % 290)

async function answer(
  dir: string,
  options: { device: string; weightDtype?: EngineOptions['weightDtype'] },
  maxTokens = 12,
) {
  await using engine = await Engine.load(dir, options as EngineOptions)
  const { tokenIds, logprobs } = await engine
    .generate(PROMPT, { maxTokens, temperature: 0, logprobs: 3, ignoreEos: true })
    .result()
  return { said: { tokenIds, logprobs }, bytes: engine.model.bytes, weights: engine.model.dtypes.weights }
}

/** The processor once with each of its instruction sets. */
const withIsa = (isa: string) => {
  process.env.M2_CPU_ISA = isa
}
afterEach(() => {
  delete process.env.M2_CPU_ISA
})
const ISAS = ['avx512', 'avx2', 'plain'].filter((isa) => {
  withIsa(isa)
  const there = isThere(() => createOps('cpu', 1))
  delete process.env.M2_CPU_ISA
  return there
})
const PLACES = DEVICES.flatMap((device) =>
  device === 'cpu' ? ISAS.map((isa) => ({ device, isa })) : [{ device, isa: '' }],
)

/** All forms end in the same rows: every fourth is tried in every place, the others on the processor at its best. */
const placesOf = (i: number) => (i % 4 === 0 ? PLACES : PLACES.slice(0, 1))

describe.each(MODELS.map(([name, model], i) => ({ name, model, i })))('a checkpoint in $name', ({ model, i }) => {
  it.each(placesOf(i))(
    'answers on $device $isa with the bits of the bf16 checkpoint that it stands for',
    async ({ device, isa }) => {
      if (isa) withIsa(isa)
      const dir = modelFolder({ geometry: GEOMETRY, seed: 5, ...model })
      const whole = await answer(meaningOf(dir, modelFolder({ geometry: GEOMETRY })), { device })
      const held = await answer(dir, { device })
      expect(held.said).toEqual(whole.said)
      expect(held.weights).toBe('int4')
      const config = await loadConfig(dir)
      const { stored, skipped } = planWeights(config, await readHeaders(dir))
      expect(skipped).toEqual([])
      expect(held.bytes).toBe(holdWeights(config, stored, device, { weightDtype: 'auto' }).bytes)
      if (device === 'emulated') return // what follows is the host's work, and the emulator is slow
      const rounded = await answer(dir, { device, weightDtype: 'bf16' })
      expect(rounded.said).toEqual(whole.said)
      expect(rounded.bytes).toBe(whole.bytes)
    },
  )
})

describe('a matrix of more than 8 MiB of codes', () => {
  it.each(['awq', 'gptq', 'compressed-tensors'] as const)('is packed piece by piece: %s', async (form) => {
    const config = { vocab_size: 2 ** 19 + 136 }
    const [rows, cols, groups] = [config.vocab_size, TINY.hiddenSize, 1]
    const random = new Random(1)
    const codes = new Uint8Array(rows * cols).map(() => random.integer(16))
    const zeros = new Uint8Array(rows * groups).map(() => 1 + random.integer(15))
    const scales = new Float64Array(rows * groups).map(() => fromBf16Bits(0x3c00 + random.integer(128)))
    const matrix = { rows, cols, group: 32, codes, zeros, scales }
    const storage = { form, group: 32, symmetric: false, scaleDtype: 'BF16' } as const
    // All else is that of a small model.
    const write = (dir: string, head: (Omit<TensorToWrite, 'name'> & { part: string })[]) => {
      rewrite(dir, (tensors) => {
        const embedding = new Uint16Array(rows * cols).map((_, i) => 0x3c00 + (i % 509))
        const embed = { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [rows, cols] }
        tensors.set(embed.name, { ...embed, data: new Uint8Array(embedding.buffer) })
        tensors.delete('lm_head.weight')
        for (const { part, ...tensor } of head) tensors.set(part, { name: `lm_head.${part}`, ...tensor })
      })
      return dir
    }
    const data = encode(dequantizeInt4(matrix), 'F32')
    const whole = write(modelFolder({ config }), [{ part: 'weight', dtype: 'F32', shape: [rows, cols], data }])
    const folder = modelFolder({ config: { ...config, quantization_config: int4Config(storage) } })
    const packed = write(folder, packInt4(matrix, storage))
    const found = await answer(packed, { device: 'cpu' }, 2)
    expect(found.weights).toBe('int4')
    expect(found.said).toEqual((await answer(whole, { device: 'cpu' }, 2)).said)
  })
})

describe('weightDtype', () => {
  it('"int4" quantises experts that are stored otherwise, and nothing else', async () => {
    const dir = modelFolder({ geometry: GEOMETRY, seed: 3 })
    const whole = await answer(dir, { device: 'cpu' })
    const quantised = await answer(dir, { device: 'cpu', weightDtype: 'int4' })
    expect(quantised.weights).toBe('int4')
    const experts = 2 * 8 * 3 * 160 * 288
    expect(whole.bytes - quantised.bytes).toBeGreaterThan(1.4 * experts)
    expect(whole.bytes - quantised.bytes).toBeLessThan(1.5 * experts)
    expect(quantised.said.tokenIds).not.toEqual([])
    expect(quantised.said).not.toEqual(whole.said)
    const fp8 = modelFolder({ geometry: GEOMETRY, seed: 3, fp8: true })
    const [held, both] = [
      await answer(fp8, { device: 'cpu' }),
      await answer(fp8, { device: 'cpu', weightDtype: 'int4' }),
    ]
    expect(both.bytes).toBeLessThan(held.bytes)
    const awq = modelFolder({ geometry: GEOMETRY, seed: 3, int4: AWQ })
    expect(await answer(awq, { device: 'cpu', weightDtype: 'int4' })).toEqual(await answer(awq, { device: 'cpu' }))
  })

  it('"int4" quantises all of a weight that is stored in more than one way', async () => {
    const int4 = { ...AWQ, group: 32 as const, only: /\.w1\.weight$/ }
    const dir = modelFolder({ geometry: GEOMETRY, seed: 3, int4 })
    const whole = meaningOf(dir, modelFolder({ geometry: GEOMETRY }))
    const options = { device: 'cpu', weightDtype: 'int4' } as const
    expect(await answer(dir, options)).toEqual(await answer(whole, options))
  })

  it('"int4" keeps cached prefixes apart from those of the weights as they are stored', async () => {
    const dir = modelFolder({ geometry: GEOMETRY })
    const file = path.join(temporaryFolder(), 'prefixes')
    const options = { device: 'cpu', pageSize: 16 } as const
    await using plain = await Engine.load(dir, options)
    await plain.generate(PROMPT, { maxTokens: 1 }).result()
    await plain.savePrefixes(file)
    await using quantised = await Engine.load(dir, { ...options, weightDtype: 'int4' })
    expect(await failure(() => quantised.loadPrefixes(file))).toMatch(/expected .*quantised.*, found /)
  })

  it('"fp8" is refused where there is none', async () => {
    const dir = modelFolder({ geometry: GEOMETRY, int4: AWQ })
    expect(await failure(() => answer(dir, { device: 'cpu', weightDtype: 'fp8' }))).toBe(
      'BAD_OPTION weightDtype: "fp8" needs a checkpoint whose matrices are FP8; expected "auto", "bf16" or "int4"',
    )
  })
})
