/** What a reader that stops reading costs: nothing but what it has not read. */
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { Generation } from '../../lib/generation'
import { fakeEngine } from './fake-engine'

/** Tokens that may wait for a reader: the public contract says 256. */
const MOST_UNREAD = 256
const PROMPT = [5, 6, 7]
const LONG = { context: 4000, pages: 1200, rows: 4 }

/** A generation of which one chunk was read; what is read further. */
function reader(generation: Generation) {
  const iterator = generation[Symbol.asyncIterator]()
  const ids = new Map<number, number[]>()
  return {
    idsOf: (index = 0) => ids.get(index) ?? [],
    /** True at the end. */
    async next(): Promise<boolean> {
      const { done, value } = await iterator.next()
      if (value) ids.set(value.index, [...(ids.get(value.index) ?? []), ...value.tokenIds])
      return done === true
    },
    async rest(): Promise<void> {
      while (!(await this.next()));
    },
    leave: () => iterator.return!(),
  }
}

/** Lets steps run until nothing changes. */
async function quiet(model: { steps: number }): Promise<void> {
  for (let before = -1; before !== model.steps; ) {
    before = model.steps
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  }
}

async function halted(options: Parameters<typeof fakeEngine>[0] = LONG, generate: object = {}) {
  const fake = fakeEngine(options)
  const generation = fake.engine.generate(PROMPT, generate)
  const read = reader(generation)
  await read.next()
  await quiet(fake.model)
  return { ...fake, generation, read }
}

describe('a reader that stops reading', () => {
  it('halts its sample, which gives its pages and its row back', async () => {
    const { engine } = await halted()
    const { generatedTokens, sequences, pages } = engine.stats()
    expect(generatedTokens).toBeGreaterThanOrEqual(MOST_UNREAD)
    expect(generatedTokens).toBeLessThanOrEqual(MOST_UNREAD + 3) // those read, and those of the step that was planned ahead
    expect(sequences).toEqual({ running: 0, waiting: 1 })
    expect(pages.private).toBe(0)
  })

  it('gets the same tokens when it reads on, however often it stops', async () => {
    const { engine, model, read, generation, expected } = await halted(LONG, { maxTokens: 2000 })
    let most = 0
    for (let read0 = 1; !(await read.next()); read0 = read.idsOf().length) {
      most = Math.max(most, read.idsOf().length - read0)
      await quiet(model)
    }
    expect(read.idsOf()).toEqual(expected(PROMPT, 2000))
    expect(most).toBeLessThanOrEqual(MOST_UNREAD + 3)
    expect(await generation.result()).toMatchObject({ finishReason: 'length', tokenIds: read.idsOf() })
    expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 0 }, pages: { private: 0 } })
  })

  it('gets the same logprobs, draws and penalties', async () => {
    const options = { maxTokens: 900, temperature: 1, seed: 5, frequencyPenalty: 1, logprobs: 2 }
    const alone = await fakeEngine(LONG).engine.generate(PROMPT, options).result()
    const { read, generation } = await halted(LONG, options)
    await read.rest()
    const { tokenIds, logprobs } = await generation.result()
    expect([read.idsOf(), tokenIds, logprobs]).toEqual([alone.tokenIds, alone.tokenIds, alone.logprobs])
  })

  it('leaves its place to others, also where there is one row and hardly a page', async () => {
    const small = { context: 400, pages: 100, rows: 1, stepTokens: 4 }
    const { engine, read, expected } = await halted(small, { maxTokens: 390 })
    for (const id of [1, 2, 3]) {
      const result = await engine.generate([id], { maxTokens: 399 }).result()
      expect(result.tokenIds).toEqual(expected([id], 399))
    }
    await read.rest()
    expect(read.idsOf()).toEqual(expected(PROMPT, 390))
  })

  it('does not count as one that waits in the queue', async () => {
    const { engine } = await halted({ ...LONG, rows: 1, queue: 0 })
    expect((await engine.generate([1], { maxTokens: 3 }).result()).finishReason).toBe('length')
  })

  it('goes on when the result is asked for, and is not halted again', async () => {
    const { generation, read, expected } = await halted(LONG, { maxTokens: 1500 })
    expect((await generation.result()).tokenIds).toEqual(expected(PROMPT, 1500))
    await read.rest()
    expect(read.idsOf()).toEqual(expected(PROMPT, 1500))
  })

  it('can leave: the generation ends, and nothing of it stays', async () => {
    const { engine, generation, read, expected } = await halted()
    await read.leave()
    const { finishReason, tokenIds } = await generation.result()
    expect([finishReason, tokenIds]).toEqual(['abort', expected(PROMPT, tokenIds.length)])
    expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 0 }, pages: { private: 0 } })
  })

  it.each(['abort', 'signal', 'close'] as const)('is ended by %s, and can still read what there is', async (by) => {
    const controller = new AbortController()
    const { engine, generation, read, expected } = await halted(LONG, { signal: controller.signal })
    if (by === 'abort') generation.abort()
    if (by === 'signal') controller.abort()
    if (by === 'close') await engine.close()
    await read.rest()
    const { finishReason, tokenIds } = await generation.result()
    expect(finishReason).toBe('abort')
    expect(read.idsOf()).toEqual(tokenIds)
    expect(tokenIds).toEqual(expected(PROMPT, tokenIds.length))
    expect(engine.stats().sequences).toEqual({ running: 0, waiting: 0 })
  })

  it('gets the error when the device fails beside it', async () => {
    const { engine, model, generation, read } = await halted()
    model.onStep = () => {
      throw new Error('the device is gone')
    }
    await expect(engine.generate([1]).result()).rejects.toThrow('the device is gone')
    await expect(read.rest()).rejects.toThrow('the device is gone')
    await expect(generation.result()).rejects.toThrow('the device is gone')
  })
})

describe('a deadline of one that is halted', () => {
  const mockClock = () => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('comes when nothing else runs, without a step', async () => {
    mockClock()
    const { engine, model, read } = await halted(LONG, { deadlineMs: 300 })
    const { steps } = model
    await vi.advanceTimersByTimeAsync(299)
    expect(engine.stats().sequences.waiting).toBe(1)
    await vi.advanceTimersByTimeAsync(3)
    expect(engine.stats().sequences.waiting).toBe(0)
    expect(model.steps).toBe(steps)
    await read.rest()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('comes when others have run and ended since', async () => {
    mockClock()
    const { engine, generation } = await halted(LONG, { deadlineMs: 300 })
    await vi.advanceTimersByTimeAsync(100)
    await engine.generate([1], { maxTokens: 5 }).result()
    await vi.advanceTimersByTimeAsync(100)
    await engine.generate([1], { maxTokens: 5 }).result()
    await vi.advanceTimersByTimeAsync(102)
    expect((await generation.result()).finishReason).toBe('abort')
  })

  it('comes to each at its time', async () => {
    mockClock()
    const { engine, model } = await halted(LONG, { deadlineMs: 5000 })
    await reader(engine.generate([1], { deadlineMs: 300 })).next()
    await reader(engine.generate([2])).next()
    await quiet(model)
    const waiting: number[] = []
    for (const ms of [200, 110, 4000, 800]) {
      waiting.push(engine.stats().sequences.waiting)
      await vi.advanceTimersByTimeAsync(ms)
    }
    expect([...waiting, engine.stats().sequences.waiting]).toEqual([3, 3, 2, 2, 1])
    await engine.close()
  })

  it('leaves no timer behind when the engine is closed', async () => {
    mockClock()
    const { engine } = await halted(LONG, { deadlineMs: 300 })
    expect(vi.getTimerCount()).toBe(1)
    await engine.close()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('may lie further ahead than a timer of Node can reach', async () => {
    const warned = vi.fn()
    process.on('warning', warned)
    const { engine } = await halted(LONG, { deadlineMs: 1e12 })
    await wait(20)
    process.off('warning', warned)
    expect(warned).not.toHaveBeenCalled()
    expect(engine.stats().sequences.waiting).toBe(1)
    await engine.close()
  })
})

describe('of n samples', () => {
  const options = { n: 3, temperature: 1, seed: 9, maxTokens: 1200 }
  const alone = fakeEngine(LONG).engine.generate(PROMPT, options).result()
  const idsOfAlone = async () => (await alone).samples!.map((sample) => sample.tokenIds)

  it('all halt when the reader stops, and all are read to their ends when it goes on', async () => {
    const { engine, model, read } = await halted(LONG, options)
    expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 3 }, pages: { private: 0 } })
    expect(engine.stats().generatedTokens).toBeLessThanOrEqual(3 * (MOST_UNREAD + 3))
    while (!(await read.next())) await quiet(model)
    expect([0, 1, 2].map((index) => read.idsOf(index))).toEqual(await idsOfAlone())
  })

  it('one that is read late does not stall the reader, whatever its pace', async () => {
    for (const pause of [0, 1, 3, 7]) {
      const { engine } = fakeEngine(LONG)
      const read = reader(engine.generate(PROMPT, options))
      while (!(await read.next())) for (let i = 0; i < pause; i++) await new Promise(setImmediate)
      expect([0, 1, 2].map((index) => read.idsOf(index))).toEqual(await idsOfAlone())
    }
  })

  it('what several readers get adds up', async () => {
    const { engine, model } = fakeEngine(LONG)
    const generation = engine.generate(PROMPT, options)
    const readers = [1, 2, 3].map(() => reader(generation))
    await Promise.all(
      readers.map(async (read, i) => {
        while (!(await read.next())) if (i === 0) await quiet(model)
      }),
    )
    for (const [index, ids] of (await idsOfAlone()).entries()) {
      const found = readers.flatMap((read) => read.idsOf(index))
      expect(found.sort((a, b) => a - b)).toEqual(ids.toSorted((a, b) => a - b))
    }
  })
})

describe('a generation', () => {
  it('that nobody reads runs to its end', async () => {
    const { engine, model, expected } = fakeEngine(LONG)
    const generation = engine.generate(PROMPT, { maxTokens: 1000 })
    await quiet(model)
    expect(engine.stats()).toMatchObject({ generatedTokens: 1000, sequences: { running: 0, waiting: 0 } })
    expect((await generation.result()).tokenIds).toEqual(expected(PROMPT, 1000))
  })

  it('that is halted keeps a bounded number of chunks, whatever others generate', async () => {
    const { engine, model } = await halted({ ...LONG, rows: 8 })
    for (let i = 0; i < 20; i++) await reader(engine.generate([i])).next()
    await quiet(model)
    const { generatedTokens, sequences } = engine.stats()
    expect(sequences).toEqual({ running: 0, waiting: 21 })
    expect(generatedTokens).toBeLessThanOrEqual(21 * (MOST_UNREAD + 3))
    await engine.close()
  })
})
