import { describe, expect, it } from 'vitest'
import { expectedIds, generated, NEUTRAL, Simulation, VOCAB } from './simulation'

const ids = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i)

describe('the scheduler', () => {
  it('computes a prompt in chunks of the step and then decodes one token a step', () => {
    const simulation = new Simulation({ pages: 8, pageSize: 4, rows: 4, stepTokens: 5 })
    const [sequence] = simulation.add(ids(12), 3)
    simulation.run()
    expect(simulation.trace.map((plan) => plan.counts)).toEqual([[5], [5], [2], [1], [1]])
    expect(generated(sequence!)).toEqual(expectedIds(sequence!))
  })

  it('decodes what runs while a prompt is computed with the rest of the step', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 8 })
    const [first] = simulation.add(ids(3), 20)
    simulation.step()
    const [second] = simulation.add(ids(30), 5)
    simulation.run()
    const both = simulation.trace.filter((plan) => plan.sequences.length === 2)
    expect(both.slice(0, 5).map((plan) => plan.counts)).toEqual([
      [1, 7],
      [1, 7],
      [1, 7],
      [1, 7],
      [1, 2],
    ])
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
    while (!simulation.isIdle) {
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
    expect(simulation.cache.counts()).toEqual({ total: 20, free: 15, cached: 2, private: 3 })
    simulation.run()
    for (const sample of samples) expect(generated(sample)).toEqual(expectedIds(sample))
    expect(new Set(samples.map((sample) => generated(sample).join())).size).toBe(3)
    // 10 + 3 tokens, of which the last needs no K and V: the page that each has filled is cached.
    expect(simulation.cache.counts()).toEqual({ total: 20, free: 15, cached: 5, private: 0 })
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
    while (!simulation.isIdle) simulation.step(0, () => states.push(samples[0]!.state))
    expect(states[0]).toBe('running')
    expect(states).toContain('waiting')
    for (const sequence of [first!, ...samples]) expect(generated(sequence)).toEqual(expectedIds(sequence))
  })

  it('tells the device the ids of a row with penalties, also after preemption and forced ids', () => {
    const simulation = new Simulation({ pages: 6, pageSize: 4, rows: 4, stepTokens: 16 })
    const penalties = { sampling: { ...NEUTRAL, temperature: 1, presencePenalty: 0.5 } }
    const sequences = [0, 1, 2].flatMap((i) => simulation.add(ids(3, 100 * i), 17, penalties))
    simulation.step()
    simulation.force(sequences[0]!, [7, 8])
    simulation.run()
    for (const sequence of sequences) expect(generated(sequence)).toEqual(expectedIds(sequence, simulation.forced))
    expect(generated(sequences[0]!).slice(1, 3)).toEqual([7, 8])
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

  it('gives half of a step to a long prompt, and lets a short one that came later pass', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 16 })
    const [long] = simulation.add(ids(200), 1)
    const [short] = simulation.add(ids(12, 500), 1)
    simulation.run()
    expect(simulation.trace[0]).toMatchObject({ sequences: [long, short], counts: [8, 8] })
    expect(simulation.trace[1]).toMatchObject({ sequences: [long, short], counts: [12, 4] })
    expect(simulation.ended).toEqual([short, long])
  })

  it('computes less of a prompt the further back it looks, while another decodes', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 2, stepTokens: 33, contextPerToken: 32 })
    const [short] = simulation.add(ids(2), 60)
    simulation.step()
    const [long] = simulation.add(ids(200, 10), 1)
    simulation.run()
    const chunks = simulation.trace.flatMap(({ sequences, counts }) => {
      const at = sequences.indexOf(long!)
      return at < 0 ? [] : [counts[at]!]
    })
    // 32 are left beside the decode, half of them first: n + n (before + n / 2) / 32 for n tokens.
    expect(chunks.slice(0, 3)).toEqual([23, 16, 13])
    expect(chunks.at(-2)).toBeLessThan(6)
    expect(short!.length).toBe(62)
    expect(simulation.trace.every(({ cost }) => cost <= 33)).toBe(true)
  })

  it('fills the step with a long prompt while nobody decodes', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 32, contextPerToken: 1 })
    simulation.add(ids(100), 1)
    simulation.run()
    expect(simulation.trace.map(({ tokens }) => tokens)).toEqual([32, 32, 32, 4])
  })

  it('gives a waiting sequence of higher priority the place of the worst ranked', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 8 })
    const [low] = simulation.add(ids(5), 30)
    simulation.step()
    const [urgent] = simulation.add(ids(5, 10), 3, { priority: 1 })
    simulation.run()
    expect(simulation.ended).toEqual([urgent, low])
    expect(generated(low!)).toEqual(expectedIds(low!))
  })

  it('plans the next step before the ids of the last are known', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 8 })
    const [sequence] = simulation.add(ids(3), 4)
    simulation.step(0, () => expect([sequence!.length, sequence!.planned, sequence!.pending]).toEqual([3, 4, 2]))
    expect([sequence!.length, sequence!.planned, sequence!.pending]).toEqual([4, 4, 1])
    simulation.run()
    expect(generated(sequence!)).toEqual(expectedIds(sequence!))
    expect(simulation.trace).toHaveLength(4) // none beyond the last id
  })

  it('plans nothing ahead for a sequence under a constraint', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 2, stepTokens: 8 })
    const asked: number[] = []
    const [constrained] = simulation.add(ids(3), 4, {
      constraint: {
        isLive: true,
        mask: () => {
          asked.push(constrained!.pending)
          return new Int32Array(Math.ceil(VOCAB / 32)).fill(-1)
        },
      },
    })
    const [free] = simulation.add(ids(4, 10), 9)
    simulation.run()
    expect(asked).toEqual([1, 1, 1, 1]) // its own id alone
    for (const sequence of [constrained!, free!]) expect(generated(sequence)).toEqual(expectedIds(sequence))
  })

  it('lets a constraint choose anew before each id, from the ids so far', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 2, stepTokens: 8 })
    const [constrained] = simulation.add(ids(3), 6, {
      constraint: {
        isLive: true,
        // Only the number of ids so far may come next.
        mask: () => {
          const bits = new Int32Array(Math.ceil(VOCAB / 32))
          bits[constrained!.length >> 5]! |= 1 << (constrained!.length & 31)
          return bits
        },
      },
    })
    const [free] = simulation.add(ids(4, 10), 9)
    simulation.run()
    expect(generated(constrained!)).toEqual([3, 4, 5, 6, 7, 8])
    expect(generated(free!)).toEqual(expectedIds(free!))
  })

  it('drops the id that was sampled ahead where others are forced', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 8 })
    const [sequence] = simulation.add(ids(3), 8)
    simulation.step()
    simulation.force(sequence!, [7, 8])
    simulation.run()
    expect(generated(sequence!)).toEqual(expectedIds(sequence!, simulation.forced))
    expect(generated(sequence!).slice(1, 3)).toEqual([7, 8])
  })

  it.each([1, 2, 3, 4, 5, 6])('samples an id anew where none is forced, %i steps on', (steps) => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 8 })
    const [sequence] = simulation.add(ids(3), 8)
    for (let i = 0; i < steps; i++) simulation.step()
    simulation.force(sequence!, [])
    simulation.run()
    expect(generated(sequence!)).toEqual(expectedIds(sequence!))
  })

  it('takes the place of a parked sequence, which goes on where it was', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 1, stepTokens: 64 })
    const [slow] = simulation.add(ids(20), 30)
    for (let i = 0; i < 10; i++) simulation.step()
    simulation.scheduler.park(slow!)
    expect(simulation.scheduler.counts).toEqual({ running: 0, waiting: 1 })
    const [other] = simulation.add(ids(5, 100), 3)
    simulation.run()
    expect(simulation.ended).toEqual([other])
    const before = simulation.trace.length
    simulation.scheduler.resume(slow!)
    simulation.run()
    expect(simulation.trace[before]!.counts[0]).toBeLessThanOrEqual(4) // the rest is still cached
    expect(generated(slow!)).toEqual(expectedIds(slow!))
  })
})

describe('shared prefixes', () => {
  const system = ids(32, 300)

  it('are not computed again, and counted', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 64 })
    const [first] = simulation.add([...system, 1, 2, 3], 2)
    simulation.run()
    const [second] = simulation.add([...system, 4, 5, 6], 2)
    simulation.run()
    expect([first!.cachedTokens, second!.cachedTokens]).toEqual([0, 32])
    expect(simulation.scheduler.cachedTokens).toBe(32)
    expect(simulation.trace[2]!.counts).toEqual([3])
    expect(generated(second!)).toEqual(expectedIds(second!))
  })

  it('of a whole prompt leave its last token to compute, which is not stored again', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 64 })
    simulation.add(system, 2)
    simulation.run()
    const [again] = simulation.add(system, 5)
    simulation.run()
    expect(again!.cachedTokens).toBe(31)
    expect(simulation.trace[2]!.counts).toEqual([1])
    expect(generated(again!)).toEqual(expectedIds(again!))
  })

  it('include what was generated', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 64 })
    const [first] = simulation.add(ids(5), 12)
    simulation.run()
    const history = [...first!.tokens.subarray(0, first!.length)]
    const [second] = simulation.add([...history, 1], 2)
    simulation.run()
    expect(second!.cachedTokens).toBe(16)
    expect(generated(second!)).toEqual(expectedIds(second!))
  })

  it('are computed once by all that come at the same time, page by page', () => {
    const simulation = new Simulation({ pages: 200, pageSize: 4, rows: 8, stepTokens: 16 })
    const users = Array.from({ length: 8 }, (_, i) => simulation.add([...system, 900 + i, i], 3)[0]!)
    simulation.run()
    const computed = simulation.trace.flatMap((plan) => plan.counts).reduce((sum, count) => sum + count, 0)
    expect(computed).toBe(32 + 8 * 2 + 8 * 2)
    expect(users.map((user) => user.cachedTokens).reduce((sum, count) => sum + count, 0)).toBe(7 * 32)
    for (const user of users) expect(generated(user)).toEqual(expectedIds(user))
  })

  it('are one page each, also where two sequences generate the same', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 64 })
    const twins = [0, 1].map(() => simulation.add(ids(6), 20, { sampling: { ...NEUTRAL } })[0]!)
    simulation.run()
    expect(generated(twins[0]!)).toEqual(generated(twins[1]!))
    expect(simulation.cache.counts()).toEqual({ total: 100, free: 94, cached: 6, private: 0 })
  })

  it('are apart where salts differ', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 64 })
    const add = (cacheSalt?: string) => {
      const [sequence] = simulation.add([...system, 1], 1, { cacheSalt })
      simulation.run()
      return sequence!.cachedTokens
    }
    expect([add('a'), add('b'), add(), add('a'), add('b'), add(''), add('c')]).toEqual([0, 0, 0, 32, 32, 32, 0])
  })

  it('are not kept where the cache is off', () => {
    const simulation = new Simulation({ pages: 100, pageSize: 4, rows: 4, stepTokens: 64, prefixCache: false })
    const sequences = [0, 1].flatMap(() => simulation.add([...system, 1], 1, { n: 2 }))
    simulation.run()
    expect(sequences.map((sequence) => sequence.cachedTokens)).toEqual([0, 0, 0, 0])
    expect(simulation.cache.counts()).toEqual({ total: 100, free: 100, cached: 0, private: 0 })
  })

  it('go when pages are needed, those first that were used least recently', () => {
    const simulation = new Simulation({ pages: 12, pageSize: 4, rows: 1, stepTokens: 64 })
    const add = (from: number) => {
      const [sequence] = simulation.add(ids(17, from), 1)
      simulation.run()
      return sequence!.cachedTokens
    }
    expect([add(0), add(100), add(0), add(200), add(0)]).toEqual([0, 0, 16, 0, 16])
    expect(add(100)).toBe(12) // its leaf has gone
  })

  it('let a preempted sequence go on from what is cached of it', () => {
    const simulation = new Simulation({ pages: 14, pageSize: 4, rows: 2, stepTokens: 64 })
    const [first] = simulation.add(ids(4), 24)
    const [second] = simulation.add(ids(24, 100), 24)
    simulation.run()
    const restarts = simulation.trace.flatMap(({ sequences, starts }) => {
      return sequences.flatMap((sequence, b) => (sequence === second && starts[b]! > 0 ? [starts[b]!] : []))
    })
    expect(Math.min(...restarts)).toBeGreaterThanOrEqual(16)
    for (const sequence of [first!, second!]) expect(generated(sequence)).toEqual(expectedIds(sequence))
  })
})
