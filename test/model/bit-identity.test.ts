/** The same sequence gives the same bits however it is cut into steps and whatever runs beside it. */
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { KvDtype, ModelGeometry } from '../../lib/native'
import { DEVICES } from '../devices'
import { Random } from '../reference/random'
import { type Chunk, Driver, type Sample } from './driver'
import { modelFolder } from './folder'

const ODD: ModelGeometry = {
  ...{ vocabSize: 517, hiddenSize: 96, layers: 2, heads: 5, kvHeads: 1, headDim: 96, rotaryDim: 32, ropeTheta: 5e6 },
  ...{ experts: 64, expertsPerToken: 8, expertHidden: 32, rmsNormEps: 1e-6 },
}
/** One layer with M2's heads of 128, six to a KV head. */
const LIKE_M2: ModelGeometry = {
  ...{ vocabSize: 300, hiddenSize: 64, layers: 1, heads: 6, kvHeads: 1, headDim: 128, rotaryDim: 64, ropeTheta: 5e6 },
  ...{ experts: 32, expertsPerToken: 4, expertHidden: 32, rmsNormEps: 1e-6 },
}

interface Model {
  name: string
  folder: () => string
  vocabSize: number
  kvDtype?: KvDtype
}
const withFp8 = (model: Model): Model => ({ ...model, name: `${model.name}, with an FP8 cache,`, kvDtype: 'fp8' })

const odd: Model = {
  name: 'a random model of odd geometry',
  folder: () => modelFolder({ geometry: ODD, seed: 3 }),
  vocabSize: 517,
}
const nano: Model = {
  name: 'the embedded model',
  folder: () => path.join(__dirname, '../../models/nano'),
  vocabSize: 1536,
}
const likeM2: Model = {
  name: "a random model with M2's heads",
  folder: () => modelFolder({ geometry: LIKE_M2, seed: 4 }),
  vocabSize: 300,
}

/** `tokens` of the sequence that must come out the same, `single` of which at the end come one by one where that takes long. */
const places = DEVICES.flatMap((device) =>
  device === 'emulated'
    ? [odd, likeM2, withFp8(likeM2)].map((model) => ({ ...model, device, tokens: 160, single: 24 }))
    : [nano, odd, likeM2, withFp8(odd)].map((model) => ({
        ...model,
        device,
        tokens: 300,
        single: 300,
      })),
)

const randomIds = (count: number, vocabSize: number, seed: number) => {
  const random = new Random(seed)
  return Array.from({ length: count }, () => random.integer(vocabSize))
}

/** Logprobs after the last token of the row's sequence, given in chunks of `size`, beside others that each step gives. */
async function lastLogprobs(
  driver: Driver,
  ids: readonly number[],
  size: number,
  beside: (step: number) => Chunk[] = () => [],
): Promise<Float32Array> {
  let last: Sample | undefined
  for (let start = 0, step = 0; start < ids.length; start += size, step++) {
    const others = beside(step)
    // Ours stands between the others, so that its rows are not the first of any product.
    const chunks = [...others.slice(0, 2), { row: 0, ids: ids.slice(start, start + size) }, ...others.slice(2)]
    last = (await driver.step(chunks, true))[Math.min(2, others.length)]![0]
  }
  driver.release(0)
  return last!.logprobs
}

describe.each(places)(
  '$name on $device gives the same bits',
  ({ folder, vocabSize, kvDtype = 'bf16', device, tokens: TOKENS, single }) => {
    const ids = randomIds(TOKENS, vocabSize, 1)
    const settings = { device, kvDtype, maxStepTokens: 2048 }

    it('in one step, in chunks of any size, and token by token', async () => {
      const driver = await Driver.load(folder(), settings)
      const whole = await lastLogprobs(driver, ids, TOKENS)
      expect(whole.every(Number.isFinite)).toBe(true)
      for (const size of [128, 100, 17, 16, 7]) {
        expect(await lastLogprobs(driver, ids, size), `chunks of ${size}`).toEqual(whole)
      }
      for (const size of [2, 1]) {
        if (single < TOKENS) await driver.step([{ row: 0, ids: ids.slice(0, -single) }])
        expect(await lastLogprobs(driver, ids.slice(-single), size), `chunks of ${size}`).toEqual(whole)
      }
    })

    it('alone and beside other sequences, prefilling and decoding', async () => {
      const driver = await Driver.load(folder(), settings)
      const alone = await lastLogprobs(driver, ids, TOKENS)
      const prefills = [1, 2, 3, 4].map((row) => ({ row, ids: randomIds(70 * row, vocabSize, row) }))
      expect(await lastLogprobs(driver, ids, TOKENS, () => prefills), 'beside prefills').toEqual(alone)
      const decodes = (step: number) =>
        [1, 2, 3, 4].map((row) => ({ row, ids: randomIds(1, vocabSize, 10 * step + row) }))
      if (single < TOKENS) await driver.step([{ row: 0, ids: ids.slice(0, -single) }])
      expect(await lastLogprobs(driver, ids.slice(-single), 1, decodes), 'beside decodes').toEqual(alone)
      const mixed = (step: number) =>
        [1, 2, 3].map((row) => ({ row, ids: randomIds(step % 2 ? 1 : 9, vocabSize, step + row) }))
      for (const row of [1, 2, 3, 4]) driver.release(row)
      expect(await lastLogprobs(driver, ids, 20, mixed), 'beside both').toEqual(alone)
    })

    it('over pages that another row has computed, in whatever company', async () => {
      const driver = await Driver.load(folder(), settings)
      const whole = await lastLogprobs(driver, ids, TOKENS)
      await driver.step([{ row: 7, ids: ids.slice(0, 150) }]) // nine pages of 16, and a part of one
      await driver.step([
        { row: 7, ids: randomIds(60, vocabSize, 9) },
        { row: 6, ids: randomIds(33, vocabSize, 8) },
      ])
      for (const [pages, size] of [
        [9, TOKENS],
        [9, 20],
        [4, 7],
        [1, TOKENS],
      ] as const) {
        driver.share(7, 0, pages, 16 * pages)
        const rest = ids.slice(16 * pages)
        const beside = (step: number) => (step < 3 ? [{ row: 6, ids: randomIds(5, vocabSize, step) }] : [])
        expect(await lastLogprobs(driver, rest, size), `${pages} pages, chunks of ${size}`).toEqual(whole)
        driver.share(7, 0, pages, 16 * pages)
        expect(await lastLogprobs(driver, rest, size, beside), 'beside another').toEqual(whole)
      }
    })

    it('after the last tokens of pages that are stored, computed again and not stored', async () => {
      const driver = await Driver.load(folder(), settings)
      const whole = await lastLogprobs(driver, ids.slice(0, 144), TOKENS) // nine pages of 16
      await driver.step([{ row: 7, ids: ids.slice(0, 150) }])
      const stored = Buffer.from(await driver.model.readPages(driver.pagesOf(7)))
      for (const again of [1, 2, 16, 20]) {
        driver.share(7, 0, 9, 144 - again)
        expect(await lastLogprobs(driver, ids.slice(144 - again, 144), TOKENS), `the last ${again}`).toEqual(whole)
      }
      expect(stored.equals(await driver.model.readPages(driver.pagesOf(7)))).toBe(true)
    })

    it('with any number of threads and any page size', async () => {
      const dir = folder()
      const found: Float32Array[] = []
      for (const [threads, pageSize] of [
        [1, 16],
        [2, 16],
        [5, 16],
        [2, 64],
        [2, 1],
      ] as const) {
        const driver = await Driver.load(dir, { ...settings, threads, pageSize })
        found.push(await lastLogprobs(driver, ids, TOKENS))
      }
      for (const logprobs of found) expect(logprobs).toEqual(found[0])
    })
  },
)
