/** Models whose weights the device makes, in every format that they can be held in, with an FP8 cache whose scales are found as an engine finds them. */
import { describe, expect, it } from 'vitest'
import { scalesFor } from '../../lib/kv-calibration'
import { heldColumns } from '../../lib/model/held-weights'
import { BF16, type WeightType } from '../../lib/model/parameters'
import type { ModelGeometry, NativeModel } from '../../lib/native'
import { DEVICES } from '../devices'
import { Driver, type Sample } from './driver'

const GEOMETRY: ModelGeometry = {
  ...{ vocabSize: 700, hiddenSize: 128, layers: 3, heads: 6, kvHeads: 2, headDim: 64, rotaryDim: 32, ropeTheta: 5e6 },
  ...{ experts: 16, expertsPerToken: 4, expertHidden: 96, rmsNormEps: 1e-6 },
}
const FP8: WeightType = { format: 'fp8', group: 0, zeros: false }
const INT4: WeightType = { format: 'int4', group: 128, zeros: false }
const WITH_ZEROS: WeightType = { format: 'int4', group: 32, zeros: true }

const IDS = Array.from({ length: 70 }, (_, i) => (i * 271) % GEOMETRY.vocabSize)
const measured = async (model: NativeModel) => scalesFor(await model.measureKv(Int32Array.from(IDS)))

/** The logprobs behind a prompt, and the ids of that step and three more. */
async function answer(device: string, types: readonly WeightType[]) {
  const weights = { random: true as const, held: heldColumns(types) }
  const settings = { device, kvDtype: 'fp8', kvScales: measured, maxContext: 128, maxSequences: 1, threads: 1 } as const
  const driver = await Driver.load({ geometry: GEOMETRY, weights }, settings)
  const [[first]] = (await driver.step([{ row: 0, ids: IDS }], true)) as [[Sample]]
  return { ids: [first.id, ...(await driver.greedy(0, [first.id], 3, -1))], logprobs: first.logprobs }
}

const layers = (attention: WeightType, experts: WeightType, head = BF16) => [
  head,
  ...Array.from({ length: GEOMETRY.layers }, () => [attention, attention, experts, experts]).flat(),
]

describe.each(DEVICES)('a random model on %s', (device) => {
  it.each([
    ['FP8', layers(FP8, FP8)],
    ['FP8 and int4, as M2 is held', layers(FP8, INT4)],
    ['int4 with zeros', layers(WITH_ZEROS, WITH_ZEROS, FP8)],
  ])('of %s says much what the one of bf16 says, and twice the same', async (_, types) => {
    const [held, again, plain] = [
      await answer(device, types),
      await answer(device, types),
      await answer(device, layers(BF16, BF16)),
    ]
    expect(again).toEqual(held)
    expect(held.logprobs.every(Number.isFinite)).toBe(true)
    expect(held.ids.every((id) => id >= 0 && id < GEOMETRY.vocabSize)).toBe(true)
    expect(correlation(held.logprobs, plain.logprobs)).toBeGreaterThan(0.5)
  })
})

function correlation(a: Float32Array, b: Float32Array): number {
  const centred = (values: Float32Array) => {
    const mean = values.reduce((x, y) => x + y) / values.length
    return values.map((x) => x - mean)
  }
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i]!, 0)
  const [x, y] = [centred(a), centred(b)]
  return dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y))
}
