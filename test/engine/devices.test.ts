/**
 * The engine on a GPU, emulated or real, over a small random model: no sequence can tell that others exist, that its prefix was cached, or that it had to
 * give way. What is asked of the engine is the same as on the CPU, where many.test.ts asks more of it.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import type { EngineOptions, GenerateOptions } from '../../lib/options'
import { GPUS } from '../devices'
import { temporaryFolder } from '../model/folder'
import { writeRandomModel } from '../reference/checkpoint-writer'
import { Random } from '../reference/random'
import { essence, watchPreemptions } from './together'

const GEOMETRY = {
  ...{ vocabSize: 307, hiddenSize: 64, layers: 2, heads: 6, kvHeads: 1, headDim: 64, rotaryDim: 32, ropeTheta: 10_000 },
  ...{ experts: 16, expertsPerToken: 2, expertHidden: 32, rmsNormEps: 1e-6 },
}
const CONTEXT = 96
/** Bytes of one token in the KV cache. */
const TOKEN_BYTES = 2 * 2 * 64 * 2

/** Options that reach every way of sampling, in turns that have no common period. */
function optionsOf(i: number): GenerateOptions {
  const options: GenerateOptions = { maxTokens: 8 + ((i * 7) % 17), temperature: 0, ignoreEos: true, priority: i % 3 }
  if (i % 2 === 1) Object.assign(options, { temperature: 0.8, seed: 50 + i, topK: 5 + i, topP: 0.9 })
  if (i % 4 === 2) Object.assign(options, { frequencyPenalty: 0.5, repetitionPenalty: 1.2 })
  if (i % 5 === 3) options.logitBias = { [20 + i]: 5 }
  if (i % 3 === 0) options.logprobs = i % 2 === 0 ? 5 : 0
  if (i % 7 === 5) options.n = 2
  return options
}

const shared = Array.from({ length: 40 }, (_, i) => 3 + i)
const prompts = Array.from({ length: 12 }, (_, i) => {
  const random = new Random(i)
  return [...shared.slice(0, 8 * (i % 6)), ...Array.from({ length: 1 + ((i * 5) % 20) }, () => random.integer(307))]
})

describe.each(GPUS)('the engine on %s', (device) => {
  let dir: string
  const alone: ReturnType<typeof essence>[] = []
  const load = (options: EngineOptions = {}) =>
    Engine.load(dir, { device: device as EngineOptions['device'], maxContext: CONTEXT, pageSize: 8, ...options })
  const pagesOf = (pages: number, pageSize: number): EngineOptions => ({
    pageSize,
    kvMemory: pages * pageSize * TOKEN_BYTES,
  })

  async function allAtOnce(engine: Engine) {
    const results = await Promise.all(prompts.map((prompt, i) => engine.generate(prompt, optionsOf(i)).result()))
    expect(engine.stats()).toMatchObject({ sequences: { running: 0, waiting: 0 }, pages: { private: 0 } })
    return results.map(essence)
  }

  beforeAll(async () => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'm2-device-'))
    writeRandomModel(dir, { geometry: GEOMETRY, seed: 5 })
    await using engine = await load({ maxSequences: 2, prefixCache: false })
    expect(engine.device).toBe(device === 'cuda' ? 'cuda:0' : device)
    for (const [i, prompt] of prompts.entries())
      alone.push(essence(await engine.generate(prompt, optionsOf(i)).result()))
  })

  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  it('gives all at once what it gives each alone, over an empty cache and a full one', async () => {
    await using engine = await load()
    expect(await allAtOnce(engine)).toEqual(alone)
    const before = engine.stats().cachedTokens
    expect(await allAtOnce(engine), 'again, over what is cached').toEqual(alone)
    expect(engine.stats().cachedTokens - before).toBeGreaterThan(100)
  })

  it.each([
    ['in a cache of 20 pages', { ...pagesOf(20, 8) }],
    ['in a cache of 16 pages, steps of 7 tokens', { ...pagesOf(16, 8), maxStepTokens: 7, maxSequences: 7 }],
    ['in pages of 5 tokens, without a prefix cache', { ...pagesOf(20, 5), prefixCache: false }],
  ])('gives the same under pressure, %s', async (_, options) => {
    const preempted = watchPreemptions()
    await using engine = await load(options)
    expect(await allAtOnce(engine)).toEqual(alone)
    expect(preempted().length).toBeGreaterThan(0)
  })

  it('goes on from a fork, and from pages that another engine has saved', async () => {
    const file = path.join(temporaryFolder(), 'prefixes')
    const ask = { maxTokens: 6, temperature: 0, ignoreEos: true, logprobs: 3 }
    await using engine = await load()
    const first = engine.generate(shared, ask)
    const whole = await first.result()
    const forked = engine.fork(first, { maxTokens: 10 })
    expect((await forked.result()).tokenIds.slice(0, 6)).toEqual(whole.tokenIds)
    await engine.savePrefixes(file)
    expect(existsSync(file)).toBe(true)

    await using other = await load()
    expect((await other.loadPrefixes(file)).pages).toBeGreaterThan(3)
    const again = await other.generate(shared, ask).result()
    expect(again.usage.cachedTokens).toBe(39)
    expect(again.logprobs).toEqual(whole.logprobs)
  })
})
