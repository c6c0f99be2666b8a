import { describe, expect, it } from 'vitest'
import type { Generation } from '../../lib/generation'
import { JoinedGeneration } from '../../lib/server/joined-generation'
import { fakeEngine } from '../engine/fake-engine'

const read = async (joined: Generation) => {
  const ids = new Map<number, number[]>()
  for await (const { index, tokenIds } of joined) ids.set(index, [...(ids.get(index) ?? []), ...tokenIds])
  return ids
}

describe('several generations as one', () => {
  it('stream and result are those of each, one after the other', async () => {
    const { engine } = fakeEngine()
    const ask = (prompt: number[], n = 2) => engine.generate(prompt, { maxTokens: 9, temperature: 1, seed: 3, n })
    const joined = new JoinedGeneration([ask([1, 2]), ask([3, 4, 5])], 2)
    expect(joined.promptTokens).toBe(5)
    const ids = await read(joined)
    const { samples, usage } = await joined.result()
    const alone = [await ask([1, 2]).result(), await ask([3, 4, 5]).result()].flatMap((one) => one.samples!)
    expect(samples!.map(({ tokenIds }) => tokenIds)).toEqual(alone.map(({ tokenIds }) => tokenIds))
    expect([0, 1, 2, 3].map((index) => ids.get(index))).toEqual(alone.map(({ tokenIds }) => tokenIds))
    expect(usage.promptTokens).toBe(5)
  })

  it('one that is refused ends all', async () => {
    const { engine } = fakeEngine()
    const joined = new JoinedGeneration([engine.generate([1], { maxTokens: 50 }), engine.generate([])], 1)
    expect(joined.promptTokens).toBe(0)
    await expect(joined.result()).rejects.toMatchObject({ code: 'BAD_INPUT' })
    await expect(read(joined)).rejects.toMatchObject({ code: 'BAD_INPUT' })
    expect(engine.stats().sequences).toEqual({ running: 0, waiting: 0 })
  })

  it('is left by leaving all', async () => {
    const { engine } = fakeEngine({ context: 4000, pages: 1200 })
    const joined = new JoinedGeneration([engine.generate([1]), engine.generate([2])], 1)
    for await (const _ of joined) break
    while (engine.stats().sequences.running > 0) await new Promise(setImmediate)
    expect(engine.stats().sequences).toEqual({ running: 0, waiting: 0 })
  })

  it('is halted by a reader that stops', async () => {
    const { engine } = fakeEngine({ context: 4000, pages: 2500 })
    const joined = new JoinedGeneration([engine.generate([1]), engine.generate([2])], 1)
    const iterator = joined[Symbol.asyncIterator]()
    await iterator.next()
    while (engine.stats().sequences.running > 0) await new Promise(setImmediate)
    expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 2 } })
    await iterator.return(undefined)
    expect(engine.stats().sequences).toEqual({ running: 0, waiting: 0 })
  })
})
