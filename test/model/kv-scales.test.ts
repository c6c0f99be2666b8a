/** An FP8 cache at the model's door: what is measured for its scales, and when they must be there. */
import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native'
import { DEVICES } from '../devices'
import { readCheckpoint } from '../reference/checkpoint-reader'
import { ReferenceModel } from '../reference/model'
import { Random } from '../reference/random'
import { Driver } from './driver'
import { failure, modelFolder, TINY } from './folder'

const COUNT = TINY.layers * 2 * TINY.kvHeads
const IDS = Array.from({ length: 45 }, (_, i) => new Random(i).integer(TINY.vocabSize))
const ones = (count = COUNT) => new Float32Array(count).fill(1)

describe.each(DEVICES)('on %s', (device) => {
  it('measureKv gives the largest K and V of each layer and head, in steps of any size', async () => {
    const dir = modelFolder()
    const exact = new Float64Array(COUNT)
    const reference = new ReferenceModel(readCheckpoint(dir), 'float64', (values, layer, which) => {
      for (const [i, value] of values.entries()) {
        const at = (layer * 2 + which) * TINY.kvHeads + Math.floor(i / TINY.headDim)
        exact[at] = Math.max(exact[at]!, Math.abs(value))
      }
    })
    for (const [position, id] of IDS.entries()) reference.step(id, position)
    const found: Float32Array[] = []
    for (const [maxStepTokens, pageSize] of [
      [1024, 16],
      [10, 4],
      [1, 64],
    ] as const) {
      const driver = await Driver.load(dir, { device, maxStepTokens, pageSize, maxContext: 64, maxSequences: 2 })
      found.push(await driver.model.measureKv(Int32Array.from(IDS)))
      expect(await driver.model.measureKv(Int32Array.from(IDS))).toEqual(found[0])
    }
    for (const sizes of found) expect(sizes).toEqual(found[0])
    for (const [i, size] of found[0]!.entries()) expect(Math.abs(size / exact[i]! - 1)).toBeLessThan(0.02)
  })

  it('measureKv leaves no trace in the steps behind it', async () => {
    const dir = modelFolder()
    const settings = { device, pageSize: 16, maxContext: 64, maxSequences: 2 }
    const plain = await Driver.load(dir, settings)
    const measured = await Driver.load(dir, settings)
    await measured.model.measureKv(Int32Array.from(IDS))
    const chunks = [0, 1].map((row) => ({ row, ids: IDS.slice(row, 20) }))
    expect(await measured.step(chunks, true)).toEqual(await plain.step(chunks, true))
  })
})

describe('an FP8 cache', () => {
  it('needs its scales before the first step, once, and such as can be', async () => {
    const { model } = await Driver.load(modelFolder(), { maxContext: 64, maxSequences: 1 })
    expect(await failure(() => model.setKvScales(ones()))).toBe(
      'DEVICE_ERROR internal: setKvScales is for an fp8 cache, and once',
    )

    let forward = ''
    const refusals: string[] = []
    const kvScales = async (fp8: typeof model) => {
      for (const scales of [ones(3), ones().fill(0, 2, 3), ones().fill(Number.NaN), ones().fill(-1)]) {
        refusals.push(await failure(() => fp8.setKvScales(scales)))
      }
      return ones()
    }
    const settings = { maxContext: 64, maxSequences: 1, kvDtype: 'fp8' } as const
    const unscaled = Driver.load(modelFolder(), {
      ...settings,
      kvScales: async (fp8) => {
        const one = (value: number) => Int32Array.of(value)
        const none = new Int32Array()
        forward = await failure(() =>
          fp8.forward({
            ...{ tokenIds: one(1), positions: one(0), slotMapping: one(0), cuSeqlensQ: Int32Array.of(0, 1) },
            ...{ contextLens: one(1), rows: one(0), pageUpdates: Int32Array.of(0, 0, 0), sampleAt: none },
            ...{ sampleRow: none, samplingFloats: new Float32Array(), samplingInts: none, biasOffsets: none },
            ...{ biasIds: none, biasValues: new Float32Array(), maskSamples: none, maskBits: none },
            ...{ historyRows: none, historyOffsets: none, historyGenerated: none, historyIds: none },
            ...{ scoreAt: none, scoreIds: none },
          }),
        )
        return kvScales(fp8)
      },
    })
    const driver = await unscaled
    expect(forward).toBe('DEVICE_ERROR internal: an fp8 cache needs setKvScales before the first step')
    expect(refusals).toEqual([
      'DEVICE_ERROR internal: setKvScales needs 8 scales, found 3',
      'DEVICE_ERROR internal: setKvScales needs scales above 0, found 0',
      'DEVICE_ERROR internal: setKvScales needs scales above 0, found nan',
      'DEVICE_ERROR internal: setKvScales needs scales above 0, found -1',
    ])
    await driver.step([{ row: 0, ids: [1, 2, 3] }])
    expect(await failure(() => driver.model.setKvScales(ones()))).toBe(
      'DEVICE_ERROR internal: setKvScales is for an fp8 cache, and once',
    )
    expect(driver.model.pageBytes).toBe(COUNT * 16 * TINY.headDim)
  })

  it('is one of three element types', async () => {
    const options = { device: 'cpu', threads: 1, geometry: TINY, weights: { random: true }, kvDtype: 'fp4' }
    expect(await failure(() => native().loadModel(options as never, () => {}))).toBe(
      'BAD_OPTION kvDtype is "fp4", expected "f32", "bf16" or "fp8"',
    )
  })
})
