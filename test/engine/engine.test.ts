import { getEventListeners } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Chunk, Generation } from '../../lib/generation'
import { fakeEngine } from './fake-engine'

const PROMPT = [5, 6, 7]

async function read(generation: Generation): Promise<Chunk[]> {
  const chunks: Chunk[] = []
  for await (const chunk of generation) chunks.push(chunk)
  return chunks
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error) => error.code,
  )

describe('a generation', () => {
  it('continues ids up to maxTokens', async () => {
    const { engine, expected } = fakeEngine()
    const result = await engine.generate(PROMPT, { maxTokens: 5 }).result()
    expect(result).toMatchObject({
      text: '',
      reasoning: '',
      toolCalls: [],
      tokenIds: expected(PROMPT, 5),
      promptTokenIds: PROMPT,
      finishReason: 'length',
      usage: { promptTokens: 3, cachedTokens: 0, completionTokens: 5, reasoningTokens: 0 },
    })
    expect(result.samples).toBeUndefined()
    expect(result.logprobs).toBeUndefined()
  })

  it('takes typed arrays and everything like an array', async () => {
    const { engine, expected } = fakeEngine()
    const prompts = [Int32Array.from(PROMPT), Float64Array.from(PROMPT), { length: 3, 0: 5, 1: 6, 2: 7 }]
    for (const prompt of prompts) {
      expect((await engine.generate(prompt, { maxTokens: 2 }).result()).tokenIds).toEqual(expected(PROMPT, 2))
    }
  })

  it('ends at what is left of the context', async () => {
    const { engine, expected } = fakeEngine({ context: 10 })
    for (const options of [{}, { maxTokens: 1000 }]) {
      const result = await engine.generate(PROMPT, options).result()
      expect([result.tokenIds, result.finishReason]).toEqual([expected(PROMPT, 7), 'length'])
    }
    const longest = await engine.generate(new Array(9).fill(1)).result()
    expect(longest.tokenIds).toHaveLength(1)
  })

  it('ends at the end-of-turn id, which is the last of its ids', async () => {
    const [, second] = fakeEngine().expected(PROMPT, 2)
    const { engine, expected } = fakeEngine({ eosTokenIds: [second!] })
    const result = await engine.generate(PROMPT, { maxTokens: 5 }).result()
    expect([result.tokenIds, result.finishReason]).toEqual([expected(PROMPT, 2), 'stop'])
    const ignoring = await engine.generate(PROMPT, { maxTokens: 5, ignoreEos: true }).result()
    expect([ignoring.tokenIds, ignoring.finishReason]).toEqual([expected(PROMPT, 5), 'length'])
  })

  it('says stop when the last token allowed is a stop token', async () => {
    const { engine, expected } = fakeEngine()
    const third = expected(PROMPT, 3)[2]!
    const result = await engine.generate(PROMPT, { maxTokens: 3, stopTokenIds: [third] }).result()
    expect([result.tokenIds.length, result.finishReason]).toEqual([3, 'stop'])
  })

  it('gives the same ids to many at once as to each alone, in a cache that is too small for all', async () => {
    const { engine, expected } = fakeEngine({ pages: 12, rows: 4, context: 40 })
    const prompts = Array.from({ length: 20 }, (_, i) => Array.from({ length: 1 + ((i * 7) % 23) }, (_, j) => i + j))
    const results = await Promise.all(prompts.map((prompt) => engine.generate(prompt, { maxTokens: 15 }).result()))
    for (const [i, result] of results.entries()) expect(result.tokenIds).toEqual(expected(prompts[i]!, 15))
    expect(engine.stats()).toMatchObject({
      pages: { total: 12, private: 0 },
      sequences: { running: 0, waiting: 0 },
      promptTokens: prompts.flat().length,
      generatedTokens: 20 * 15,
    })
  })

  it('puts what is asked in one turn into one step', async () => {
    const { engine, model } = fakeEngine()
    const both = [engine.generate([1], { maxTokens: 1 }), engine.generate([2], { maxTokens: 1 })]
    await Promise.all(both.map((generation) => generation.result()))
    expect(model.steps).toBe(1)
  })

  it('draws with its seed, whatever else runs beside it', async () => {
    const { engine } = fakeEngine()
    const draw = (seed?: number) => engine.generate(PROMPT, { maxTokens: 6, temperature: 1, seed }).result()
    const ids = async (seed?: number) => (await draw(seed)).tokenIds.join()
    const alone = await ids(42)
    const [beside] = await Promise.all([ids(42), ids(1), ids()])
    expect(beside).toBe(alone)
    expect(await ids(43)).not.toBe(alone)
    expect(await ids()).not.toBe(await ids())
    expect(await ids(-42)).not.toBe(alone)
  })

  it('times its phases', async () => {
    const { engine } = fakeEngine()
    const { timing } = await engine.generate(PROMPT, { maxTokens: 5 }).result()
    expect(Object.values(timing).every((ms) => ms >= 0)).toBe(true)
    expect(timing.firstTokenMs).toBeCloseTo(timing.queueMs + timing.prefillMs, 6)
  })
})

describe('logprobs', () => {
  it('come one for each id, with as many alternatives as were asked for', async () => {
    const { engine } = fakeEngine()
    const [none, two, zero] = await Promise.all([
      engine.generate([1], { maxTokens: 3 }).result(),
      engine.generate([2], { maxTokens: 3, logprobs: 2 }).result(),
      engine.generate([3], { maxTokens: 3, logprobs: 0 }).result(),
    ])
    expect(none.logprobs).toBeUndefined()
    expect(two.logprobs).toEqual(
      two.tokenIds.map((id) => {
        const next = (id + 1) % 500
        return {
          id,
          logprob: -id,
          top: [
            { id, logprob: -id },
            { id: next, logprob: -next },
          ],
        }
      }),
    )
    expect(zero.logprobs).toEqual(zero.tokenIds.map((id) => ({ id, logprob: -id, top: [] })))
  })
})

describe('samples', () => {
  it('share the prefill and draw each with its own index', async () => {
    const { engine, model } = fakeEngine()
    const prompt = Array.from({ length: 10 }, (_, i) => i)
    const lengths: number[] = []
    model.onStep = (batch) => lengths.push(batch.tokenIds.length)
    const result = await engine.generate(prompt, { maxTokens: 4, temperature: 1, seed: 7, n: 3 }).result()
    expect(lengths).toEqual([10, 3, 3, 3])
    expect(result.samples).toHaveLength(3)
    expect(result.tokenIds).toEqual(result.samples![0]!.tokenIds)
    expect(new Set(result.samples!.map((sample) => sample.tokenIds.join())).size).toBe(3)
    const alone = await engine.generate(prompt, { maxTokens: 4, temperature: 1, seed: 7 }).result()
    expect(alone.tokenIds).toEqual(result.tokenIds)
    expect(engine.stats()).toMatchObject({ promptTokens: 20, cachedTokens: 8, pages: { private: 0 } })
  })

  it('stream with their index', async () => {
    const { engine } = fakeEngine()
    const generation = engine.generate(PROMPT, { maxTokens: 4, temperature: 1, n: 2 })
    const chunks = await read(generation)
    const { samples } = await generation.result()
    for (const [index, sample] of samples!.entries()) {
      const ids = chunks.filter((chunk) => chunk.index === index).flatMap((chunk) => chunk.tokenIds)
      expect(ids).toEqual(sample.tokenIds)
    }
  })
})

describe('a fork', () => {
  it('goes on from what there is, draws otherwise, and computes next to nothing twice', async () => {
    const { engine, model } = fakeEngine()
    const prompt = Array.from({ length: 20 }, (_, i) => i)
    const first = engine.generate(prompt, { maxTokens: 30, temperature: 1, seed: 7, logprobs: 0 })
    for await (const chunk of first) if (chunk.tokenIds[0] !== undefined && engine.stats().generatedTokens >= 10) break
    const computed: number[] = []
    model.onStep = (batch) => computed.push(batch.tokenIds.length)
    const fork = engine.fork(first, { maxTokens: 30 })
    const again = engine.fork(first)
    const [result, other] = await Promise.all([fork.result(), again.result()])
    const origin = await first.result()
    expect(origin.finishReason).toBe('abort')
    const shared = origin.tokenIds.length
    expect(shared).toBeGreaterThanOrEqual(9)
    for (const one of [result, other]) {
      expect(one.promptTokenIds).toEqual(prompt)
      expect(one.tokenIds.slice(0, shared)).toEqual(origin.tokenIds)
      expect(one).toMatchObject({
        finishReason: 'length',
        usage: { promptTokens: 20, completionTokens: 30, cachedTokens: 20 },
      })
      expect(one.logprobs).toEqual(one.tokenIds.map((id) => ({ id, logprob: -id, top: [] })))
    }
    expect(result.tokenIds.slice(shared)).not.toEqual(other.tokenIds.slice(shared))
    expect(computed[0]).toBeLessThanOrEqual(2 * 5) // a partly filled page each
    const ids = (await read(fork)).flatMap((chunk) => chunk.tokenIds)
    expect(ids).toEqual(result.tokenIds)
  })

  it('takes other options in the place of those of the first', async () => {
    const { engine, expected } = fakeEngine()
    const first = engine.generate(PROMPT, { maxTokens: 5 })
    await first.result()
    const result = await engine.fork(first, { maxTokens: 9 }).result()
    expect([result.tokenIds, result.finishReason]).toEqual([expected(PROMPT, 9), 'length'])
  })

  it('is refused where there is nothing to go on from', async () => {
    const { engine, expected } = fakeEngine()
    const stopped = engine.generate(PROMPT, { stopTokenIds: expected(PROMPT, 2).slice(1) })
    const full = engine.generate(PROMPT, { maxTokens: 2 })
    const two = engine.generate(PROMPT, { maxTokens: 2, n: 2 })
    const failed = engine.generate([])
    await Promise.allSettled([stopped, full, two, failed].map((one) => one.result()))
    const messages = [stopped, full, two, failed, fakeEngine().engine.generate(PROMPT)].map((one) =>
      engine
        .fork(one)
        .result()
        .catch((error) => `${error.code} ${error.message}`),
    )
    expect(await Promise.all(messages)).toEqual([
      'BAD_INPUT fork: expected a generation that can go on, found one that has stopped',
      'BAD_INPUT fork: expected room for more than the 2 tokens so far, found none',
      'BAD_INPUT fork: expected a generation of one sample, found 2',
      'BAD_INPUT fork: expected a generation of generate or chat that this engine has accepted, found another',
      'BAD_INPUT fork: expected a generation of generate or chat that this engine has accepted, found another',
    ])
  })
})

describe('the stream', () => {
  it('adds up to the result, read before, beside or after it', async () => {
    const { engine, expected } = fakeEngine()
    const ids = async (chunks: Promise<Chunk[]>) => (await chunks).flatMap((chunk) => chunk.tokenIds)
    const before = engine.generate(PROMPT, { maxTokens: 5 })
    expect(await ids(read(before))).toEqual(expected(PROMPT, 5))
    expect((await before.result()).tokenIds).toEqual(expected(PROMPT, 5))
    const beside = engine.generate(PROMPT, { maxTokens: 5 })
    const [streamed, result] = await Promise.all([ids(read(beside)), beside.result()])
    expect(streamed).toEqual(result.tokenIds)
    const after = engine.generate(PROMPT, { maxTokens: 5 })
    await after.result()
    expect(await ids(read(after))).toEqual(expected(PROMPT, 5))
  })

  it('gives a token as soon as its step is done', async () => {
    const { engine } = fakeEngine()
    const chunks = await read(engine.generate(PROMPT, { maxTokens: 5 }))
    expect(chunks.map((chunk) => chunk.tokenIds.length)).toEqual([1, 1, 1, 1, 1])
  })

  it('merges what nobody reads', async () => {
    const { engine, expected } = fakeEngine()
    const generation = engine.generate(PROMPT, { maxTokens: 50 })
    await generation.result()
    expect(await read(generation)).toEqual([{ text: '', tokenIds: expected(PROMPT, 50), index: 0 }])
  })

  it('gives each chunk to one of several readers', async () => {
    const { engine, expected } = fakeEngine()
    const generation = engine.generate(PROMPT, { maxTokens: 9 })
    const [one, other] = await Promise.all([read(generation), read(generation)])
    const ids = [...one, ...other].flatMap((chunk) => chunk.tokenIds)
    expect(new Set(ids)).toEqual(new Set(expected(PROMPT, 9)))
    expect(ids).toHaveLength(9)
  })

  it('aborts the generation when the loop is left early', async () => {
    const { engine } = fakeEngine()
    const generation = engine.generate(PROMPT)
    for await (const chunk of generation) if (chunk.tokenIds.length > 0) break
    const result = await generation.result()
    expect(result.finishReason).toBe('abort')
    expect(result.tokenIds.length).toBeLessThan(5)
    expect(engine.stats().pages.private).toBe(0)
  })

  it('goes on when the loop is left early but the result was asked for', async () => {
    const { engine } = fakeEngine()
    const generation = engine.generate(PROMPT, { maxTokens: 20 })
    const result = generation.result()
    for await (const _ of generation) break
    expect(await result).toMatchObject({ finishReason: 'length', usage: { completionTokens: 20 } })
  })
})

describe('abort', () => {
  it('ends with what there is, at once, also in mid-step', async () => {
    const { engine, model, expected } = fakeEngine()
    const generation = engine.generate(PROMPT)
    await new Promise<void>((resolve) => {
      model.onStep = () => {
        if (model.steps === 3) queueMicrotask(resolve)
      }
    })
    generation.abort()
    const result = await generation.result()
    // The third step runs, and the ids of the first are known.
    expect([result.finishReason, result.tokenIds]).toEqual(['abort', expected(PROMPT, result.tokenIds.length)])
    expect(result.tokenIds.length).toBeGreaterThan(0)
    generation.abort()
    expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 0 }, pages: { private: 0 } })
  })

  it('ends one that waits, with times that make sense', async () => {
    const { engine } = fakeEngine({ rows: 1, stepTokens: 4 })
    const first = engine.generate(PROMPT, { maxTokens: 10 })
    const second = engine.generate(PROMPT, { maxTokens: 10 })
    await first[Symbol.asyncIterator]().next()
    second.abort()
    const result = await second.result()
    expect(result).toMatchObject({ finishReason: 'abort', tokenIds: [], timing: { prefillMs: 0, decodeMs: 0 } })
    expect(result.timing.queueMs).toBeGreaterThan(0)
    expect((await first.result()).tokenIds).toHaveLength(10)
  })

  it('follows a signal, one that is already aborted too', async () => {
    const { engine } = fakeEngine()
    const controller = new AbortController()
    const running = engine.generate(PROMPT, { signal: controller.signal })
    for await (const chunk of running) if (chunk.tokenIds.length > 0) controller.abort()
    expect((await running.result()).finishReason).toBe('abort')
    const late = await engine.generate(PROMPT, { signal: controller.signal }).result()
    expect(late).toMatchObject({ finishReason: 'abort', tokenIds: [] })
  })

  it('puts one listener on a signal that many follow, and takes it away at the end', async () => {
    const { engine } = fakeEngine()
    const { signal } = new AbortController()
    const listeners: number[] = []
    const generations = Array.from({ length: 20 }, () => engine.generate(PROMPT, { signal, maxTokens: 3 }))
    listeners.push(getEventListeners(signal, 'abort').length)
    await Promise.all(generations.map((generation) => generation.result()))
    listeners.push(getEventListeners(signal, 'abort').length)
    expect(listeners).toEqual([1, 0])
  })

  it('of a signal ends all that follow it', async () => {
    const { engine } = fakeEngine()
    const controller = new AbortController()
    const generations = [1, 2, 3].map((id) => engine.generate([id], { signal: controller.signal }))
    const other = engine.generate(PROMPT, { maxTokens: 5 })
    await generations[2]![Symbol.asyncIterator]().next()
    controller.abort()
    const results = await Promise.all(generations.map((generation) => generation.result()))
    expect(results.map((result) => result.finishReason)).toEqual(['abort', 'abort', 'abort'])
    expect((await other.result()).finishReason).toBe('length')
  })

  it('comes with a deadline, running or waiting', async () => {
    const { engine, model } = fakeEngine({ rows: 1, stepTokens: 4, context: 200 })
    const step = model.forward.bind(model)
    model.forward = async (batch) => {
      const result = await step(batch)
      await wait(5)
      return result
    }
    const running = engine.generate(PROMPT, { deadlineMs: 400 })
    const waiting = engine.generate(PROMPT, { deadlineMs: 100 })
    const results = await Promise.all([running.result(), waiting.result()])
    expect(results.map((result) => result.finishReason)).toEqual(['abort', 'abort'])
    expect(results[0]!.tokenIds.length).toBeGreaterThan(0)
    expect(results[1]!.tokenIds).toEqual([])
  })

  it('ends all samples', async () => {
    const { engine } = fakeEngine()
    const generation = engine.generate(PROMPT, { n: 3, temperature: 1 })
    for await (const chunk of generation) if (chunk.index === 2) break
    const { samples } = await generation.result()
    expect(samples!.map((sample) => sample.finishReason)).toEqual(['abort', 'abort', 'abort'])
    expect(engine.stats().pages.private).toBe(0)
  })
})

describe('errors of arguments', () => {
  it('are thrown by result and iterator, not by the call', async () => {
    const { engine } = fakeEngine()
    const generation = engine.generate([])
    expect(await codeOf(generation.result())).toBe('BAD_INPUT')
    expect(await codeOf(read(generation))).toBe('BAD_INPUT')
    expect(await codeOf(read(generation))).toBe('BAD_INPUT')
    generation.abort()
  })

  it('do not end the process when nobody looks', async () => {
    const { engine } = fakeEngine()
    engine.generate([])
    const iterated = engine.generate([])
    expect(await codeOf(read(iterated))).toBe('BAD_INPUT')
    await wait(5) // vitest fails the run on an unhandled rejection
  })

  it.each([
    ['x', 'BAD_INPUT', 'prompt: expected token ids, as this model has no tokenizer.json, found a string'],
    [[], 'BAD_INPUT', 'prompt: expected at least one token, found none'],
    [[1, 500], 'BAD_INPUT', 'prompt[1]: expected a token id from 0 to 499, found 500'],
    [[-1], 'BAD_INPUT', 'prompt[0]: expected a token id from 0 to 499, found -1'],
    [[1, 2.5], 'BAD_INPUT', 'prompt[1]: expected a token id from 0 to 499, found 2.5'],
    [['1'], 'BAD_INPUT', 'prompt[0]: expected a token id from 0 to 499, found "1"'],
    [[1, undefined], 'BAD_INPUT', 'prompt[1]: expected a token id from 0 to 499, found nothing'],
    [null, 'BAD_INPUT', 'prompt: expected a string or an array of token ids, found null'],
    [7, 'BAD_INPUT', 'prompt: expected a string or an array of token ids, found 7'],
    [
      new Array(200).fill(1),
      'CONTEXT_LENGTH_EXCEEDED',
      'prompt: expected at most 199 tokens, one less than the context, found 200',
    ],
  ])('name what is wrong with the prompt %j', async (prompt, code, message) => {
    const { engine } = fakeEngine()
    await expect(engine.generate(prompt as number[]).result()).rejects.toMatchObject({ code, message })
  })

  it('say that a chat needs a tokenizer', async () => {
    const { engine } = fakeEngine()
    expect(await codeOf(engine.chat([{ role: 'user', content: 'Hi' }]).result())).toBe('BAD_INPUT')
  })
})

describe('errors of the work', () => {
  it('end the sequence whose logits are not finite, by name, and no other', async () => {
    const { engine, model, expected } = fakeEngine()
    model.brokenIds.add(expected([9, 9], 2)[1]!)
    const broken = engine.generate([9, 9], { maxTokens: 5 })
    const sound = engine.generate(PROMPT, { maxTokens: 5 })
    await expect(broken.result()).rejects.toMatchObject({
      code: 'DEVICE_ERROR',
      message: 'sequence 0: expected finite logits, found NaN or infinity at position 3',
    })
    expect((await sound.result()).tokenIds).toEqual(expected(PROMPT, 5))
    expect(engine.stats().pages.private).toBe(0)
  })

  it('of the device fail all with one error and close the engine', async () => {
    const { engine, model } = fakeEngine({ rows: 1, stepTokens: 4 })
    model.onStep = () => {
      if (model.steps === 2) throw Object.assign(new Error('the device is gone'), { code: 'DEVICE_ERROR' })
    }
    const running = engine.generate(PROMPT)
    const waiting = engine.generate(PROMPT)
    const errors = await Promise.all([running, waiting].map((one) => one.result().catch((error) => error)))
    expect(errors[0]).toMatchObject({ name: 'M2Error', code: 'DEVICE_ERROR', message: 'the device is gone' })
    expect(errors[1]).toBe(errors[0])
    await expect(read(running)).rejects.toBe(errors[0])
    await expect(engine.generate(PROMPT).result()).rejects.toMatchObject({
      code: 'CLOSED',
      message: 'the engine is closed, after an error: the device is gone',
      cause: errors[0],
    })
    expect(model.closed).toBe(true)
    await engine.close()
  })
})

describe('close', () => {
  it('ends what runs with abort, frees the model, and can be repeated', async () => {
    const { engine, model } = fakeEngine({ rows: 1, stepTokens: 4 })
    const running = engine.generate(PROMPT)
    const waiting = engine.generate(PROMPT)
    await running[Symbol.asyncIterator]().next()
    const closing = engine.close()
    expect(engine.close()).toBe(closing)
    await closing
    expect(model.closed).toBe(true)
    expect((await running.result()).finishReason).toBe('abort')
    expect((await waiting.result()).finishReason).toBe('abort')
    expect(await codeOf(engine.generate(PROMPT).result())).toBe('CLOSED')
    expect(engine.stats().sequences).toEqual({ running: 0, waiting: 0 })
  })

  it('is what leaving the scope of `await using` does', async () => {
    const { engine, model } = fakeEngine()
    {
      await using scoped = engine
      await scoped.generate(PROMPT, { maxTokens: 1 }).result()
    }
    expect(model.closed).toBe(true)
  })
})
