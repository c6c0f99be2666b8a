import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCheckpoint } from '../../lib/model/checkpoint'
import { loadConfig } from '../../lib/model/config'
import { fingerprintModel, weightSamples } from '../../lib/model/fingerprint'
import { planWeights } from '../../lib/model/weights'
import { FORMS, PARTS, type TensorTable } from '../../lib/native'
import { failure, modelFolder, TINY } from './folder'

async function planOf(dir: string): Promise<TensorTable> {
  return planWeights(await loadConfig(dir), await readCheckpoint(dir)).table
}

async function fingerprintOf(dir: string): Promise<string> {
  return fingerprintModel(await loadConfig(dir), await planOf(dir))
}

describe('the fingerprint of a model', () => {
  it('is the same for the same weights, in one file or in shards', async () => {
    const found = await fingerprintOf(modelFolder())
    expect(found).toMatch(/^[0-9a-f]{64}$/)
    expect(await fingerprintOf(modelFolder())).toBe(found)
    expect(await fingerprintOf(modelFolder({ shards: 3 }))).toBe(found)
  })

  it('does not depend on what only text generation looks at', async () => {
    const config = { max_position_embeddings: 77, eos_token_id: 5 }
    expect(await fingerprintOf(modelFolder({ config }))).toBe(await fingerprintOf(modelFolder()))
  })

  it('differs with other weights of the same config, and with another config over the same weights', async () => {
    const others = await Promise.all([
      fingerprintOf(modelFolder()),
      fingerprintOf(modelFolder({ seed: 2 })),
      fingerprintOf(modelFolder({ dtype: 'F16' })),
      fingerprintOf(modelFolder({ config: { rope_theta: 20_000 } })),
      fingerprintOf(modelFolder({ config: { num_experts_per_tok: 1 } })),
      fingerprintOf(modelFolder({ config: { rms_norm_eps: 1e-5 } })),
    ])
    expect(new Set(others).size).toBe(others.length)
  })

  it('notices training of any single tensor outside the experts', async () => {
    const dir = modelFolder()
    const file = path.join(dir, 'model.safetensors')
    const whole = readFileSync(file)
    const plan = await planOf(dir)
    const found = await fingerprintModel(TINY, plan)
    for (const tensor of (await readCheckpoint(dir)).tensors.values()) {
      if (tensor.name.includes('.experts.')) continue
      const trained = Buffer.from(whole)
      // The lowest bits of the mantissa, in all of the tensor's weights.
      for (let i = 0; i < tensor.bytes; i += 2) trained[tensor.offset + i]! ^= 1
      writeFileSync(file, trained)
      expect(await fingerprintModel(TINY, plan), tensor.name).not.toBe(found)
    }
  })

  it('notices training of all experts', async () => {
    const dir = modelFolder()
    const file = path.join(dir, 'model.safetensors')
    const found = await fingerprintOf(dir)
    const trained = readFileSync(file)
    for (const tensor of (await readCheckpoint(dir)).tensors.values()) {
      if (!tensor.name.includes('.experts.')) continue
      for (let i = 0; i < tensor.bytes; i += 2) trained[tensor.offset + i]! ^= 1
    }
    writeFileSync(file, trained)
    expect(await fingerprintOf(dir)).not.toBe(found)
  })

  it('reads a few MiB of the largest model, from places inside its tensors', () => {
    const [layers, experts, rows, cols] = [62, 256, 1536, 3072]
    const rowsOfPlan: { layer: number; expert: number }[] = [{ layer: -1, expert: -1 }]
    for (let layer = 0; layer < layers; layer++) {
      for (let i = 0; i < 10; i++) rowsOfPlan.push({ layer, expert: -1 })
      for (let i = 0; i < 3 * experts; i++) rowsOfPlan.push({ layer, expert: Math.floor(i / 3) })
    }
    const n = rowsOfPlan.length
    const tensorBytes = rows * cols * 2
    const samples = weightSamples({
      files: ['model.safetensors'],
      names: rowsOfPlan.map((_, i) => `${i}`),
      kind: new Int32Array(n),
      layer: Int32Array.from(rowsOfPlan, ({ layer }) => layer),
      expert: Int32Array.from(rowsOfPlan, ({ expert }) => expert),
      form: new Int32Array(n).fill(FORMS.indexOf('BF16')),
      rows: new Int32Array(n).fill(rows),
      cols: new Int32Array(n).fill(cols),
      file: Int32Array.from({ length: n * PARTS.length }, (_, i) => (i % PARTS.length === 0 ? 0 : -1)),
      offset: Float64Array.from({ length: n * PARTS.length }, (_, i) => Math.floor(i / PARTS.length) * tensorBytes),
      group: new Int32Array(n),
      symmetric: new Int32Array(n),
      scaleDtype: new Int32Array(n),
    })
    expect(samples.length).toBe(1 + layers * 13)
    expect(samples.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(4 * 2 ** 20)
    for (const { offset, bytes } of samples) {
      expect((offset % tensorBytes) + bytes).toBeLessThanOrEqual(tensorBytes)
    }
  })

  it('names a file that has changed since its header was read', async () => {
    const dir = modelFolder()
    const plan = await planOf(dir)
    truncateSync(path.join(dir, 'model.safetensors'), 5000)
    expect(await failure(() => fingerprintModel(TINY, plan))).toMatch(
      /^BAD_CHECKPOINT .*model\.safetensors: expected \d+ bytes at byte \d+, found the end of the file$/,
    )
  })
})
