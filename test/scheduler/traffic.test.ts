/** The scheduler's laws under random traffic. `Simulation` holds them after every operation. */
import { describe, expect, it } from 'vitest'
import type { Sequence } from '../../lib/sequence'
import { expectedIds, expectedScores, generated, NEUTRAL, randomNumbers, Simulation, VOCAB } from './simulation'

describe('laws under random traffic', () => {
  for (let seed = 1; seed <= 150; seed++) {
    it(`holds them with seed ${seed}`, () => randomTraffic(seed))
  }
})

/**
 * Random arrivals, lengths, samples, texts to score, shared beginnings, salts, priorities, deadlines, aborts, halts and forced ids, before and during steps, in a
 * cache that is often too small, with ids that become known at once or up to three steps late.
 */
function randomTraffic(seed: number): void {
  const { next, between } = randomNumbers(seed)
  const pick = <T>(choices: readonly T[]): T | undefined => choices[between(0, choices.length - 1)]
  const pageSize = pick([1, 2, 3, 4, 16])!
  const rows = between(1, 6)
  const capacity = between(8, 90)
  const simulation = new Simulation({
    pages: Math.ceil(capacity / pageSize) + between(0, 6),
    pageSize,
    rows,
    stepTokens: between(rows, 24),
    contextPerToken: pick([Infinity, 0.5, 3, 20])!,
    prefixCache: next() < 0.9,
    flights: between(1, 3),
  })
  const { scheduler } = simulation
  const capacityTokens = simulation.cache.counts().total * pageSize
  const beginnings = [1, 2].map(() => Array.from({ length: 24 }, () => between(0, VOCAB - 1)))
  const all: Sequence[] = []
  const parked: Sequence[] = []
  const aborted = new Set<Sequence>()

  const arrive = () => {
    const most = Math.min(40, capacityTokens - 1)
    const own = Array.from({ length: between(1, 16) }, () => between(0, 3))
    const beginning = next() < 0.7 ? pick(beginnings)!.slice(0, between(0, 24)) : []
    const history = all.length > 0 && next() < 0.3 ? pick(all)! : undefined
    const prompt = (history ? [...history.tokens.subarray(0, history.length), ...own] : [...beginning, ...own]).slice(
      0,
      most,
    )
    const sampling = { ...NEUTRAL, temperature: next() < 0.5 ? 0 : 1, seedLow: all.length }
    if (next() < 0.3) sampling.frequencyPenalty = 0.5
    if (prompt.length > 1 && next() < 0.2) {
      all.push(...simulation.add(prompt, 0, { priority: between(0, 2), cacheSalt: pick(['', 'one']), isScored: true }))
      return
    }
    const mask = () => new Int32Array(Math.ceil(VOCAB / 32)).fill(-1)
    const samples = simulation.add(prompt, between(1, Math.min(30, capacityTokens - prompt.length)), {
      n: between(1, Math.min(3, rows)),
      priority: between(0, 2),
      deadline: next() < 0.1 ? now + between(0, 20) : Infinity,
      sampling,
      cacheSalt: pick(['', '', '', 'one', 'two']),
      ...(next() < 0.2 && { constraint: { isLive: true, mask } }),
    })
    all.push(...samples)
  }
  const disturb = () => {
    const live = [...simulation.live]
    const victim = pick(live)
    if (!victim) return
    const dice = next()
    if (dice < 0.4) {
      // A request ends with all its samples, as generations do.
      for (const sample of live.filter((one) => one.arrival === victim.arrival)) {
        simulation.end(sample)
        aborted.add(sample)
      }
    } else if (dice < 0.7 && victim.prefilled && victim.state !== 'parked') {
      scheduler.park(victim)
      parked.push(victim)
    } else if (victim.prefilled && victim.length > victim.promptLength) {
      simulation.force(
        victim,
        Array.from({ length: between(0, 4) }, () => between(0, VOCAB - 1)),
      )
    }
  }
  const resume = () => {
    for (const sequence of parked.splice(0)) if (sequence.state === 'parked') scheduler.resume(sequence)
  }

  let now = 0
  for (let arrivals = 0; arrivals < 40; now++) {
    while (next() < 0.4 && arrivals < 40) {
      arrive()
      arrivals++
    }
    if (next() < 0.1) disturb()
    if (next() < 0.1) resume()
    simulation.step(now, () => next() < 0.1 && disturb())
  }
  resume()
  simulation.run()
  expect(simulation.live.size).toBe(0)
  expect(simulation.ended).toHaveLength(all.length)
  expect(simulation.cache.counts().private).toBe(0)
  for (const sequence of all) {
    if (!sequence.scores) expect(generated(sequence)).toEqual(expectedIds(sequence, simulation.forced))
    else if (!aborted.has(sequence)) expect(sequence.scores).toEqual(expectedScores(sequence))
  }
}
