/** What a step does besides the arithmetic: rows remember, pages are copied, and a batch that does not hold together is refused. */
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { SAMPLING_FLOATS } from '../../lib/native'
import { bitset } from '../ops/sample.helpers'
import { Driver, type Sample } from './driver'
import { modelFolder, spoil, TINY } from './folder'

const NANO = path.join(__dirname, '../../models/nano')
const PROMPT = [1, 2, 371, 18, 316, 331, 267]

/** The sample of a step that has one. */
const only = async (step: Promise<Sample[][]>): Promise<Sample> => (await step)[0]![0]!

const sampling = (values: Partial<Record<(typeof SAMPLING_FLOATS)[number], number>>) => {
  const neutral = { temperature: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 }
  return Float32Array.from(SAMPLING_FLOATS, (name) => ({ ...neutral, ...values })[name])
}

describe('a row of the batch', () => {
  it('knows the id last sampled for it: -1 stands for it', async () => {
    const driver = await Driver.load(NANO)
    const expected = await driver.greedy(0, PROMPT, 6, -1)
    const first = await only(driver.step([{ row: 1, ids: PROMPT }]))
    const found = [first.id]
    while (found.length < 6) {
      const tokenIds = Int32Array.of(-1)
      const next = await only(driver.step([{ row: 1, ids: [0] }], false, { tokenIds }))
      found.push(next.id)
    }
    expect(found).toEqual(expected)
  })

  it('counts what it generated, for the penalties, and starts anew when it is told to', async () => {
    const driver = await Driver.load(NANO)
    const [usual] = await driver.greedy(0, PROMPT, 1, -1)
    const history = {
      samplingFloats: sampling({ frequencyPenalty: 100 }),
      historyRows: Int32Array.of(1),
      historyOffsets: Int32Array.of(0, PROMPT.length),
      historyGenerated: Int32Array.of(0),
      historyIds: Int32Array.from(PROMPT),
    }
    const next = async (change: object) => {
      driver.release(1)
      const sample = await only(driver.step([{ row: 1, ids: PROMPT }], false, change))
      return sample.id
    }
    expect(await next(history)).toBe(usual) // the prompt's ids do not count
    const second = await next({ samplingFloats: history.samplingFloats })
    expect(second).not.toBe(usual)
    expect([usual, second]).not.toContain(await next({ samplingFloats: history.samplingFloats }))
    expect(await next(history)).toBe(usual)
    const generated = { historyGenerated: Int32Array.of(1), historyIds: Int32Array.of(...PROMPT.slice(1), usual!) }
    expect(await next({ ...history, ...generated })).toBe(second)
  })
})

describe('a row whose logits are not finite', () => {
  const NAN = 5 // the id whose embedding is NaN
  const SOUND = [1, 2, 3, 4]
  const loadSpoilt = (settings = {}) => {
    const dir = modelFolder()
    spoil(dir, 'model.embed_tokens.weight', NAN * TINY.hiddenSize, TINY.hiddenSize)
    return Driver.load(dir, settings)
  }
  const minusOne = { tokenIds: Int32Array.of(-1, -1) }

  it('gives -1, runs on where a step was planned ahead, and leaves the rows beside it alone', async () => {
    const driver = await loadSpoilt()
    const first = await only(driver.step([{ row: 0, ids: SOUND }], true))
    const second = await only(driver.step([{ row: 0, ids: [first.id] }], true))
    const queued = [
      driver.step(
        [
          { row: 1, ids: [1, NAN, 2] },
          { row: 2, ids: SOUND },
        ],
        true,
      ),
      driver.step(
        [
          { row: 1, ids: [0] },
          { row: 2, ids: [0] },
        ],
        true,
        minusOne,
      ),
    ]
    for (const [i, step] of queued.entries()) {
      const [[bad], [good]] = (await step) as [[Sample], [Sample]]
      expect(bad.id).toBe(-1)
      expect(good).toEqual([first, second][i])
    }
  })

  it('counts nothing for the penalties', async () => {
    const driver = await loadSpoilt()
    const samplingFloats = sampling({ frequencyPenalty: 100 })
    const history = {
      historyRows: Int32Array.of(0),
      historyOffsets: Int32Array.of(0, 1),
      historyGenerated: Int32Array.of(0),
      historyIds: Int32Array.of(NAN),
    }
    const bad = await only(driver.step([{ row: 0, ids: [NAN] }], false, { samplingFloats, ...history }))
    expect(bad.id).toBe(-1)
    driver.release(0)
    // A bias of 50 makes id 0 the choice, unless it was counted once.
    const bias = { biasOffsets: Int32Array.of(0, 1), biasIds: Int32Array.of(0), biasValues: Float32Array.of(50) }
    const next = await only(driver.step([{ row: 0, ids: SOUND }], false, { samplingFloats, ...bias }))
    expect(next.id).toBe(0)
  })

  it('leaves nothing in its pages that harms who has them next', async () => {
    const driver = await loadSpoilt({ maxSequences: 1, maxContext: 16 }) // one page
    const expected = await only(driver.step([{ row: 0, ids: SOUND }], true))
    driver.release(0)
    await driver.step([{ row: 0, ids: new Array(16).fill(NAN) }])
    driver.release(0)
    expect(await only(driver.step([{ row: 0, ids: SOUND }], true))).toEqual(expected)
  })
})

describe('the masks of a step', () => {
  const chunks = [0, 1, 2].map((row) => ({ row, ids: PROMPT.slice(0, 4 + row) }))
  const ids = [5, 31, 32, 700, 1535]
  const some = bitset(1536, ids)

  it('bind the samples they are for and no others', async () => {
    const driver = await Driver.load(NANO)
    const free = (await driver.step(chunks, true)).map(([sample]) => sample!)
    for (const row of [0, 1, 2]) driver.release(row)
    const masks = { maskSamples: Int32Array.of(0, 2), maskBits: Int32Array.of(...some, ...bitset(1536, [32])) }
    const masked = (await driver.step(chunks, true, masks)).map(([sample]) => sample!)
    const best = ids.reduce((a, b) => (free[0]!.logprobs[b]! > free[0]!.logprobs[a]! ? b : a))
    expect(masked.map(({ id }) => id)).toEqual([best, free[1]!.id, 32])
    expect(masked.map(({ logprobs }) => logprobs)).toEqual(free.map(({ logprobs }) => logprobs))
  })

  it('that allow no id give -2, and a step planned ahead for the row runs', async () => {
    const driver = await Driver.load(NANO)
    const expected = await driver.greedy(0, chunks[0]!.ids, 2, -1)
    await driver.step([chunks[1]!])
    const afterZero = await only(driver.step([{ row: 1, ids: [0] }]))
    for (const row of [0, 1]) driver.release(row)
    const masks = { maskSamples: Int32Array.of(1), maskBits: new Int32Array(48) }
    const next = chunks.slice(0, 2).map(({ row }) => ({ row, ids: [0] }))
    const steps = await Promise.all([
      driver.step(chunks.slice(0, 2), false, masks),
      driver.step(next, false, { tokenIds: Int32Array.of(-1, -1) }),
    ])
    expect(steps.map(([free]) => free![0]!.id)).toEqual(expected)
    expect(steps[0]![1]![0]!.id).toBe(-2)
    expect(steps[1]![1]![0]!.id).toBe(afterZero.id) // the row goes on with id 0
  })
})

describe('the times of a step', () => {
  it('are those of one clock: steps that are queued together run one after the other', async () => {
    const driver = await Driver.load(NANO)
    const start = performance.now()
    const steps = [0, 1, 2].map((row) => driver.model.forward(driver.batch([{ row, ids: PROMPT }])))
    const times = (await Promise.all(steps)).flatMap(({ startedAt, endedAt }) => [startedAt, endedAt])
    const wall = 1000 * (performance.now() - start)
    for (let i = 1; i < times.length; i++) expect(times[i]).toBeGreaterThanOrEqual(times[i - 1]!)
    for (let i = 1; i < times.length; i += 2) expect(times[i]).toBeGreaterThan(times[i - 1]!)
    expect(times.at(-1)! - times[0]!).toBeLessThan(wall)
  })
})

describe('copyPages', () => {
  it('gives a row the context of another', async () => {
    const driver = await Driver.load(NANO, { maxSequences: 2, pageSize: 16, maxContext: 16 }) // one page each: pages 0 and 1
    const leader = await only(driver.step([{ row: 0, ids: PROMPT }], true))
    await driver.step([{ row: 1, ids: PROMPT.map((id) => id + 1) }])
    const expected = await only(driver.step([{ row: 0, ids: [leader.id] }], true))
    await driver.model.copyPages(Int32Array.of(0), Int32Array.of(1))
    const found = await only(driver.step([{ row: 1, ids: [leader.id] }], true))
    expect(found.logprobs).toEqual(expected.logprobs)
  })

  it('refuses a page that is not there', async () => {
    const driver = await Driver.load(NANO, { maxSequences: 2, maxContext: 16 })
    const copied = driver.model.copyPages(Int32Array.of(0), Int32Array.of(2))
    await expect(copied).rejects.toMatchObject({
      code: 'DEVICE_ERROR',
      message: 'copyPages: page is 2, expected 0 to 1',
    })
  })
})

describe('a batch', () => {
  it.each([
    ['an id outside the vocabulary', { tokenIds: Int32Array.of(1, 1536) }, 'tokenIds[1] is 1536, expected -1 to 1535'],
    ['a row that is not there', { rows: Int32Array.of(8) }, 'rows[0] is 8, expected 0 to 7'],
    [
      'a slot outside the cache',
      { slotMapping: Int32Array.of(0, 8192) },
      'slotMapping[1] is 8192, expected -1 to 8191',
    ],
    [
      'a position beyond the context',
      { positions: Int32Array.of(0, 1024) },
      'positions[1] is 1024, expected 0 to 1023',
    ],
    ['a page that is not there', { pageUpdates: Int32Array.of(0, 0, 512) }, 'page update (row 0, index 0, page 512)'],
    ['a context without its pages', { contextLens: Int32Array.of(17) }, 'row 0 has no page at index 1'],
    ['lengths that do not add up', { cuSeqlensQ: Int32Array.of(0, 3) }, 'cuSeqlensQ must run from 0 to 2'],
    ['columns of different lengths', { positions: Int32Array.of(0) }, 'positions has 1 values, expected 2'],
    ['a sample of no token', { sampleAt: Int32Array.of(2) }, 'sampleAt[0] is 2, expected 0 to 1'],
    ['a score of no token', { scoreAt: Int32Array.of(2), scoreIds: Int32Array.of(0) }, 'scoreAt[0] is 2, expected 0'],
    ['a score of no id', { scoreAt: Int32Array.of(0) }, 'scoreIds has 0 values, expected 1'],
    ['an id to score that is none', { scoreAt: Int32Array.of(0), scoreIds: Int32Array.of(-1) }, 'scoreIds[0] is -1'],
    ['a mask of no sample', { maskSamples: Int32Array.of(1) }, 'maskSamples[0] is 1, expected 0 to 0'],
    ['two masks of a sample', { maskSamples: Int32Array.of(0, 0) }, 'maskSamples[1] is 0 after 0'],
    ['a mask that is too short', { maskSamples: Int32Array.of(0) }, 'maskBits has 0 values, expected 48'],
    ['-1 where nothing was sampled', { tokenIds: Int32Array.of(1, -1) }, 'nothing was sampled for row 0'],
    ['penalties without a history', { samplingFloats: sampling({ presencePenalty: 1 }) }, 'no token history'],
    ['the wrong kind of array', { tokenIds: [1, 2] as never }, 'tokenIds must be a Int32Array'],
  ])('with %s is refused, and the next one is not', async (_, change, message) => {
    const driver = await Driver.load(NANO)
    await expect(async () => driver.step([{ row: 0, ids: [1, 2] }], false, change)).rejects.toMatchObject({
      code: 'DEVICE_ERROR',
      message: expect.stringContaining(message),
    })
    driver.release(0)
    await expect(driver.greedy(1, PROMPT, 1, -1)).resolves.toHaveLength(1)
  })

  it('is refused once the model is closed', async () => {
    const driver = await Driver.load(NANO)
    await driver.model.close()
    await driver.model.close()
    await expect(async () => driver.step([{ row: 0, ids: [1] }])).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
