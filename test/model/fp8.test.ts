/** FP8 checkpoints: the model that holds them as FP8, the one that makes them bf16, and a bf16 checkpoint of the same weights are one model, bit for bit. */
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Engine } from '../../lib/index'
import type { ModelGeometry } from '../../lib/native'
import { DEVICES } from '../devices'
import { safetensorsBytes, type TensorToWrite } from '../reference/checkpoint-writer'
import { bf16Bits, dequantizeFp8 } from '../reference/number-formats'
import { failure, modelFolder, temporaryFolder, writeJson } from './folder'

const GEOMETRY: ModelGeometry = {
  ...{ vocabSize: 300, hiddenSize: 160, layers: 2, heads: 6, kvHeads: 1, headDim: 64, rotaryDim: 32, ropeTheta: 5e6 },
  ...{ experts: 8, expertsPerToken: 2, expertHidden: 288, rmsNormEps: 1e-6 },
}

/** The folder's FP8 matrices as bf16, in a folder of their own. */
function inBf16(dir: string): string {
  const bytes = readFileSync(path.join(dir, 'model.safetensors'))
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start))
  const data = (name: string) => {
    const [begin, end] = header[name].data_offsets
    return new Uint8Array(bytes.subarray(start + begin, start + end))
  }
  const tensors: TensorToWrite[] = []
  for (const [name, { dtype, shape }] of Object.entries<TensorToWrite>(header)) {
    if (name === '__metadata__' || name.endsWith('_scale_inv')) continue
    if (dtype !== 'F8_E4M3') {
      tensors.push({ name, dtype, shape, data: data(name) })
      continue
    }
    const scales = new Float32Array(data(`${name}_scale_inv`).buffer)
    const values = dequantizeFp8({ rows: shape[0]!, cols: shape[1]!, bytes: data(name), scales })
    tensors.push({ name, dtype: 'BF16', shape, data: new Uint8Array(new Uint16Array(values.map(bf16Bits)).buffer) })
  }
  const to = temporaryFolder()
  const { quantization_config: _, ...config } = JSON.parse(readFileSync(path.join(dir, 'config.json'), 'utf8'))
  writeJson(to, 'config.json', config)
  writeFileSync(path.join(to, 'model.safetensors'), safetensorsBytes(tensors))
  return to
}

const PROMPT = Array.from({ length: 40 }, (_, i) => (i * 37) % 290)

async function answer(dir: string, options: { device: string; weightDtype?: 'auto' | 'bf16' | 'fp8' }) {
  await using engine = await Engine.load(dir, options as Parameters<typeof Engine.load>[1])
  const { tokenIds, logprobs } = await engine
    .generate(PROMPT, { maxTokens: 12, temperature: 0, logprobs: 3, ignoreEos: true })
    .result()
  return { said: { tokenIds, logprobs }, bytes: engine.model.bytes, weights: engine.model.dtypes.weights }
}

describe('an FP8 checkpoint', () => {
  it.each(DEVICES)('answers on %s with the bits of the bf16 checkpoint that it stands for', async (device) => {
    const dir = modelFolder({ geometry: GEOMETRY, seed: 3, fp8: true })
    const whole = await answer(inBf16(dir), { device })
    const held = await answer(dir, { device })
    const rounded = await answer(dir, { device, weightDtype: 'bf16' })
    expect(held.said).toEqual(whole.said)
    expect(rounded.said).toEqual(whole.said)
    expect(rounded.bytes).toBe(whole.bytes)
    expect(held.weights).toBe('fp8')
    expect(held.bytes).toBeLessThan(0.65 * whole.bytes)
  })

  it('is the only one whose weights can be asked for as FP8', async () => {
    const plain = modelFolder({ geometry: GEOMETRY })
    expect(await failure(() => answer(plain, { device: 'cpu', weightDtype: 'fp8' }))).toBe(
      'BAD_OPTION weightDtype: "fp8" needs a checkpoint whose matrices are FP8; expected "auto", "bf16" or "int4"',
    )
  })
})
