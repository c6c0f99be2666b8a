/** No conversation can tell that others exist: the same tokens and logprobs, bit for bit, whatever runs beside it, on the embedded model. */
import { beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import type { Generation, Result } from '../../lib/generation'
import type { ChatOptions, EngineOptions, GenerateOptions } from '../../lib/options'
import { Random } from '../reference/random'
import { essence, watchPreemptions } from './together'

const CONTEXT = 256
/** Bytes of one token in the KV cache: two layers' K and V of 384 bf16 numbers each. */
const TOKEN_BYTES = 3072
const CONVERSATIONS = 64

type Ask = (engine: Engine) => Generation

const SYSTEM = {
  role: 'system' as const,
  content: 'You are a careful clerk. You keep lists, add numbers and book records.',
}
const user = (content: string) => ({ role: 'user' as const, content })

/** All options that decide what is sampled, in turns that have no common period. */
function optionsOf(i: number): ChatOptions {
  const options: ChatOptions = { maxTokens: 10 + ((i * 11) % 53), priority: i % 3 === 0 ? i % 4 : 0 }
  if (i % 2 === 1) Object.assign(options, { temperature: 0.7 + (i % 5) / 5, seed: 1000 + i })
  if (i % 4 === 1) options.topK = 5 + i
  if (i % 5 === 1) options.topP = 0.8
  if (i % 6 === 1) options.minP = 0.02
  if (i % 5 === 2) options.repetitionPenalty = 1.3
  if (i % 7 === 2) Object.assign(options, { presencePenalty: 0.5, frequencyPenalty: 0.7 })
  if (i % 6 === 3) options.logitBias = { [100 + i]: 4, [200 + i]: -100 }
  if (i % 3 === 0) options.logprobs = i % 2 === 0 ? 20 : 0
  if (i % 9 === 4) options.stop = ['7', ' the']
  if (i % 8 === 5) options.n = 2
  if (i % 7 === 3) options.cacheSalt = `user ${i % 2}`
  return options
}

/** Prompts from 3 to 200 tokens: chats, many of which begin alike, and raw ids. */
function conversation(i: number): Ask {
  const options = optionsOf(i)
  const random = new Random(i)
  const ids = (count: number) => Array.from({ length: count }, () => 100 + random.integer(1300))
  switch (i % 4) {
    case 0:
      return (engine) => engine.chat([SYSTEM, user(`What is ${i + 11} + ${3 * i}?`)], options)
    case 1: {
      const forced = i % 8 === 1 ? { maxReasoningTokens: 1 + (i % 6) } : { prefill: 'Well,' }
      return (engine) => engine.chat([user(`The list says: ${'apple '.repeat(i % 10)}`)], { ...options, ...forced })
    }
    case 2: {
      const shared = Array.from({ length: 120 }, (_, j) => 300 + j)
      const prompt = [...shared.slice(0, 16 * (i % 8)), ...ids(3 + i)]
      return (engine) => engine.generate(prompt, { ...options, ignoreEos: true })
    }
    default: {
      const prompt = ids(3 + ((i * 37) % 60))
      return (engine) => engine.generate(prompt, options as GenerateOptions)
    }
  }
}

const conversations = Array.from({ length: CONVERSATIONS }, (_, i) => conversation(i))

const pagesOf = (pages: number, pageSize: number): EngineOptions => ({
  pageSize,
  kvMemory: pages * pageSize * TOKEN_BYTES,
})

async function allAtOnce(engine: Engine) {
  const results = await Promise.all(conversations.map((ask) => ask(engine).result()))
  expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 0 }, pages: { private: 0 } })
  return results.map(essence)
}

const alone: ReturnType<typeof essence>[] = []

beforeAll(async () => {
  await using engine = await Engine.load(undefined, { maxContext: CONTEXT, maxSequences: 2, prefixCache: false })
  for (const ask of conversations) alone.push(essence(await ask(engine).result()))
  expect(engine.stats().cachedTokens).toBe(0)
})

describe('64 conversations at once give what each gives alone', () => {
  it('the conversations being different, and most of them long enough to meet', () => {
    expect(new Set(alone.map((one) => one.tokenIds.join())).size).toBeGreaterThan(60)
    expect(alone.filter((one) => one.tokenIds.length >= 8).length).toBeGreaterThan(45)
    expect(new Set(alone.map((one) => one.finishReason))).toEqual(new Set(['length', 'stop']))
  })

  it('alone in an engine that was just loaded', async () => {
    for (const i of [5, 30]) {
      await using engine = await Engine.load(undefined, { maxContext: CONTEXT, prefixCache: false })
      expect(essence(await conversations[i]!(engine).result())).toEqual(alone[i])
    }
  })

  const settings: [name: string, options: EngineOptions][] = [
    ['with room for all', { threads: 2 }],
    ['with pages of 16 on 1 thread', { pageSize: 16, threads: 1 }],
    ['with pages of one token, steps of 24 and 3 threads', { ...pagesOf(900, 1), maxStepTokens: 24, threads: 3 }],
  ]
  it.each(settings)('%s', async (_, options) => {
    await using engine = await Engine.load(undefined, { maxContext: CONTEXT, ...options })
    expect(await allAtOnce(engine)).toEqual(alone)
    expect(engine.stats().cachedTokens).toBeGreaterThan(0)
    expect(await allAtOnce(engine), 'again, over what is cached').toEqual(alone)
  })

  it.each([
    ['of 8 tokens', { ...pagesOf(40, 8), threads: 2 }],
    [
      'of 8 tokens, in steps of 40, without a prefix cache',
      { ...pagesOf(40, 8), maxStepTokens: 40, prefixCache: false },
    ],
    ['of 7 tokens, in steps of 9 and 3 threads', { ...pagesOf(40, 7), maxStepTokens: 9, maxSequences: 9, threads: 3 }],
  ])('in a cache of 40 pages %s', async (_, options) => {
    const preempted = watchPreemptions()
    await using engine = await Engine.load(undefined, { maxContext: CONTEXT, ...options })
    expect(engine.stats().pages.total).toBe(40)
    expect(await allAtOnce(engine)).toEqual(alone)
    expect(preempted().length).toBeGreaterThan(5)
  })
})

describe('the logprobs of a thousand ids are the same bits', () => {
  const random = new Random(7)
  const prompt = Array.from({ length: 128 }, () => 100 + random.integer(1300)) // eight pages of 16
  const ask = (engine: Engine, options: GenerateOptions = {}) => {
    // Few ids, drawn again and again, so that each draw hangs on what was drawn before.
    const logitBias = { 500: 20, 501: 20, 502: 20 }
    const sampling = { temperature: 1, seed: 3, frequencyPenalty: 2, logitBias, logprobs: 1000 }
    return engine.generate(prompt, { ...sampling, maxTokens: 20, ignoreEos: true, ...options }).result()
  }
  const load = (options: EngineOptions = {}) =>
    Engine.load(undefined, { maxContext: CONTEXT, pageSize: 16, ...options })
  const noise = (engine: Engine, count: number, options: GenerateOptions = {}) =>
    Array.from({ length: count }, (_, i) => engine.generate([...prompt.slice(0, 9 * i), i + 1], options).result())

  let whole: Result['logprobs']
  beforeAll(async () => {
    await using engine = await load({ prefixCache: false, threads: 2 })
    whole = (await ask(engine)).logprobs
    expect(whole).toHaveLength(20)
    expect(whole!.every(({ top }) => top.length === 1000)).toBe(true)
  })

  it.each([1, 3, 5])('on %i threads', async (threads) => {
    await using engine = await load({ threads })
    expect((await ask(engine)).logprobs).toEqual(whole)
  })

  it.each([1, 7, 16, 50])('in steps of %i tokens', async (maxStepTokens) => {
    await using engine = await load({ maxStepTokens })
    expect((await ask(engine)).logprobs).toEqual(whole)
  })

  it('beside others that prefill and decode', async () => {
    await using engine = await load({ maxStepTokens: 60 })
    const others = noise(engine, 6, { maxTokens: 40, ignoreEos: true })
    const result = await ask(engine)
    await Promise.all([...others, ...noise(engine, 3)])
    expect(result.logprobs).toEqual(whole)
  })

  it('after pages that others computed, and after all of its prompt was', async () => {
    await using engine = await load()
    await engine.generate([...prompt.slice(0, 70), 9, 9], { maxTokens: 5 }).result()
    const partly = await ask(engine)
    expect(partly.usage.cachedTokens).toBe(64)
    const wholly = await ask(engine)
    expect(wholly.usage.cachedTokens).toBe(127) // the last token is computed, for the logits after it
    expect(engine.stats().cachedTokens).toBe(64 + 127)
    expect(partly.logprobs).toEqual(whole)
    expect(wholly.logprobs).toEqual(whole)
  })

  it('beside a request of equal beginning in the same step', async () => {
    await using engine = await load()
    const [one, other] = await Promise.all([ask(engine), ask(engine)])
    expect([one.logprobs, other.logprobs]).toEqual([whole, whole])
  })

  it.each([false, true])(
    'after it gave way to others and was computed again (prefix cache: %s)',
    async (prefixCache) => {
      await using engine = await load({ ...pagesOf(17, 16), prefixCache })
      const preempted = watchPreemptions()
      const result = ask(engine)
      while (engine.stats().generatedTokens < 5) await new Promise(setImmediate)
      await Promise.all(noise(engine, 4, { priority: 1, maxTokens: 90, ignoreEos: true, cacheSalt: 'others' }))
      expect((await result).logprobs).toEqual(whole)
      expect(preempted()).toContain(0)
    },
  )
})
