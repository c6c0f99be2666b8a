/** What happens when more ask than may wait. */
import { describe, expect, it } from 'vitest'
import type { Generation } from '../../lib/generation'
import { fakeEngine } from './fake-engine'

const PROMPT = [5, 6, 7]
const ONE_ROW = { rows: 1, stepTokens: 8, pages: 80, context: 200 }

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error) => error.code,
  )

async function read(generation: Generation): Promise<number[]> {
  const ids: number[] = []
  for await (const { tokenIds } of generation) ids.push(...tokenIds)
  return ids
}

/** An engine of one row whose queue is full: `most` requests wait behind the first. */
function full(most: number) {
  const fake = fakeEngine({ ...ONE_ROW, queue: most })
  const ask = (id: number, maxTokens = 20) => fake.engine.generate([id], { maxTokens })
  const taken = Array.from({ length: most + 1 }, (_, id) => ask(id))
  return { ...fake, ask, taken }
}

describe('a full queue', () => {
  it('refuses the next one, by result and by iterator, with one clear error', async () => {
    const { ask, taken } = full(3)
    const refused = ask(9)
    await expect(refused.result()).rejects.toMatchObject({
      name: 'M2Error',
      code: 'QUEUE_FULL',
      message: expect.stringMatching(/fewer than 3 requests .*maxQueue/),
    })
    expect(await codeOf(read(refused))).toBe('QUEUE_FULL')
    refused.abort()
    await Promise.all(taken.map((generation) => generation.result()))
  })

  it('loses nothing of those it has, and takes more when it has room', async () => {
    const { engine, ask, taken, expected } = full(3)
    for (let i = 0; i < 5; i++) expect(await codeOf(ask(9).result())).toBe('QUEUE_FULL')
    await taken[0]!.result()
    const later = ask(9)
    expect(await codeOf(ask(9).result())).toBe('QUEUE_FULL')
    const results = await Promise.all([...taken, later].map((generation) => generation.result()))
    expect(results.map((result) => result.tokenIds)).toEqual([0, 1, 2, 3, 9].map((id) => expected([id], 20)))
    expect(engine.stats()).toMatchObject({ promptTokens: 5, generatedTokens: 100, pages: { private: 0 } })
  })

  it.each(['abort', 'signal', 'leaving the loop'] as const)(
    'has a place when one that waits ends by %s',
    async (by) => {
      const { engine, model, ask, taken, expected } = full(2)
      const controller = new AbortController()
      taken[2]!.abort()
      const waiting = engine.generate([7], { signal: controller.signal })
      while (model.steps < 3) await new Promise(setImmediate)
      expect(await codeOf(ask(9).result())).toBe('QUEUE_FULL')
      if (by === 'abort') waiting.abort()
      else if (by === 'signal') controller.abort()
      else await waiting[Symbol.asyncIterator]().return!()
      const next = ask(9)
      expect(await codeOf(ask(9).result())).toBe('QUEUE_FULL')
      expect((await waiting.result()).tokenIds).toEqual([])
      expect((await next.result()).tokenIds).toEqual(expected([9], 20))
    },
  )

  it('has a place when the deadline of one that waits passes', async () => {
    const { engine, taken, ask, expected } = full(1)
    taken[1]!.abort()
    const late = engine.generate([7], { deadlineMs: 1 })
    expect(await codeOf(ask(9).result())).toBe('QUEUE_FULL')
    expect((await late.result()).finishReason).toBe('abort')
    expect((await ask(9).result()).tokenIds).toEqual(expected([9], 20))
  })

  it('takes nothing of a request it refuses: its signal is not followed, its pages are not held', async () => {
    const { engine, ask, taken } = full(0)
    const controller = new AbortController()
    let listeners = 0
    const { signal } = controller
    const add = signal.addEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    expect(await codeOf(engine.generate([1, 2, 3], { signal }).result())).toBe('QUEUE_FULL')
    expect(listeners).toBe(0)
    controller.abort()
    await taken[0]!.result()
    expect(engine.stats()).toMatchObject({ promptTokens: 1, sequences: { running: 0, waiting: 0 } })
    expect((await ask(1).result()).finishReason).toBe('length')
  })

  it('is not filled by what runs, nor by what was sent back to wait for pages', async () => {
    const { engine, expected } = fakeEngine({ rows: 4, pages: 12, pageSize: 4, context: 48, queue: 0 })
    const ask = (id: number) => engine.generate([id], { maxTokens: 40 }).result()
    const results = [1, 2, 3, 4].map(ask)
    expect(await codeOf(ask(5))).toBe('QUEUE_FULL')
    expect((await Promise.all(results)).map(({ tokenIds }) => tokenIds)).toEqual(
      [1, 2, 3, 4].map((id) => expected([id], 40)),
    )
  })

  it('empties when the engine is closed', async () => {
    const { engine, ask, taken } = full(5)
    const refused = ask(9)
    await taken[0]![Symbol.asyncIterator]().next()
    const closing = engine.close()
    expect(await codeOf(ask(9).result())).toBe('CLOSED')
    await closing
    expect(await codeOf(refused.result())).toBe('QUEUE_FULL')
    const results = await Promise.all(taken.map((generation) => generation.result()))
    expect(results.map((result) => result.finishReason)).toEqual(new Array(6).fill('abort'))
    expect(engine.stats().sequences).toEqual({ running: 0, waiting: 0 })
  })

  it('counts the samples of one prompt as one', async () => {
    const { engine } = fakeEngine({ rows: 3, pages: 80, queue: 2 })
    const ask = () => engine.generate(PROMPT, { n: 3, temperature: 1, maxTokens: 4 })
    const taken = [ask()]
    await taken[0]![Symbol.asyncIterator]().next()
    taken.push(ask(), ask())
    expect(await codeOf(ask().result())).toBe('QUEUE_FULL')
    for (const generation of taken) expect((await generation.result()).samples).toHaveLength(3)
  })
})
