import { describe, expect, it } from 'vitest'
import { Runner, type SequenceOwner } from '../../lib/runner'
import { type Constraint, Sequence } from '../../lib/sequence'
import { NEUTRAL } from '../scheduler/simulation'
import { FakeModel, nextId } from './fake-model'

const VOCAB = 100
const LIMITS = {
  pages: 16,
  pageSize: 4,
  rows: 4,
  stepTokens: 16,
  contextPerToken: Infinity,
  queue: 10,
  prefixCache: true,
}

/** Runs one prompt; resolves with the ids it got. */
function run(runner: Runner, prompt: number[], newTokens: number, constraint?: Constraint): Promise<number[]> {
  const ids: number[] = []
  const sequence = new Sequence({
    ...{ arrival: prompt[0]!, sampleIndex: 0, prompt: Int32Array.from(prompt), maxLength: prompt.length + newTokens },
    ...{ priority: 0, deadline: Infinity, sampling: NEUTRAL, constraint },
  })
  const owner: SequenceOwner = {
    sequence,
    accept(id) {
      ids.push(id)
      return false
    },
    end() {},
  }
  return new Promise((resolve, reject) => {
    runner.submit({ samples: [owner], complete: () => resolve(ids), fail: reject })
  })
}

describe('a sequence under a constraint', () => {
  it('fails by name when its mask allows no id, and no other does', async () => {
    const runner = new Runner(new FakeModel({ ...LIMITS, vocabSize: VOCAB }), LIMITS)
    let asked = 0
    const mask = () => new Int32Array(4).fill(++asked < 3 ? -1 : 0)
    const constrained = run(runner, [1, 2], 9, { isLive: true, mask })
    const free = run(runner, [5, 6, 7], 9)
    await expect(constrained).rejects.toMatchObject({
      code: 'DEVICE_ERROR',
      message: 'sequence 1: expected an id that its constraint allows, found none at position 4',
    })
    const expected = [5, 6, 7]
    while (expected.length < 12) expected.push(nextId(expected, VOCAB, { temperature: 0, seedLow: 0, sampleIndex: 0 }))
    expect(await free).toEqual(expected.slice(3))
    expect(runner.counts.pages.private).toBe(0)
  })
})

describe('steps', () => {
  it('are handed over two at a time', async () => {
    const model = new FakeModel({ ...LIMITS, vocabSize: VOCAB })
    const runner = new Runner(model, LIMITS)
    let inFlight = 0
    const seen: number[] = []
    const forward = model.forward.bind(model)
    model.forward = async (batch) => {
      seen.push(++inFlight)
      const result = await forward(batch)
      inFlight--
      return result
    }
    expect(await run(runner, [1, 2], 6)).toHaveLength(6)
    expect([seen.length, Math.max(...seen)]).toEqual([6, 2])
    seen.length = 0
    await run(runner, [3, 4], 6, { isLive: true, mask: () => new Int32Array(4).fill(-1) })
    expect([seen.length, Math.max(...seen)]).toEqual([6, 1])
  })
})
