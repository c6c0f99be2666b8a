/** The embedded model against recorded outputs of a float64 program. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCheckpoint } from '../reference/checkpoint-reader'
import { ReferenceModel } from '../reference/model'
import { Driver, type Sample } from './driver'

interface GoldenCase {
  name: string
  ids: number[]
  top5_ids: number[]
  top5_logprobs: number[]
  greedy_ids: number[]
  /** Of each greedy id: how far its logit is above the next. */
  margins: number[]
  naive_bf16_error: number
}

const NANO = path.join(__dirname, '../../models/nano')
const EOS = 3
const cases: GoldenCase[] = JSON.parse(readFileSync(path.join(NANO, 'eval/golden.json'), 'utf8')).cases

describe.each(cases)('the embedded model, $name', (golden) => {
  it('has the recorded logprobs within twice the error of naive bf16', async () => {
    const driver = await Driver.load(NANO)
    const [[sample]] = (await driver.step([{ row: 0, ids: golden.ids }], true)) as [[Sample]]
    for (const [i, id] of golden.top5_ids.entries()) {
      const error = Math.abs(sample.logprobs[id]! - golden.top5_logprobs[i]!)
      expect(error, `error of id ${id}`).toBeLessThan(2 * golden.naive_bf16_error)
    }
  })

  const tie = golden.margins.findIndex((margin) => margin < 0.2)
  const decided = golden.greedy_ids.slice(0, tie < 0 ? golden.greedy_ids.length : tie)
  if (decided.length > 0) {
    it('continues with the recorded ids up to the first near tie', async () => {
      const driver = await Driver.load(NANO)
      expect(await driver.greedy(0, golden.ids, decided.length, EOS)).toEqual(decided)
    })
  }
})

describe('the float64 reference of the tests', () => {
  it('agrees with the recorded program to the last digits', () => {
    const checkpoint = readCheckpoint(NANO)
    for (const { ids, top5_ids, top5_logprobs } of cases.filter((golden) => golden.ids.length < 60)) {
      const model = new ReferenceModel(checkpoint)
      for (const [position, id] of ids.entries()) model.step(id, position)
      const logprobs = model.logprobs()
      for (const [i, id] of top5_ids.entries()) expect(logprobs[id]).toBeCloseTo(top5_logprobs[i]!, 10)
    }
  })
})
