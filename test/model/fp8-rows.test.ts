/** activationDtype "fp8": another model, a little, which answers the same whatever else runs, and is near the one whose rows are not rounded. */
import { describe, expect, it } from 'vitest'
import { Engine, type EngineOptions } from '../../lib/index'
import type { ModelGeometry } from '../../lib/native'
import { DEVICES } from '../devices'
import { failure, modelFolder, rewrite } from './folder'

const GEOMETRY: ModelGeometry = {
  ...{ vocabSize: 300, hiddenSize: 128, layers: 2, heads: 4, kvHeads: 1, headDim: 64, rotaryDim: 32, ropeTheta: 5e6 },
  ...{ experts: 8, expertsPerToken: 2, expertHidden: 128, rmsNormEps: 1e-6 },
}
const prompt = (length: number, from: number) => Array.from({ length }, (_, i) => (from + i * 37) % 290)
const LENGTHS = [40, 3, 17, 29]
/** With KV in FP8 attention rounds too. */
const CACHES = ['bf16', 'fp8'] as const

/** What is answered to the prompts, all at once. */
async function answers(dir: string, options: EngineOptions, lengths: readonly number[]) {
  await using engine = await Engine.load(dir, { activationDtype: 'fp8', kvMemory: '4MiB', ...options })
  const generations = lengths.map((length) =>
    engine.generate(prompt(length, length), { maxTokens: 6, temperature: 0, logprobs: 2, ignoreEos: true }).result(),
  )
  return (await Promise.all(generations)).map(({ tokenIds, logprobs }) => ({ tokenIds, logprobs }))
}

describe.each(DEVICES)('rows in FP8 on %s', (name) => {
  const device = name as NonNullable<EngineOptions['device']>
  const model = () => modelFolder({ geometry: GEOMETRY, seed: 3, fp8: true })

  it.each(CACHES)('give the same answer alone, batched and in chunks, with KV in %s', async (kvDtype) => {
    const dir = model()
    const options: EngineOptions = { device, kvDtype }
    const together = await answers(dir, options, LENGTHS)
    const [first] = await answers(dir, options, [LENGTHS[0]!])
    expect(first).toEqual(together[0])
    expect(await answers(dir, { ...options, maxStepTokens: 16 }, LENGTHS)).toEqual(together)
  })

  it.each(CACHES)('change the probabilities somewhat, with KV in %s', async (kvDtype) => {
    const dir = model()
    const options: EngineOptions = { device, kvDtype, kvMemory: '4MiB' }
    await using plain = await Engine.load(dir, options)
    await using rounded = await Engine.load(dir, { ...options, activationDtype: 'fp8' })
    const ids = prompt(60, 5)
    const [a, b] = [await plain.score(ids), await rounded.score(ids)]
    const off = a.map((logprob, i) => Math.abs(logprob - b[i]!)).filter(Number.isFinite)
    expect(Math.max(...off)).toBeGreaterThan(1e-3)
    expect(off.reduce((x, y) => x + y) / off.length).toBeLessThan(0.5)
  })
})

describe('rows in FP8', () => {
  it('are those of attention too, with KV in FP8', async () => {
    // Experts alone are held in 4 bits, and give zeros whatever they take: what changes is attention's.
    const dir = modelFolder({ geometry: GEOMETRY, seed: 3 })
    rewrite(dir, (tensors) => {
      for (const [name, { data }] of tensors) if (name.endsWith('w2.weight')) data.fill(0)
    })
    const scores = async (kvDtype: 'bf16' | 'fp8', activationDtype: 'auto' | 'fp8') => {
      const options = { device: 'cpu', kvMemory: '4MiB', weightDtype: 'int4' } as const
      await using engine = await Engine.load(dir, { ...options, kvDtype, activationDtype })
      return await engine.score(prompt(60, 5))
    }
    expect(await scores('bf16', 'fp8')).toEqual(await scores('bf16', 'auto'))
    expect(await scores('fp8', 'fp8')).not.toEqual(await scores('fp8', 'auto'))
  })

  it('need weights that are FP8 or int4', async () => {
    const problem = 'needs matrices that are held as FP8 or int4, with rows of a multiple of 128 numbers'
    const message = `BAD_OPTION activationDtype: "fp8" ${problem}; expected "auto"`
    const load = (options: EngineOptions, model = GEOMETRY) => {
      return failure(() => answers(modelFolder({ geometry: model, fp8: true }), { device: 'cpu', ...options }, [3]))
    }
    expect(await load({ weightDtype: 'bf16' })).toBe(message)
    expect(await load({}, { ...GEOMETRY, hiddenSize: 160, expertHidden: 96, heads: 3 })).toBe(message)
    expect(await failure(() => answers(modelFolder(), { device: 'cpu' }, [3]))).toBe(message)
  })
})
