import { describe, expect, it } from 'vitest'
import { bestStepTokens, contextPerToken } from '../../lib/model/step-tokens'
import type { ModelGeometry } from '../../lib/native'

const M2: ModelGeometry = {
  ...{ vocabSize: 200_064, hiddenSize: 3072, layers: 62, heads: 48, kvHeads: 8, headDim: 128, rotaryDim: 64 },
  ...{ experts: 256, expertsPerToken: 8, expertHidden: 1536, ropeTheta: 5e6, rmsNormEps: 1e-6 },
}

describe('the size of a step', () => {
  it('fills a tile of rows of each expert on a GPU', () => {
    expect(bestStepTokens(M2, true)).toBe(4096)
    expect(bestStepTokens({ ...M2, expertsPerToken: 6 }, true)).toBe(43 * 128)
  })

  it('has its limits', () => {
    expect(bestStepTokens({ ...M2, experts: 8 }, true)).toBe(512)
    expect(bestStepTokens({ ...M2, experts: 4096 }, true)).toBe(8192)
    expect(bestStepTokens(M2, false)).toBe(512)
  })

  it("counts a context as the model's attention costs", () => {
    // 39.5 M of products against 4 x 48 x 128 for each token of context.
    expect(contextPerToken(M2)).toBe((2 * 3072 * ((48 + 8) * 2 * 128 + 256 + 3 * 8 * 1536)) / (4 * 48 * 128))
    expect(contextPerToken(M2)).toBeCloseTo(12_864, 0)
  })
})
