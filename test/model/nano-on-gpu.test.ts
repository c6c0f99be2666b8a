/** The embedded model on a GPU, emulated or real, against the CPU. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { GPUS } from '../devices'
import { Driver, type Sample } from './driver'

const NANO = path.join(__dirname, '../../models/nano')
const EOS = 3
const [LAYERS, ACTIVE] = [3, 4]
const prompts: { name: string; ids: number[] }[] = JSON.parse(
  readFileSync(path.join(NANO, 'eval/golden.json'), 'utf8'),
).cases

/** Logits closer than this may change places: devices round differently. */
const NEAR_TIE = 0.1

/** What the CPU says greedily, up to its end or the first near tie. */
async function decidedIds(ids: readonly number[]): Promise<number[]> {
  const cpu = await Driver.load(NANO)
  const decided: number[] = []
  let next = ids
  while (decided.length < 40 && decided.at(-1) !== EOS) {
    const [[{ id, logprobs }]] = (await cpu.step([{ row: 0, ids: next }], true)) as [[Sample]]
    const second = logprobs.reduce((most, logprob, other) => (other === id ? most : Math.max(most, logprob)), -Infinity)
    if (logprobs[id]! - second < NEAR_TIE) break
    decided.push(id)
    next = [id]
  }
  return decided
}

/** The experts of every token in every layer, each as a sorted list. */
async function routesOf(device: string, ids: readonly number[]): Promise<string[]> {
  const driver = await Driver.load(NANO, { device, keepRoutes: true })
  const { routes } = await driver.model.forward(driver.batch([{ row: 0, ids }]))
  expect(routes).toHaveLength(LAYERS * ids.length * ACTIVE)
  return Array.from({ length: LAYERS * ids.length }, (_, i) =>
    [...routes.subarray(i * ACTIVE, (i + 1) * ACTIVE)].sort((a, b) => a - b).join(),
  )
}

describe.each(GPUS)('the embedded model on %s', (device) => {
  it.each(prompts)('says what the CPU says up to the first near tie: $name', async ({ ids }) => {
    const decided = await decidedIds(ids)
    const driver = await Driver.load(NANO, { device })
    expect(await driver.greedy(0, ids, decided.length, EOS)).toEqual(decided)
  })

  it('sends tokens to the experts that the CPU sends them to, but for near ties', async () => {
    let [tokens, differ] = [0, 0]
    for (const { ids } of prompts) {
      const [here, there] = [await routesOf(device, ids), await routesOf('cpu', ids)]
      tokens += here.length
      differ += here.filter((experts, i) => experts !== there[i]).length
    }
    console.info(`${device}: ${differ} of ${tokens} choices of experts differ from the CPU's`)
    expect(differ / tokens).toBeLessThan(0.02)
  })
})
