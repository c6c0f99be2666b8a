import { describe, expect, it } from 'vitest'
import { costOf, tokensWithin } from '../../lib/step-cost'

describe('what prompt tokens cost', () => {
  it('is 1 each where contexts cost nothing', () => {
    expect(costOf(7, 1e6, Infinity)).toBe(7)
    expect(tokensWithin(7, 1e6, Infinity)).toBe(7)
  })

  it('grows with what they see: the sum over them of 1 and their context', () => {
    let sum = 0
    for (let i = 0; i < 50; i++) sum += 1 + (300 + i + 0.5) / 20
    expect(costOf(50, 300, 20)).toBeCloseTo(sum, 9)
  })

  it('is within the budget, and with one token more it is not', () => {
    for (const contextPerToken of [0.5, 3, 100, 12_864]) {
      for (const before of [0, 1, 64, 5000, 190_000]) {
        for (const budget of [1, 17, 512, 4096]) {
          const count = tokensWithin(budget, before, contextPerToken)
          expect(costOf(count + 1, before, contextPerToken)).toBeGreaterThan(budget)
          if (count > 1) expect(costOf(count, before, contextPerToken)).toBeLessThanOrEqual(budget + 1e-6)
        }
      }
    }
  })

  it('always lets one token go on', () => {
    expect(tokensWithin(1, 1e6, 1)).toBe(1)
  })
})
