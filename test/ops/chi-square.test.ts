import { describe, expect, it } from 'vitest'
import { pValue, upperTail } from './chi-square'
import { Random } from './helpers'

describe('the chi-square test', () => {
  it.each([
    // From printed tables of the distribution.
    [3.841, 1, 0.05],
    [10.828, 1, 0.001],
    [18.307, 10, 0.05],
    [3.94, 10, 0.95],
    [29.588, 10, 0.001],
    [124.342, 100, 0.05],
    [149.449, 100, 0.001],
    [67.328, 100, 0.995],
  ])('knows that %f at %i degrees of freedom is exceeded with probability %f', (value, df, probability) => {
    expect(upperTail(value, df) / probability).toBeCloseTo(1, 2)
  })

  it('has an exact tail for two degrees of freedom: e^(-x/2)', () => {
    for (const x of [0, 0.1, 1, 2, 5, 30, 200]) expect(upperTail(x, 2) / Math.exp(-x / 2)).toBeCloseTo(1, 10)
  })

  const weights = [0.4, 0.3, 0.2, 0.099, 0.001]
  const fair = new Map(weights.map((p, id) => [id, p]))
  const draw = (random: Random, of: readonly number[]) => {
    let rest = random.uniform()
    return of.findIndex((p) => {
      rest -= p
      return rest < 0
    })
  }

  it('gives p-values that are uniform when the distribution is right', () => {
    const random = new Random(1)
    const values = Array.from({ length: 400 }, () =>
      pValue(
        Array.from({ length: 1000 }, () => draw(random, weights)),
        fair,
      ),
    )
    for (const bound of [0.1, 0.5, 0.9]) {
      const share = values.filter((p) => p < bound).length / values.length
      expect(Math.abs(share - bound)).toBeLessThan(4 * Math.sqrt((bound * (1 - bound)) / values.length))
    }
  })

  it('notices a distribution that is slightly another', () => {
    const random = new Random(2)
    const skewed = Array.from({ length: 20000 }, () => draw(random, [0.42, 0.28, 0.2, 0.099, 0.001]))
    expect(pValue(skewed, fair)).toBeLessThan(1e-6)
  })

  it('refuses what cannot be drawn, and too few draws', () => {
    expect(() => pValue([0, 1, 5], fair)).toThrow('5 was drawn')
    expect(() => pValue([0, 1, 2], fair)).toThrow('0 cells')
  })
})
