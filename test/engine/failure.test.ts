/** What goes wrong beside a generation, or in it, and who hears of it. */
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Generation } from '../../lib/generation'
import { fakeEngine } from './fake-engine'

const PROMPT = [5, 6, 7]

/** Nobody may ever see a rejection that nobody could have handled. */
const unhandled: unknown[] = []
const note = (error: unknown) => unhandled.push(error)
beforeEach(() => {
  unhandled.length = 0
  process.on('unhandledRejection', note)
})
afterEach(async () => {
  await wait(1)
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})

const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error) => error,
  )

async function read(generation: Generation): Promise<number[]> {
  const ids: number[] = []
  for await (const { tokenIds } of generation) ids.push(...tokenIds)
  return ids
}

/** A model whose steps end when they are let, in their order; `queued`: those that it has. */
function heldModel(options: Parameters<typeof fakeEngine>[0] = {}) {
  const fake = fakeEngine(options)
  const queued: { finish(): void; fail(error: Error): void }[] = []
  const step = fake.model.step.bind(fake.model)
  fake.model.forward = (batch) => {
    const result = step(batch)
    return new Promise((resolve, reject) => {
      queued.push({ finish: () => resolve(result), fail: reject })
    })
  }
  /** Until the engine has handed over all that it will. */
  const turn = () => new Promise(setImmediate)
  return { ...fake, queued, turn }
}

describe('logits that are not finite', () => {
  it('end their sequence alone, while the step after is queued', async () => {
    const { engine, model, queued, turn, expected } = heldModel()
    model.brokenIds.add(expected([9, 9], 2)[1]!)
    const broken = engine.generate([9, 9], { maxTokens: 9 })
    const others = [PROMPT, [1], [2, 3]].map((prompt) => engine.generate(prompt, { maxTokens: 9 }))
    await turn()
    while (queued.length > 0) {
      expect(queued.length).toBeLessThanOrEqual(2)
      queued.shift()!.finish()
      await turn()
    }
    expect(await errorOf(broken.result())).toMatchObject({
      code: 'DEVICE_ERROR',
      message: 'sequence 0: expected finite logits, found NaN or infinity at position 3',
    })
    const results = await Promise.all(others.map((one) => one.result()))
    expect(results.map((result) => result.tokenIds)).toEqual([PROMPT, [1], [2, 3]].map((prompt) => expected(prompt, 9)))
    expect(engine.stats()).toMatchObject({ pages: { private: 0 }, sequences: { running: 0, waiting: 0 } })
  })

  it('of one of n samples name it, and end the request', async () => {
    const { engine, model, expected } = fakeEngine()
    const options = { n: 3, temperature: 1, seed: 4, maxTokens: 6 }
    const { samples } = await fakeEngine().engine.generate(PROMPT, options).result()
    model.brokenIds.add(samples![2]!.tokenIds[3]!)
    const broken = engine.generate(PROMPT, options)
    const sound = engine.generate([1], { maxTokens: 12 })
    expect(await errorOf(broken.result())).toMatchObject({
      message: 'sequence 0, sample 2: expected finite logits, found NaN or infinity at position 6',
    })
    expect((await sound.result()).tokenIds).toEqual(expected([1], 12))
    expect(engine.stats().pages.private).toBe(0)
  })

  it('are thrown to the reader behind what was sound', async () => {
    const { engine, model, expected } = fakeEngine()
    model.brokenIds.add(expected(PROMPT, 4)[3]!)
    const generation = engine.generate(PROMPT)
    const ids: number[] = []
    const error = await errorOf(
      (async () => {
        for await (const { tokenIds } of generation) ids.push(...tokenIds)
      })(),
    )
    expect(ids).toEqual(expected(PROMPT, 3))
    expect(error.code).toBe('DEVICE_ERROR')
  })
})

describe('a device that fails', () => {
  const gone = () => Object.assign(new Error('the device is gone'), { code: 'DEVICE_ERROR' })

  it.each([
    ['in the step that runs', [0]],
    ['in the step that is queued', [1]],
    ['in both', [0, 1]],
  ])('%s fails all with one error, and closes the engine', async (_, failing) => {
    const { engine, model, queued, turn } = heldModel({ rows: 2, stepTokens: 8 })
    const generations = [1, 2, 3, 4].map((id) => engine.generate([id], { n: id === 2 ? 2 : 1 }))
    const aborted = engine.generate([5])
    const silent = engine.generate([6])
    await turn()
    aborted.abort()
    expect(queued).toHaveLength(2)
    for (const [i, step] of queued.splice(0).entries()) failing.includes(i) ? step.fail(gone()) : step.finish()
    const errors = await Promise.all(generations.map((one) => errorOf(one.result())))
    expect(errors[0]).toMatchObject({ name: 'M2Error', code: 'DEVICE_ERROR', message: 'the device is gone' })
    expect(new Set(errors).size).toBe(1)
    expect(await errorOf(read(silent))).toBe(errors[0])
    expect((await aborted.result()).finishReason).toBe('abort')
    await turn()
    for (const step of queued.splice(0)) step.finish()
    expect(await errorOf(engine.generate([1]).result())).toMatchObject({ code: 'CLOSED', cause: errors[0] })
    await engine.close()
    expect(model.closed).toBe(true)
    expect(engine.stats()).toMatchObject({ pages: { private: 0 }, sequences: { running: 0, waiting: 0 } })
  })

  it('at the call fails all too', async () => {
    const { engine, model } = fakeEngine()
    let calls = 0
    const forward = model.forward.bind(model)
    model.forward = (batch) => {
      if (++calls === 4) throw gone()
      return forward(batch)
    }
    const generations = [1, 2].map((id) => engine.generate([id]))
    const errors = await Promise.all(generations.map((one) => errorOf(one.result())))
    expect([errors[0].message, errors[1]]).toEqual(['the device is gone', errors[0]])
    await engine.close()
  })

  it('while pages are copied fails all too', async () => {
    const { engine, model } = fakeEngine()
    model.copyPages = () => Promise.reject(gone())
    const error = await errorOf(engine.generate(PROMPT, { n: 2, temperature: 1 }).result())
    expect(error.message).toBe('the device is gone')
    await engine.close()
  })

  it('and fails again at closing says what it said first', async () => {
    const { engine, model } = fakeEngine()
    model.onStep = () => {
      throw gone()
    }
    model.close = () => Promise.reject(new Error('nor can it be closed'))
    expect((await errorOf(engine.generate(PROMPT).result())).message).toBe('the device is gone')
    expect((await errorOf(engine.generate(PROMPT).result())).code).toBe('CLOSED')
  })

  it('while the engine is being closed leaves the ends as they are', async () => {
    const { engine, queued, turn } = heldModel()
    const generation = engine.generate(PROMPT)
    await turn()
    const closing = engine.close()
    for (const step of queued) step.fail(gone())
    await closing
    expect((await generation.result()).finishReason).toBe('abort')
    expect(await errorOf(engine.generate(PROMPT).result())).toMatchObject({ message: 'the engine is closed' })
  })
})

describe('an error of the caller', () => {
  it('in the loop ends its generation and no other', async () => {
    const { engine, expected } = fakeEngine()
    const generation = engine.generate(PROMPT)
    const beside = engine.generate([1], { maxTokens: 30 })
    const thrown = await errorOf(
      (async () => {
        for await (const _ of generation) throw new Error('mine')
      })(),
    )
    expect(thrown.message).toBe('mine')
    expect((await generation.result()).finishReason).toBe('abort')
    expect((await beside.result()).tokenIds).toEqual(expected([1], 30))
  })

  it('in what it gives as a prompt or options is its own', async () => {
    const { engine, expected } = fakeEngine()
    const broken = <T extends object>(target: T) =>
      new Proxy(target, {
        get() {
          throw new Error('mine')
        },
      })
    expect((await errorOf(engine.generate(broken([1, 2])).result())).message).toBe('mine')
    expect((await errorOf(engine.generate([1], broken({})).result())).message).toBe('mine')
    expect((await engine.generate([1], { maxTokens: 3 }).result()).tokenIds).toEqual(expected([1], 3))
  })

  it('in a signal of its own making is its own', async () => {
    const { engine, expected } = fakeEngine()
    const mine = () => {
      throw new Error('mine')
    }
    const beside = engine.generate([1], { maxTokens: 30 })
    const signals = [
      { aborted: false, addEventListener: mine, removeEventListener() {} },
      { aborted: false, addEventListener() {}, removeEventListener: mine },
      { aborted: false, addEventListener() {} },
    ] as unknown as AbortSignal[]
    const [deaf, clinging, partial] = signals.map((signal) =>
      engine.generate(PROMPT, { signal, maxTokens: 2 }).result(),
    )
    expect((await errorOf(deaf!)).message).toBe('mine')
    expect((await clinging!).tokenIds).toEqual(expected(PROMPT, 2))
    expect((await errorOf(partial!)).code).toBe('BAD_OPTION')
    expect((await beside.result()).tokenIds).toEqual(expected([1], 30))
    const again = engine.generate(PROMPT, { signal: signals[0]!, maxTokens: 2 })
    expect((await errorOf(again.result())).message).toBe('mine') // and is not taken for followed
  })
})

describe('close', () => {
  it('at any moment ends everything, once', async () => {
    for (let moment = 0; moment < 12; moment++) {
      const { engine, model, queued, turn } = heldModel({ rows: 2, stepTokens: 4 })
      const generations = [1, 2, 3].map((id) => engine.generate([id], { n: 2, maxTokens: 4 }))
      const results = generations.map((one) => one.result())
      const reading = read(generations[1]!)
      let closings: Promise<void>[] = []
      for (let i = 0; i <= moment; i++) {
        if (i === moment) closings = [engine.close(), engine.close()]
        await turn()
        queued.shift()?.finish()
      }
      for (const late of [() => engine.generate(PROMPT), () => engine.generate([])]) {
        expect((await errorOf(late().result())).code).toBe('CLOSED')
      }
      for (let i = 0; i < 3; i++) {
        queued.shift()?.finish()
        await turn()
      }
      await Promise.all([...closings, engine.close()])
      for (const { samples } of await Promise.all(results)) {
        expect(samples!.every(({ finishReason }) => /^(abort|length)$/.test(finishReason))).toBe(true)
      }
      await reading
      expect(model.closed).toBe(true)
      expect(engine.stats()).toMatchObject({ pages: { private: 0 }, sequences: { running: 0, waiting: 0 } })
    }
  })

  it('waits for the steps that the device has', async () => {
    const { engine, model, queued, turn } = heldModel()
    const generation = engine.generate(PROMPT)
    await turn()
    const closing = engine.close()
    expect((await generation.result()).finishReason).toBe('abort') // at once
    await turn()
    expect([queued.length, model.closed]).toEqual([2, false])
    for (const step of queued) step.finish()
    await closing
    expect(model.closed).toBe(true)
  })

  it('by `await using` ends what still runs, also when the scope is left by an error', async () => {
    const { engine, model } = fakeEngine()
    let generation: Generation | undefined
    const error = await errorOf(
      (async () => {
        await using scoped = engine
        generation = scoped.generate(PROMPT)
        await generation[Symbol.asyncIterator]().next()
        throw new Error('mine')
      })(),
    )
    expect([error.message, model.closed, (await generation!.result()).finishReason]).toEqual(['mine', true, 'abort'])
  })

  it('from within a loop over a generation, or when a signal fires, ends that loop', async () => {
    const { engine } = fakeEngine()
    const controller = new AbortController()
    controller.signal.addEventListener('abort', () => void engine.close())
    const other = engine.generate([1], { signal: controller.signal })
    let chunks = 0
    for await (const _ of engine.generate(PROMPT)) if (++chunks === 3) controller.abort()
    expect((await other.result()).finishReason).toBe('abort')
    await engine.close()
  })
})
