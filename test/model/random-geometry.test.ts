/**
 * Random MiniMax-M2-shaped checkpoints against the float64 reference: the error of all logprobs, over several positions, stays
 * within twice the error of the same maths in naive bf16. Prompts are grown so that no routing hangs on rounding.
 */
import { describe, expect, it } from 'vitest'
import type { ModelGeometry } from '../../lib/native'
import { DEVICES } from '../devices'
import { readCheckpoint } from '../reference/checkpoint-reader'
import type { RandomModel } from '../reference/checkpoint-writer'
import { type Keeping, ReferenceModel } from '../reference/model'
import { e4m3Bits, fromE4m3Bits } from '../reference/number-formats'
import { growPrompt } from '../reference/prompt'
import { Driver, type Sample, someScales } from './driver'
import { modelFolder } from './folder'

interface Case {
  name: string
  /** [V, C, L, Hq, Hk, D, R, E, A, F] */
  sizes: [number, number, number, number, number, number, number, number, number, number]
  /** Tokens of each prompt; all are run in one step. */
  prompts: number[]
  /** Smallest gap between a chosen and a refused expert's score: several times what naive bf16 moves it. */
  minGap: number
  model?: Partial<RandomModel>
  kvDtype?: 'f32' | 'fp8'
}

const cases: Case[] = [
  {
    name: '3 queries per KV head, head_dim 32, f32 weights and cache, prompts around a page',
    sizes: [1000, 64, 2, 3, 1, 32, 16, 8, 2, 32],
    prompts: [1, 2, 15, 16, 17, 65],
    minGap: 0.008,
    model: { dtype: 'F32' },
    kvDtype: 'f32',
  },
  {
    name: '5 queries per KV head, head_dim 96, f16 weights in three shards',
    sizes: [1537, 96, 2, 10, 2, 96, 48, 32, 4, 64],
    prompts: [31, 200],
    minGap: 0.008,
    model: { dtype: 'F16', shards: 3 },
  },
  {
    name: '7 queries per KV head, head_dim 256, one expert per token, a tied head',
    sizes: [333, 160, 1, 7, 1, 256, 64, 16, 1, 96],
    prompts: [1, 129],
    minGap: 0.008,
    model: { tied: true },
  },
  {
    name: '256 experts, 8 per token, head_dim 128 half rotated as in MiniMax-M2',
    sizes: [1537, 64, 2, 6, 2, 128, 64, 256, 8, 32],
    prompts: [3, 250],
    minGap: 0.004,
  },
  {
    name: 'every expert for every token, head_dim 64, as many KV heads as queries',
    sizes: [97, 32, 3, 3, 3, 64, 64, 4, 4, 160],
    prompts: [64, 63],
    minGap: 0.008,
  },
  {
    name: 'FP8 with ragged blocks, 6 queries per KV head, in three shards',
    sizes: [700, 160, 2, 6, 1, 64, 32, 16, 4, 288],
    prompts: [1, 90],
    minGap: 0.008,
    model: { fp8: true, shards: 3 },
  },
  {
    name: 'AWQ in groups of 128, ragged at the end of rows',
    sizes: [700, 160, 2, 6, 1, 64, 32, 16, 4, 288],
    prompts: [1, 90],
    minGap: 0.008,
    model: { int4: { form: 'awq', group: 128, symmetric: false, scaleDtype: 'F16' } },
  },
  {
    name: 'symmetric GPTQ in groups of 32, in two shards',
    sizes: [700, 128, 2, 4, 2, 64, 64, 32, 4, 64],
    prompts: [3, 70],
    minGap: 0.008,
    model: { int4: { form: 'gptq', group: 32, symmetric: true, scaleDtype: 'F16' }, shards: 2 },
  },
  {
    name: 'compressed-tensors in groups of 64 with zeros, experts alone',
    sizes: [333, 96, 2, 3, 1, 32, 32, 16, 2, 192],
    prompts: [1, 90],
    minGap: 0.008,
    model: {
      int4: { form: 'compressed-tensors', group: 64, symmetric: false, scaleDtype: 'BF16', only: /\.w[123]\.weight$/ },
    },
  },
  {
    name: 'an FP8 cache, 3 queries per KV head, head_dim 64',
    sizes: [600, 64, 2, 6, 2, 64, 32, 8, 2, 32],
    prompts: [1, 33, 150],
    minGap: 0.008,
    kvDtype: 'fp8',
  },
  {
    name: 'an FP8 cache, heads of 128 and of M2, a scale for each of 4',
    sizes: [300, 64, 2, 8, 4, 128, 64, 16, 2, 32],
    prompts: [65, 100],
    minGap: 0.008,
    kvDtype: 'fp8',
  },
  {
    name: 'an FP8 cache, head_dim 96',
    sizes: [300, 64, 2, 4, 2, 96, 32, 8, 2, 32],
    prompts: [70],
    minGap: 0.008,
    kvDtype: 'fp8',
  },
  {
    name: '900 tokens',
    sizes: [1000, 64, 2, 4, 2, 32, 32, 16, 4, 32],
    prompts: [900],
    minGap: 0.008,
  },
]

function geometryOf([V, C, L, Hq, Hk, D, R, E, A, F]: Case['sizes']): ModelGeometry {
  return {
    ...{ vocabSize: V, hiddenSize: C, layers: L, heads: Hq, kvHeads: Hk, headDim: D, rotaryDim: R, ropeTheta: 5e6 },
    ...{ experts: E, expertsPerToken: A, expertHidden: F, rmsNormEps: 1e-6 },
  }
}

/** Up to six token indices of a prompt, the last among them. */
const positionsOf = (tokens: number) => [...new Set([1, 2, 3, 4, 5, 6].map((i) => Math.ceil((tokens * i) / 6) - 1))]

/** Logprobs after the positions of a prompt, and the experts that each of its tokens went to. */
function run(model: ReferenceModel, prompt: readonly number[]): { logprobs: Float64Array[]; routes: string[] } {
  const positions = new Set(positionsOf(prompt.length))
  const logprobs: Float64Array[] = []
  const routes = prompt.map((id, position) => {
    model.step(id, position)
    if (positions.has(position)) logprobs.push(model.logprobs())
    return model.routes.map((experts) => [...experts].sort((a, b) => a - b).join()).join(' ')
  })
  return { logprobs, routes }
}

/** Root of the mean square, and the largest, over all positions and ids. */
function errors(found: readonly ArrayLike<number>[], exact: readonly Float64Array[]): { rms: number; max: number } {
  const all = exact.flatMap((logprobs, i) => [...logprobs.map((value, id) => Math.abs(value - found[i]![id]!))])
  const max = all.reduce((a, b) => Math.max(a, b))
  return { rms: Math.sqrt(all.reduce((sum, error) => sum + error * error, 0) / all.length), max }
}

/** K and V as an FP8 cache of the driver's scales has them. */
async function keepingFp8(geometry: ModelGeometry): Promise<Keeping> {
  const { kvHeads, headDim } = geometry
  const scales = await someScales(geometry)()
  return (values, layer, which) => {
    for (const [i, value] of values.entries()) {
      const scale = scales[(layer * 2 + which) * kvHeads + Math.floor(i / headDim)]!
      values[i] = fromE4m3Bits(e4m3Bits(value / scale)) * scale
    }
  }
}

/** A case's prompts with what the float64 reference makes of them, and by how much naive bf16 is off. */
async function judged({ sizes, prompts: lengths, minGap, model, kvDtype }: Case) {
  const geometry = geometryOf(sizes)
  const dir = modelFolder({ geometry, seed: 7, ...model })
  const checkpoint = readCheckpoint(dir)
  const keep = kvDtype === 'fp8' ? await keepingFp8(geometry) : undefined
  const exactModel = new ReferenceModel(checkpoint, 'float64', keep)
  const naiveModel = new ReferenceModel(checkpoint, 'naive bf16', keep)
  const prompts = lengths.map((length, i) => growPrompt(exactModel, length, minGap, i))
  const truths = prompts.map((prompt) => {
    const exact = run(exactModel, prompt)
    const naive = run(naiveModel, prompt)
    expect(naive.routes, 'the prompt hangs on rounding').toEqual(exact.routes)
    return { exact: exact.logprobs, budget: errors(naive.logprobs, exact.logprobs) }
  })
  return { dir, prompts, truths }
}

describe.each(cases)('a random model: $name', (one) => {
  it('has the logprobs of the float64 reference within twice the error of naive bf16, on every device', async () => {
    const { dir, prompts, truths } = await judged(one)
    for (const device of DEVICES) {
      const driver = await Driver.load(dir, { device, kvDtype: one.kvDtype ?? 'bf16', maxSequences: 64 })
      const chunks = prompts.map((ids, row) => ({ row, ids, sampleAt: positionsOf(ids.length) }))
      const samples = await driver.step(chunks, true)
      for (const [i, { exact, budget }] of truths.entries()) {
        const found = errors(logprobsOf(samples[i]!), exact)
        const where = `after ${prompts[i]!.length} tokens on ${device}`
        expect(found.rms, `rms error ${where}`).toBeLessThan(2 * budget.rms)
        expect(found.max, `largest error ${where}`).toBeLessThan(2 * budget.max)
      }
    }
  })
})

const logprobsOf = (samples: readonly Sample[]) => samples.map(({ logprobs }) => logprobs)
