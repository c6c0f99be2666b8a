import { describe, expect, it } from 'vitest'
import type { ModelConfig } from '../../lib/model/config'
import { fitMemory, fitRequest, type MemoryOptions, memoryNeeded } from '../../lib/model/fit'
import { reportFit } from '../../lib/model/fit-report'
import { weightBytes } from '../../lib/model/parameters'
import { failure, M2 as SHAPE } from './folder'

const GiB = 2 ** 30

const M2: ModelConfig = {
  ...SHAPE,
  maxPositionEmbeddings: 196_608,
  eosTokenIds: [],
  bosTokenId: null,
  generation: { temperature: 1, topP: 0.95, topK: 40, minP: 0, repetitionPenalty: 1 },
}
const OPTIONS: MemoryOptions = {
  kvDtype: 'bf16',
  pageSize: 64,
  kvMemory: undefined,
  maxContext: undefined,
  maxSequences: 64,
  maxStepTokens: 512,
}
const weights = weightBytes(M2)
const gpu = (gib: number) => ({ available: gib * GiB, dedicated: true, weights })
const cpu = (gib: number) => ({ available: gib * GiB, dedicated: false, weights })

describe('memoryNeeded', () => {
  it.each([
    ['cpu', false, 1],
    ['cpu', false, 196_608],
    ['gpu', true, 1],
    ['gpu', true, 196_608],
  ])('is on a %s what the fit takes, and what it refuses less than', async (_, dedicated, context) => {
    const options = { ...OPTIONS, maxContext: context }
    const needed = memoryNeeded(fitRequest(M2, { available: 0, dedicated, weights }, options), context)
    const fit = (available: number) => fitMemory(fitRequest(M2, { available, dedicated, weights }, options))
    expect(fit(needed).maxContext).toBe(context)
    expect(await failure(() => fit(needed - 2))).toMatch(/^OUT_OF_MEMORY /)
  })
})

describe('reportFit', () => {
  it('has no advice where every sequence has its full context', () => {
    expect(reportFit(M2, gpu(5000), OPTIONS)).toMatchObject({
      fits: true,
      problem: null,
      kv: { tokens: 64 * 196_608, context: 196_608, sequences: 64 },
      advice: [],
    })
  })

  it('says what a GPU lacks', () => {
    const { fits, needed, kv, problem, advice } = reportFit(M2, gpu(139), OPTIONS)
    expect({ fits, kv }).toEqual({ fits: false, kv: null })
    expect(problem).toMatch(/expected room for 426\.1 GiB of weights, \S+ MiB for steps .*found 139 GiB available/)
    expect(advice).toEqual([
      expect.stringMatching(/^426\.9 GiB must be free for it to load: 287\.9 GiB more than there is$/),
    ])
    expect(reportFit(M2, { available: needed, dedicated: true, weights }, OPTIONS).fits).toBe(true)
    expect(reportFit(M2, { available: needed - 2, dedicated: true, weights }, OPTIONS).fits).toBe(false)
  })

  it.each(['maxSequences', 'maxStepTokens'])(
    'names the most %s with which it fits, where steps take the room',
    (name) => {
      const { advice } = reportFit(M2, gpu(426.7), OPTIONS)
      const [found] = advice.flatMap((line) => new RegExp(`^${name}: (\\d+) makes it fit`).exec(line)?.[1] ?? [])
      const most = Number(found)
      expect(most).toBeGreaterThanOrEqual(1)
      expect(reportFit(M2, gpu(426.7), { ...OPTIONS, [name]: most }).fits).toBe(true)
      expect(reportFit(M2, gpu(426.7), { ...OPTIONS, [name]: 2 * most }).fits).toBe(false)
    },
  )

  it('says how much is missing to the whole context, and that bf16 gives more than f32, fp8 more than bf16', () => {
    const f32 = reportFit(M2, gpu(460), { ...OPTIONS, kvDtype: 'f32' })
    const bf16 = reportFit(M2, gpu(460), OPTIONS)
    const fp8 = reportFit(M2, gpu(460), { ...OPTIONS, kvDtype: 'fp8' })
    expect(f32.kv).toMatchObject({ sequences: 0 })
    expect(f32.kv!.context).toBeLessThan(bf16.kv!.context)
    expect(bf16.kv!.context).toBeLessThan(fp8.kv!.context)
    const gives = (kvDtype: string, { kv }: typeof fp8) =>
      `kvDtype: "${kvDtype}" gives a context of ${kv!.context.toLocaleString('en-US')} tokens`
    expect(f32.advice).toEqual([
      gives('bf16', bf16),
      gives('fp8', fp8),
      expect.stringMatching(
        /^\S+ GiB must be free for the whole context of 196,608 tokens: \S+ GiB more than there is$/,
      ),
    ])
    expect(bf16.advice).toEqual([gives('fp8', fp8), expect.stringMatching(/^\S+ GiB must be free/)])
    expect(fp8.advice).toEqual([])
  })

  it('names the kvMemory that the CPU could give beyond what an engine takes by itself', () => {
    const { kv, advice } = reportFit(M2, cpu(1000), OPTIONS)
    const kvMemory = /up to "(\d+MiB)"/.exec(advice[0]!)?.[1]
    const most = reportFit(M2, cpu(1000), { ...OPTIONS, kvMemory })
    expect(most.kv!.tokens).toBeGreaterThan(1.5 * kv!.tokens)
    expect(advice[0]).toContain(`holds ${most.kv!.tokens.toLocaleString('en-US')} tokens`)
    expect(most.advice).toEqual([])
  })

  it.each<[string, Partial<MemoryOptions>, RegExp]>([
    ['kvMemory', { kvMemory: '900GiB' }, /^without kvMemory it fits/],
    ['maxContext', { kvMemory: '1GiB', maxContext: 100_000 }, /^maxContext: \d+ makes it fit$/],
    ['kvDtype', { kvDtype: 'f32', maxContext: 100_000 }, /^kvDtype: "bf16" makes it fit$/],
    ['kvDtype', { kvDtype: 'f32', maxContext: 196_608 }, /^kvDtype: "fp8" makes it fit$/],
    ['kvDtype', { kvDtype: 'bf16', maxContext: 196_608 }, /^kvDtype: "fp8" makes it fit$/],
  ])('names the option %s that asks for too much', (_, options, advice) => {
    const { fits, advice: found } = reportFit(M2, gpu(460), { ...OPTIONS, ...options })
    expect(fits).toBe(false)
    expect(found).toContainEqual(expect.stringMatching(advice))
  })

  it('refuses a kvMemory that is no size', async () => {
    expect(await failure(() => reportFit(M2, gpu(1), { ...OPTIONS, kvMemory: 'much' }))).toMatch(/^BAD_OPTION /)
  })
})
