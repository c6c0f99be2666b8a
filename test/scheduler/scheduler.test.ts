import { describe, expect, it } from 'vitest'
import { expectedIds, generated, NEUTRAL, randomNumbers, Simulation } from './simulation'

const ids = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i)

describe('the scheduler', () => {
  it('computes a prompt in chunks of the step and then decodes one token a step', () => {
    const simulation = new Simulation({ pages: 8, pageSize: 4, rows: 4, stepTokens: 5 })
    const [sequence] = simulation.add(ids(12), 3)
    const computed: number[] = []
    while (simulation.scheduler.hasWork) {
      simulation.step(0, () => computed.push(sequence!.scheduled))
    }
    expect(computed).toEqual([5, 5, 2, 1, 1])
    expect(generated(sequence!)).toEqual(expectedIds(sequence!))
  })

  it('decodes what runs while a prompt is computed with the rest of the step', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 8 })
    const [first] = simulation.add(ids(3), 20)
    simulation.step()
    const [second] = simulation.add(ids(30), 5)
    for (let i = 0; i < 4; i++) simulation.step()
    expect(first!.length).toBe(3 + 5)
    expect(second!.computed).toBe(4 * 7)
    simulation.run()
    for (const sequence of [first!, second!]) expect(generated(sequence)).toEqual(expectedIds(sequence))
  })

  it('lets in by priority, then by arrival, and nobody overtakes', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 8 })
    const [low] = simulation.add(ids(2), 2, { priority: -1 })
    const [first] = simulation.add(ids(2, 10), 2)
    const [second] = simulation.add(ids(2, 20), 2)
    const [urgent] = simulation.add(ids(2, 30), 2, { priority: 5 })
    simulation.run()
    expect(simulation.ended).toEqual([urgent, first, second, low])
  })

  it('sends the worst ranked back when pages run out, and its ids are the same as alone', () => {
    const simulation = new Simulation({ pages: 6, pageSize: 4, rows: 4, stepTokens: 16 })
    const sequences = [0, 1, 2].flatMap((i) => simulation.add(ids(3, 100 * i), 17))
    let preempted = 0
    while (simulation.scheduler.hasWork) {
      const running = new Set(sequences.filter((sequence) => sequence.state === 'running'))
      simulation.step(0, () => {
        preempted += sequences.filter((sequence) => running.has(sequence) && sequence.state === 'waiting').length
        // The best ranked of all never gives way.
        expect(sequences.find((sequence) => sequence.state !== 'finished')?.state).toBe('running')
      })
    }
    expect(preempted).toBeGreaterThan(0)
    expect(simulation.ended).toHaveLength(3)
    for (const sequence of sequences) expect(generated(sequence)).toEqual(expectedIds(sequence))
  })

  it('shares the full pages of a prompt among its samples and copies the rest', () => {
    const simulation = new Simulation({ pages: 20, pageSize: 4, rows: 4, stepTokens: 64 })
    const samples = simulation.add(ids(10), 3, { n: 3 })
    simulation.step()
    // Two full pages once, and a partly filled one for each.
    expect(simulation.cache.counts()).toEqual({ total: 20, free: 15, cached: 0, private: 5 })
    simulation.run()
    for (const sample of samples) expect(generated(sample)).toEqual(expectedIds(sample))
    expect(new Set(samples.map((sample) => generated(sample).join())).size).toBe(3)
    expect(simulation.cache.counts().free).toBe(20)
  })

  it('computes a sample later when no page is free for its fork', () => {
    const simulation = new Simulation({ pages: 4, pageSize: 4, rows: 3, stepTokens: 64 })
    const samples = simulation.add(ids(13), 3, { n: 3 })
    simulation.run()
    for (const sample of samples) expect(generated(sample)).toEqual(expectedIds(sample))
  })

  it('waits until all samples of a prompt have rows', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 3, stepTokens: 64 })
    const [alone] = simulation.add(ids(4), 5)
    const samples = simulation.add(ids(4, 50), 5, { n: 3 })
    simulation.step()
    expect(samples[0]!.state).toBe('waiting')
    simulation.run()
    expect(simulation.ended[0]).toBe(alone)
    for (const sample of samples) expect(generated(sample)).toEqual(expectedIds(sample))
  })

  it('takes the rows of all samples back when their prompt gives way half computed', () => {
    const simulation = new Simulation({ pages: 16, pageSize: 2, rows: 4, stepTokens: 4 })
    const [first] = simulation.add(ids(2), 22)
    const samples = simulation.add(ids(24, 50), 2, { n: 3 })
    const states: string[] = []
    while (simulation.scheduler.hasWork) simulation.step(0, () => states.push(samples[0]!.state))
    expect(states[0]).toBe('running')
    expect(states).toContain('waiting')
    for (const sequence of [first!, ...samples]) expect(generated(sequence)).toEqual(expectedIds(sequence))
  })

  it('tells the device the ids of a row with penalties, also after preemption and forced ids', () => {
    const simulation = new Simulation({ pages: 6, pageSize: 4, rows: 4, stepTokens: 16 })
    const penalties = { sampling: { ...NEUTRAL, temperature: 1, presencePenalty: 0.5 } }
    const sequences = [0, 1, 2].flatMap((i) => simulation.add(ids(3, 100 * i), 17, penalties))
    simulation.step()
    sequences[0]!.force([7, 8])
    const forcedAt = sequences[0]!.length
    simulation.run()
    for (const sequence of sequences.slice(1)) expect(generated(sequence)).toEqual(expectedIds(sequence))
    expect(generated(sequences[0]!).slice(1, 3)).toEqual([7, 8])
    expect(forcedAt).toBeLessThan(sequences[0]!.length)
  })

  it('does not force ids beyond the end', () => {
    const simulation = new Simulation({ pages: 6, pageSize: 4, rows: 4, stepTokens: 16 })
    const [sequence] = simulation.add(ids(3), 3)
    simulation.step()
    sequence!.force([1, 2, 3, 4, 5])
    expect(sequence!.length).toBe(6)
    expect(sequence!.isFull).toBe(true)
  })

  it('names sequences whose deadline has passed, waiting ones and followers too', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 2, stepTokens: 64 })
    const [running] = simulation.add(ids(4), 50, { deadline: 10 })
    const [other] = simulation.add(ids(4), 3)
    const samples = simulation.add(ids(4), 50, { deadline: 5, n: 2 })
    simulation.step(0)
    simulation.step(9)
    expect(simulation.ended).toEqual(samples)
    simulation.step(10)
    expect(running!.state).toBe('finished')
    simulation.run()
    expect(generated(other!)).toEqual(expectedIds(other!))
  })

  it('notes when a sequence first got into a step', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 64 })
    const [first] = simulation.add(ids(4), 2)
    const [second] = simulation.add(ids(4), 1)
    for (const now of [1, 2, 3]) simulation.step(now)
    expect([first!.startedAt, second!.startedAt]).toEqual([1, 3])
  })
})

describe('laws under random traffic', () => {
  for (let seed = 1; seed <= 60; seed++) {
    it(`holds them with seed ${seed}`, () => randomTraffic(seed))
  }
})

/** Random arrivals, lengths, samples, priorities, deadlines and aborts, before and during steps, in a cache that is often too small. */
function randomTraffic(seed: number): void {
  const { next, between } = randomNumbers(seed)
  const pageSize = [1, 2, 3, 4, 16][between(0, 4)]!
  const rows = between(1, 6)
  const capacity = between(8, 60)
  const simulation = new Simulation({
    pages: Math.ceil(capacity / pageSize) + between(0, 6),
    pageSize,
    rows,
    stepTokens: between(rows, 24),
  })
  const capacityTokens = simulation.cache.counts().total * pageSize
  const all: ReturnType<Simulation['add']> = []
  const abortOne = () => {
    const live = [...simulation.live]
    const victim = live[between(0, live.length - 1)]
    if (!victim) return
    // A request ends with all its samples, as generations do.
    for (const sample of live.filter((one) => one.arrival === victim.arrival)) simulation.end(sample)
  }
  let now = 0
  for (let arrivals = 0; arrivals < 40; now++) {
    while (next() < 0.4 && arrivals < 40) {
      const length = between(1, Math.min(30, capacityTokens - 1))
      const sampling = { ...NEUTRAL, temperature: next() < 0.5 ? 0 : 1, seedLow: arrivals }
      if (next() < 0.3) sampling.frequencyPenalty = 0.5
      const prompt = Array.from({ length }, () => between(0, 999))
      all.push(
        ...simulation.add(prompt, between(1, Math.min(30, capacityTokens - length)), {
          n: between(1, Math.min(3, rows)),
          priority: between(0, 2),
          deadline: next() < 0.1 ? now + between(0, 20) : Infinity,
          sampling,
        }),
      )
      arrivals++
    }
    if (next() < 0.05) abortOne()
    simulation.step(now, () => next() < 0.05 && abortOne())
  }
  simulation.run()
  expect(simulation.live.size).toBe(0)
  expect(simulation.ended).toHaveLength(all.length)
  expect(simulation.cache.counts().free).toBe(simulation.cache.counts().total)
  for (const sequence of all) expect(generated(sequence)).toEqual(expectedIds(sequence))
}
