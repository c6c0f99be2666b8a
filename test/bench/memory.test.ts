import { describe, expect, it } from 'vitest'
import { total } from '../../bench/gpu/cells'
import { type Ask, largestThatFits, type Variant, whyNot } from '../../bench/gpu/memory'
import { workOf } from '../../bench/gpu/model-work'
import { planOfGpu } from '../../bench/gpu/plan'
import { M2 } from '../../bench/gpu/specs'

const m2 = (layers: number): Variant => ({
  ...{ name: 'M2', maxContext: Number.POSITIVE_INFINITY, kvDtype: 'bf16', weights: 'random' },
  geometry: { ...M2, layers, rotaryDim: 64, ropeTheta: 5e6, rmsNormEps: 1e-6 },
  formats: { head: 'bf16', attention: 'bf16', experts: 'bf16' },
})
const int4: Variant = { ...m2(62), kvDtype: 'fp8', formats: { head: 'bf16', attention: 'fp8', experts: 'int4' } }
const inFp8: Variant = { ...int4, formats: { head: 'bf16', attention: 'fp8Fp8', experts: 'int4Fp8' } }
const decode: Ask = { sequences: 1, context: 1024, computed: 1 }
const many: Ask = { sequences: 16, context: 131_072, computed: 1 }
const steps = { stepTokens: 8192, asks: [decode, many] }
const H200 = 150e9

describe('what fits a device', () => {
  it('says how many bytes are missing, of the context, and of weights', () => {
    expect(whyNot(m2(62), decode, steps, H200)).toMatch(
      /^needs 4\d{11} bytes and 260046848 of KV, 150000000000 are free$/,
    )
    expect(whyNot(int4, decode, steps, H200)).toBeUndefined()
    expect(whyNot(int4, many, steps, H200)).toMatch(/^needs 12\d{10} bytes and 266287972352 of KV/)
    expect(whyNot({ ...m2(1), maxContext: 1000 }, decode, steps, H200)).toBe('the model has 1000 tokens of context')
  })
  it('takes as many layers as leave room for all that is asked', () => {
    const layers = largestThatFits(m2, 62, steps, H200)
    expect(whyNot(m2(layers), many, steps, H200)).toBeUndefined()
    expect(whyNot(m2(layers + 1), many, steps, H200)).toBeDefined()
    expect(largestThatFits(m2, 62, steps, 1e9)).toBe(1)
  })
})

describe('the plan of a GPU', () => {
  it('asks the whole model what fits, and as many layers in bf16 as can be asked everything', () => {
    const { variants, asks, ...rest } = planOfGpu('cuda:0', H200)
    const [whole, rounded, cut] = variants.map((variant) =>
      asks.filter((ask) => whyNot(variant, ask, { ...rest, asks }, H200) === undefined),
    )
    expect(cut).toEqual(asks)
    expect(rounded).toEqual(whole)
    const missing = asks.filter((ask) => !whole!.includes(ask))
    expect(missing.map(({ sequences, context, computed }) => [sequences, context, computed])).toEqual([
      ...[8, 16].map((sequences) => [sequences, 32_768, 1]),
      ...[4, 8, 16].map((sequences) => [sequences, 131_072, 1]),
    ])
    expect(variants.map(({ geometry }) => geometry.layers)).toEqual([62, 62, expect.toSatisfy((n) => n > 4 && n < 20)])
  })
})

describe('workOf', () => {
  it('counts the bytes of a decode and the operations of a prefill as they are known of M2', () => {
    const { bytes } = workOf(int4, { ...decode, context: 0 }, 8192)
    expect(bytes / 1e9).toBeCloseTo(3.62 + 2.73 + 0.195 + 1.23, 1) // experts, attention, router, head
    const { operations } = workOf(m2(62), { sequences: 1, context: 32_768, computed: 32_768 }, 8192)
    expect(total(operations) / 1e15).toBeCloseTo(32_768 * 19.6e-6 + (1.524e-9 * 32_768 ** 2) / 2, 1)
  })
  it('counts operations as what they multiply', () => {
    const ask = { sequences: 1, context: 8192, computed: 8192 }
    const [wide, codes] = [workOf(int4, ask, 8192).operations, workOf(inFp8, ask, 8192).operations]
    const [router, head] = [62 * 2 * 8192 * 256 * 3072, 2 * 200_064 * 3072]
    expect(wide).toEqual({ f32: router, bf16: total(wide) - router, e4m3: 0 })
    expect(codes).toEqual({ f32: router, bf16: head, e4m3: total(wide) - router - head })
  })
  it('reads the weights once a step, and what is cached without computing it', () => {
    const cold = workOf(m2(1), { sequences: 1, context: 1024, computed: 1024 }, 512)
    const half = workOf(m2(1), { sequences: 1, context: 512, computed: 512 }, 512)
    const warm = workOf(m2(1), { sequences: 1, context: 1024, computed: 512 }, 512)
    expect(cold.bytes).toBe(half.bytes + warm.bytes)
    expect(total(cold.operations)).toBe(total(half.operations) + total(warm.operations))
  })
})
