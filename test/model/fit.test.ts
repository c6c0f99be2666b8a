import { describe, expect, it } from 'vitest'
import { formatBytes, parseByteSize } from '../../lib/model/byte-size'
import type { ModelConfig, ModelShape } from '../../lib/model/config'
import { availableMemory, type FitRequest, fitMemory, fitRequest } from '../../lib/model/fit'
import { holdWeights } from '../../lib/model/held-weights'
import {
  BF16,
  countParameters,
  kvBytesPerToken,
  type WeightType,
  weightBytes,
  weightShapes,
} from '../../lib/model/parameters'
import { failure, M2 } from './folder'

const GiB = 2 ** 30

const NANO: ModelShape = {
  ...M2,
  vocabSize: 1536,
  hiddenSize: 256,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  experts: 32,
  expertsPerToken: 4,
  expertHidden: 64,
}

describe('parameters', () => {
  it('count those of MiniMax-M2 and of the embedded model', () => {
    expect(countParameters(M2).total / 1e9).toBeCloseTo(228.7, 1)
    expect(countParameters(M2).active / 1e9).toBeCloseTo(11.0, 1)
    expect(countParameters(NANO).total / 1e6).toBeCloseTo(6.7, 1)
    expect(countParameters(NANO).active / 1e6).toBeCloseTo(2.6, 1)
  })

  it('count a tied head once, though it is held twice', () => {
    const tied = { ...NANO, tieWordEmbeddings: true }
    expect(countParameters(NANO).total - countParameters(tied).total).toBe(1536 * 256)
    expect(weightBytes(tied)).toBe(weightBytes(NANO))
  })

  it('make bytes: bf16 matrices, f32 norms and router', () => {
    const floats = 256 + 3 * (2 * 256 + 6 * 128 + 32 * 256 + 32)
    expect(weightBytes(NANO)).toBe(2 * countParameters(NANO).total + 2 * floats)
    expect(kvBytesPerToken(NANO, 'bf16')).toBe(3 * 2 * 2 * 128 * 2)
    expect(kvBytesPerToken(NANO, 'f32')).toBe(3 * 2 * 2 * 128 * 4)
    expect(kvBytesPerToken(NANO, 'fp8')).toBe(3 * 2 * 2 * 128)
  })
})

describe('MiniMax-M2 on one H200', () => {
  const config = { ...M2, maxPositionEmbeddings: 196_608 } as ModelConfig
  const options = { pageSize: 64, kvMemory: undefined, maxContext: undefined, maxSequences: 16, maxStepTokens: 2048 }
  const stored = weightShapes(M2).map((_, i): WeightType => (i === 0 ? BF16 : { ...BF16, format: 'fp8' }))
  const fit = (weightDtype: 'auto' | 'int4', kvDtype: 'bf16' | 'fp8') => {
    const weights = holdWeights(M2, stored, 'cuda:0', { weightDtype }).bytes
    return fitMemory(fitRequest(config, { available: 139 * GiB, dedicated: true, weights }, { ...options, kvDtype }))
  }

  it('fits from its FP8 files with experts in int4, and with an FP8 cache has its whole context', () => {
    expect(() => fit('auto', 'fp8')).toThrow(/^memory: expected room for 215\.\d GiB of weights/)
    expect(fit('int4', 'bf16').maxContext).toBeGreaterThan(100_000)
    const { maxContext, pages } = fit('int4', 'fp8')
    expect(maxContext).toBe(196_608)
    expect(pages * 64).toBeGreaterThan(210_000)
  })
})

describe('byte sizes', () => {
  it.each([
    [1, 1],
    [4096, 4096],
    ['4096', 4096],
    ['2GiB', 2 ** 31],
    ['2 GB', 2e9],
    ['1.5MiB', 1.5 * 2 ** 20],
    [' 10 KiB ', 10240],
  ])('read %j', (value, bytes) => {
    expect(parseByteSize('kvMemory', value)).toBe(bytes)
  })

  it.each(['lots', '2XB', '-1GiB', '0', '', 'GiB', 0, -5, Number.NaN, Number.POSITIVE_INFINITY, '1e400', '9999999TiB'])(
    'refuse %j',
    async (value) => {
      const line = await failure(() => parseByteSize('kvMemory', value))
      const expected = 'expected bytes as a number above 0, or a string such as "2GiB" or "500 MB", found'
      expect(line).toBe(`BAD_OPTION kvMemory: ${expected} ${typeof value === 'string' ? JSON.stringify(value) : value}`)
    },
  )

  it('are written for people', () => {
    expect([0, 1023, 1024, 1.5 * 2 ** 30, 3 * 2 ** 50].map(formatBytes)).toEqual([
      '0 bytes',
      '1023 bytes',
      '1 KiB',
      '1.5 GiB',
      '3072 TiB',
    ])
  })
})

describe('weights that are held in fewer bits', () => {
  const held = (type: WeightType) => weightShapes(M2).map(() => type)
  const elements = weightShapes(M2).reduce((sum, [experts, n, k]) => sum + experts * n * k, 0)

  it('take half of their bytes in FP8, and a scale for each 16 rows of 128', () => {
    const saved = weightBytes(M2) - weightBytes(M2, held({ format: 'fp8', group: 0, zeros: false }))
    expect(saved).toBe(elements - (4 * elements) / 2048)
  })

  it('take a quarter in 4 bits, two bytes for the scale of a group, and one for its zero', () => {
    const saved = (zeros: boolean) => weightBytes(M2) - weightBytes(M2, held({ format: 'int4', group: 64, zeros }))
    expect(saved(false)).toBe(1.5 * elements - (2 * elements) / 64)
    expect(saved(true)).toBe(1.5 * elements - (3 * elements) / 64)
  })
})

describe('fitMemory', () => {
  const request: FitRequest = {
    config: NANO,
    weights: weightBytes(NANO),
    kvDtype: 'bf16',
    pageSize: 64,
    maxContext: 1000,
    mayCutContext: false,
    maxSequences: 8,
    stepTokens: 512,
    available: 4 * GiB,
    workspace: 0,
    dedicated: false,
  }
  const pageBytes = 64 * kvBytesPerToken(NANO, 'bf16')

  it('gives every sequence its full context where memory is ample', () => {
    expect(fitMemory(request)).toEqual({
      maxContext: 1000,
      pages: 8 * 16,
      kvBytes: 128 * pageBytes,
    })
  })

  it('takes half of what the weights leave where it is not', () => {
    const fit = fitMemory({ ...request, maxSequences: 100_000 })
    const left = 4 * GiB - weightBytes(NANO)
    expect(fit.pages).toBe(Math.floor(left / 2 / pageBytes))
  })

  it('takes all that weights and steps leave of a memory of its own', () => {
    const fit = fitMemory({ ...request, maxSequences: 100_000, dedicated: true, workspace: GiB })
    expect(fit.pages).toBe(Math.floor((3 * GiB - weightBytes(NANO)) / pageBytes))
    expect(fitMemory({ ...request, dedicated: true, workspace: GiB })).toEqual(fitMemory(request))
  })

  it('holds at least one sequence, be it with more than half', () => {
    const available = weightBytes(NANO) + 16 * pageBytes * 1.5
    expect(fitMemory({ ...request, available }).pages).toBe(16)
  })

  it('takes the number that the user gives', () => {
    expect(fitMemory({ ...request, kvMemory: '1GiB' }).pages).toBe(Math.floor(GiB / pageBytes))
    expect(fitMemory({ ...request, kvMemory: 16 * pageBytes + 1 }).pages).toBe(16)
  })

  it('cuts a context that nobody insists on to what the memory holds', () => {
    const cut = { ...request, mayCutContext: true }
    expect(fitMemory(cut).maxContext).toBe(1000)
    expect(fitMemory({ ...cut, kvMemory: 5 * pageBytes + 1 })).toMatchObject({ maxContext: 5 * 64, pages: 5 })
    const available = weightBytes(NANO) + 10 * pageBytes
    expect(fitMemory({ ...cut, available })).toMatchObject({ maxContext: 9 * 64, pages: 9 })
  })

  it('never numbers more slots than 32 bits hold', () => {
    const fit = fitMemory({ ...request, available: 2 ** 50, kvMemory: '500TiB' })
    expect(fit.pages).toBe(Math.floor((2 ** 31 - 1) / 64))
  })

  it('refuses with what is needed and what there is', async () => {
    expect(
      await failure(() =>
        fitMemory({ ...request, config: M2, weights: weightBytes(M2), maxContext: 196_608, available: 23 * GiB }),
      ),
    ).toBe(
      'OUT_OF_MEMORY memory: expected room for 426.1 GiB of weights and 46.5 GiB for the KV of one sequence of ' +
        '196608 tokens, found 23 GiB available',
    )
    expect(await failure(() => fitMemory({ ...request, kvMemory: '1TiB' }))).toBe(
      'OUT_OF_MEMORY memory: expected room for 12.9 MiB of weights and 1 TiB for kvMemory, found 4 GiB available',
    )
    expect(await failure(() => fitMemory({ ...request, kvMemory: '1MiB' }))).toBe(
      'OUT_OF_MEMORY kvMemory: expected at least 3 MiB for one sequence of 1000 tokens (or a lower maxContext), found 1 MiB',
    )
    expect(await failure(() => fitMemory({ ...request, mayCutContext: true, kvMemory: pageBytes - 1 }))).toBe(
      'OUT_OF_MEMORY kvMemory: expected at least 192 KiB for one sequence of 64 tokens (or a lower maxContext), found 192 KiB',
    )
    expect(await failure(() => fitMemory({ ...request, kvMemory: 'much' }))).toMatch(/^BAD_OPTION /)
  })

  it('asks the machine for a plausible number', () => {
    expect(availableMemory()).toBeGreaterThan(2 ** 20)
  })
})
