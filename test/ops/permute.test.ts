import { describe, expect, it } from 'vitest'
import { ISAS, i32, opsFor, THREADS } from './helpers'
import { permutation, routing, type Spread } from './moe.helpers'

describe.each(ISAS)('permute on %s', (isa) => {
  it.each<[number, number, number, Spread]>([
    [1, 1, 1, 'random'],
    [1, 256, 8, 'random'],
    [5, 9, 3, 'emptyExperts'],
    [64, 4, 1, 'oneTakesAll'],
    [70, 16, 4, 'random'],
    [513, 256, 8, 'random'],
  ])('sorts %i tokens to %i experts, %i active, %s, stably', (tokens, experts, active, spread) => {
    const r = routing(tokens, experts, active, spread)
    const want = permutation(r)
    for (const threads of THREADS) {
      const [offsets, source, target] = [i32([experts + 1]), i32([tokens * active]), i32([tokens, active])]
      opsFor(isa, threads).permute({ expertIds: i32([tokens, active], r.expertIds), offsets, source, target })
      expect({ offsets: offsets.data, source: source.data, target: target.data }).toEqual(want)
    }
  })

  it('gives offsets of zero when there are no tokens', () => {
    const offsets = i32([4])
    opsFor(isa).permute({ expertIds: i32([0, 2], []), offsets, source: i32([0], []), target: i32([0, 2], []) })
    expect([...offsets.data]).toEqual([0, 0, 0, 0])
  })
})
