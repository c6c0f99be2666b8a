/** Scores of given text: over a model of invented ids, over random ones against float64, and over the embedded one. */
import { describe, expect, it, onTestFinished } from 'vitest'
import { Engine } from '../../lib/engine'
import type { EngineOptions, ScoreOptions } from '../../lib/options'
import { DEVICES } from '../devices'
import { modelFolder } from '../model/folder'
import { readCheckpoint } from '../reference/checkpoint-reader'
import { ReferenceModel } from '../reference/model'
import { growPrompt } from '../reference/prompt'
import { type FakeEngineOptions, fakeEngine } from './fake-engine'
import { scoreOf } from './fake-model'
import { watchPreemptions } from './together'

const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    ({ code, message }) => `${code} ${message}`,
  )
const ids = (count: number, seed = 1) => Array.from({ length: count }, (_, i) => (i * 37 + seed * 101) % 500)
/** What the fake model scores. */
const expected = (of: readonly number[]) =>
  Float32Array.from(of, (id, i) => (i === 0 ? Number.NaN : scoreOf(of.slice(0, i), id, 500)))
const IDLE = { pages: { private: 0 }, sequences: { running: 0, waiting: 0 } }

/** An engine of invented ids, and how many tokens it has computed. */
function counted(options: FakeEngineOptions = {}) {
  const { engine, model } = fakeEngine(options)
  const computed = { tokens: 0 }
  model.onStep = (batch) => {
    computed.tokens += batch.tokenIds.length
  }
  return { engine, model, computed }
}

describe('scores', () => {
  it('are of each id behind those before it, and NaN for the first', async () => {
    const { engine } = fakeEngine()
    for (const length of [1, 2, 4, 5, 16, 17, 18, 100, 200]) {
      expect(await engine.score(ids(length))).toEqual(expected(ids(length)))
    }
    expect(await engine.score(Int32Array.from(ids(9)))).toEqual(expected(ids(9)))
    expect(engine.stats()).toMatchObject({ ...IDLE, generatedTokens: 0 })
  })

  it('are computed though their pages are cached, and leave their own to others', async () => {
    const { engine, computed } = counted()
    const text = ids(33)
    await engine.generate(text.slice(0, 21), { maxTokens: 1 }).result()
    computed.tokens = 0
    expect(await engine.score(text)).toEqual(expected(text))
    expect(computed.tokens).toBe(32)
    const { usage } = await engine.generate(text, { maxTokens: 1 }).result()
    expect(usage.cachedTokens).toBe(32)
    expect((await engine.generate(text, { maxTokens: 1, cacheSalt: 'x' }).result()).usage.cachedTokens).toBe(0)
    await engine.score(text, { cacheSalt: 'x' })
    expect((await engine.generate(text, { maxTokens: 1, cacheSalt: 'x' }).result()).usage.cachedTokens).toBe(32)
    expect(engine.stats()).toMatchObject(IDLE)
  })

  it('are computed beside generations, which stay what they are', async () => {
    const { engine, expected: continued } = fakeEngine({ rows: 4 })
    const generations = [1, 2, 3].map((seed) => engine.generate(ids(11, seed), { maxTokens: 30 }).result())
    const scores = [4, 5, 6].map((seed) => engine.score(ids(50, seed)))
    for (const [i, generation] of generations.entries()) {
      expect((await generation).tokenIds).toEqual(continued(ids(11, i + 1), 30))
    }
    for (const [i, score] of scores.entries()) expect(await score).toEqual(expected(ids(50, i + 4)))
    expect(engine.stats()).toMatchObject(IDLE)
  })

  it('go on where they gave way to others, without what they have already', async () => {
    const preempted = watchPreemptions()
    const { engine, computed } = counted({ pages: 52, rows: 2 })
    const score = engine.score(ids(180))
    while (computed.tokens < 120) await new Promise(setImmediate)
    const generation = engine.generate(ids(100, 2), { maxTokens: 1, priority: 1 })
    expect(await score).toEqual(expected(ids(180)))
    await generation.result()
    expect(preempted()).toEqual([0])
    // What was evicted meanwhile is computed again: of 52 pages the other needed 26.
    expect(computed.tokens).toBeLessThan(100 + 179 + 179 - 25 * 4)
    expect(engine.stats()).toMatchObject(IDLE)
  })
})

describe('errors of score', () => {
  const failing = async (given: unknown, options?: unknown) =>
    errorOf(fakeEngine().engine.score(given as number[], options as ScoreOptions))

  it('name what is not sound', async () => {
    expect(await failing([])).toBe('BAD_INPUT ids: expected an array of at least one token id, found an empty array')
    expect(await failing('text')).toBe('BAD_INPUT ids: expected an array of at least one token id, found "text"')
    expect(await failing([1, 500])).toBe('BAD_INPUT ids[1]: expected a token id from 0 to 499, found 500')
    expect(await failing([1, -1])).toBe('BAD_INPUT ids[1]: expected a token id from 0 to 499, found -1')
    expect(await failing([0.5])).toBe('BAD_INPUT ids[0]: expected a token id from 0 to 499, found 0.5')
    expect(await failing(ids(201))).toBe(
      'CONTEXT_LENGTH_EXCEEDED ids: expected at most 200 tokens, the context, found 201',
    )
    expect(await failing([1], { prority: 1 })).toBe(
      'BAD_OPTION score: unknown option "prority"; did you mean "priority"?',
    )
    expect(await failing([1], null)).toMatch(/^BAD_OPTION score: options: expected an object/)
    expect(await failing([1], { signal: 7 })).toMatch(/^BAD_OPTION signal: expected an AbortSignal/)
    expect(await failing([1], { cacheSalt: 7 })).toMatch(/^BAD_OPTION cacheSalt/)
  })

  it('are the reason of the signal, whether it fires before, meanwhile or behind', async () => {
    const { engine, model } = fakeEngine()
    const reason = new Error('enough')
    await expect(engine.score(ids(9), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const control = new AbortController()
    const beside = engine.score(ids(100, 2))
    model.onStep = () => model.steps === 2 && control.abort(reason)
    await expect(engine.score(ids(100), { signal: control.signal })).rejects.toBe(reason)
    expect(await beside).toEqual(expected(ids(100, 2)))
    expect(engine.stats()).toMatchObject(IDLE)
    const later = new AbortController()
    expect(await engine.score(ids(9), { signal: later.signal })).toEqual(expected(ids(9)))
    later.abort()
  })

  it('come when the engine is closed, before and meanwhile', async () => {
    const { engine } = fakeEngine()
    const score = errorOf(engine.score(ids(100)))
    await engine.close()
    expect(await score).toBe('CLOSED score: the engine was closed meanwhile')
    expect(await errorOf(engine.score(ids(9)))).toBe('CLOSED the engine is closed')
  })

  it('come when the queue is full, when the device fails, and for logits that are not finite', async () => {
    const full = fakeEngine({ rows: 1, queue: 1 }).engine
    const [first, second] = [full.score(ids(9)), full.score(ids(9))]
    expect(await errorOf(full.score(ids(9)))).toMatch(/^QUEUE_FULL/)
    expect(await Promise.all([first, second])).toEqual([expected(ids(9)), expected(ids(9))])

    const { engine, model } = fakeEngine()
    model.brokenIds.add(ids(40)[30]!)
    const beside = engine.score(ids(20, 2))
    expect(await errorOf(engine.score(ids(40)))).toBe(
      'DEVICE_ERROR sequence 1: expected finite logits, found NaN or infinity at position 30',
    )
    expect(await beside).toEqual(expected(ids(20, 2)))
    expect(engine.stats()).toMatchObject(IDLE)
    model.onStep = () => {
      throw new Error('it burns')
    }
    expect(await errorOf(engine.score(ids(9)))).toBe('DEVICE_ERROR it burns')
  })
})

const GEOMETRY = {
  ...{ vocabSize: 700, hiddenSize: 64, layers: 2, heads: 6, kvHeads: 1, headDim: 64, rotaryDim: 32 },
  ...{ ropeTheta: 10_000, experts: 16, expertsPerToken: 2, expertHidden: 32, rmsNormEps: 1e-6 },
}

describe.each(DEVICES)('on %s', (device) => {
  const load = async (dir: string, options: EngineOptions = {}) => {
    const engine = await Engine.load(dir, { device: device as EngineOptions['device'], pageSize: 16, ...options })
    onTestFinished(() => engine.close())
    return engine
  }

  it('scores have the bits of the logprobs that a generation gave, however steps are cut and what else runs', async () => {
    const dir = modelFolder({ geometry: GEOMETRY, seed: 5 })
    const engine = await load(dir)
    const options = (seed: number) => ({ logprobs: 0, temperature: 1.5, seed, maxTokens: 20, ignoreEos: true })
    const generations = [1, 2, 3].map((seed) => engine.generate(ids(30 * seed, seed), options(seed)).result())
    const generated = await Promise.all(generations)
    const texts = generated.map(({ promptTokenIds, tokenIds }) => [...promptTokenIds, ...tokenIds])
    const whole = await Promise.all(texts.map((text) => engine.score(text)))
    for (const [i, { promptTokenIds, logprobs }] of generated.entries()) {
      expect([...whole[i]!.subarray(promptTokenIds.length)]).toEqual(logprobs!.map(({ logprob }) => logprob))
    }
    const cut = await load(dir, { pageSize: 8, maxSequences: 3, maxStepTokens: 29 })
    const beside = cut.generate(ids(30), options(1)).result()
    expect(await Promise.all(texts.map((text) => cut.score(text)))).toEqual(whole)
    expect(await cut.score(texts[0]!)).toEqual(whole[0])
    expect((await beside).tokenIds).toEqual(generated[0]!.tokenIds)
    expect(cut.stats()).toMatchObject(IDLE)
  })

  it('scores are those of the float64 reference, within twice the error of naive bf16', async () => {
    const dir = modelFolder({ geometry: GEOMETRY, seed: 7 })
    const exact = new ReferenceModel(readCheckpoint(dir))
    const text = growPrompt(exact, 70, 0.008, 1)
    const scoresOf = (model: ReferenceModel) =>
      text.slice(0, -1).map((id, position) => {
        model.step(id, position)
        return model.logprobs()[text[position + 1]!]!
      })
    const truth = scoresOf(exact)
    const rms = (scores: ArrayLike<number>) =>
      Math.sqrt(truth.reduce((sum, score, i) => sum + (scores[i]! - score) ** 2, 0) / truth.length)
    const naive = scoresOf(new ReferenceModel(readCheckpoint(dir), 'naive bf16'))
    const scores = await (await load(dir, { maxStepTokens: 32, maxSequences: 5 })).score(text)
    expect(scores).toHaveLength(text.length)
    expect(rms(scores.subarray(1))).toBeLessThan(2 * rms(naive))
  })
})
