import { describe, expect, it } from 'vitest'
import { DEVICES, f32, i32, type Numbers, opsFor, Random, threadsOf } from './helpers'
import { logSoftmax, optionsOf } from './reference-sampler'
import { positions, type Row, randomRow, run } from './sample.helpers'

const row = (...logits: number[]) => Float32Array.from(logits)

/** The sum of the softmax is good to 1e-7 in f32, which its logarithm makes absolute; the logprob itself is rounded to f32. */
function expectLogprobs(got: Numbers, want: Numbers) {
  expect(got.length).toBe(want.length)
  for (let i = 0; i < want.length; i++)
    expect(Math.abs(got[i]! - want[i]!)).toBeLessThanOrEqual(3e-7 + 2 ** -24 * Math.abs(want[i]!))
}

describe.each(DEVICES)('sample on %s', (device) => {
  describe('at temperature 0', () => {
    it('takes the largest logit, the lowest id among equals, at any vocabulary size', () => {
      for (const vocab of [1, 2, 15, 16, 17, 31, 32, 33, 1000]) {
        const random = new Random(vocab)
        const rows = Array.from({ length: 40 }, () => ({
          temperature: 0,
          logits: Float32Array.from({ length: vocab }, () => random.integer(12) - 20),
        }))
        expect(run(device, rows).ids).toEqual(rows.map((r) => r.logits.indexOf(Math.max(...r.logits))))
      }
    })

    it('holds 0 and -0 for equal', () => {
      expect(
        run(device, [
          { temperature: 0, logits: row(-1, -0, 0) },
          { temperature: 0, logits: row(-1, 0, -0) },
        ]).ids,
      ).toEqual([1, 1])
    })

    it('ignores seed, top-k, top-p and min-p', () => {
      const logits = row(1, 3, 2, 3)
      expect(
        run(device, positions(50, { temperature: 0, topK: 3, topP: 0.1, minP: 0.5, seed: 5n, logits })).ids,
      ).toEqual(new Array(50).fill(1))
    })
  })

  describe('with targets', () => {
    const random = new Random(12)
    const logits = Array.from({ length: 9 }, () => random.normals(1000, 3))
    const wanting = logits.map((one) => ({ logits: one, logprobs: 0, temperature: 0 }))

    it('draws nothing and gives their logprobs, with the bits that drawn ids have', () => {
      const drawn = run(device, wanting)
      const targets = run(device, wanting, { targets: drawn.ids })
      expect([targets.ids, targets.logprobs]).toEqual([drawn.ids, drawn.logprobs])
      const ids = logits.map((_, n) => 111 * n)
      const others = run(device, wanting, { targets: ids })
      expect(others.ids).toEqual(ids)
      expectLogprobs(
        others.logprobs,
        ids.map((id, n) => logSoftmax(logits[n]!)[id]!),
      )
      expect(drawn.lastIds).toEqual(drawn.ids)
      expect(others.lastIds).toEqual(ids.map(() => 0))
    })

    it('says -1 where logits are not finite, and knows what cannot come', () => {
      const rows = [row(1, Number.NaN), row(1, Infinity), row(-Infinity, -Infinity), row(1, -Infinity)]
      const given = rows.map((one) => ({ logits: one, logprobs: 0, temperature: 0 }))
      const { ids, logprobs } = run(device, given, { targets: [0, 0, 0, 1] })
      expect(ids).toEqual([-1, -1, -1, 1])
      expect(logprobs[3]).toBe(-Infinity)
    })
  })

  describe('support', () => {
    const drawn = (options: Row, ban: number[] = []) =>
      [...new Set(run(device, positions(3000, options), { ban }).ids)].sort((a, b) => a - b)
    const logits = row(...[0.1, 0.3, 0.05, 0.2, 0.3, 0.05].map(Math.log))

    it('top-k keeps the k largest, the lower ids among equals', () => {
      expect(drawn({ logits, topK: 1 })).toEqual([1])
      expect(drawn({ logits, topK: 2 })).toEqual([1, 4])
      expect(drawn({ logits, topK: 5 })).toEqual([0, 1, 2, 3, 4])
      expect(drawn({ logits, topK: 0 })).toEqual([0, 1, 2, 3, 4, 5])
      expect(drawn({ logits, topK: 60 })).toEqual([0, 1, 2, 3, 4, 5])
    })

    it('top-p keeps the smallest set that reaches it, the lower ids among equals, at least one', () => {
      expect(drawn({ logits, topP: 0 })).toEqual([1])
      expect(drawn({ logits, topP: 0.29 })).toEqual([1])
      expect(drawn({ logits, topP: 0.31 })).toEqual([1, 4])
      expect(drawn({ logits, topP: 0.79 })).toEqual([1, 3, 4])
      expect(drawn({ logits, topP: 0.93 })).toEqual([0, 1, 2, 3, 4])
      expect(drawn({ logits, topP: 1 })).toEqual([0, 1, 2, 3, 4, 5])
    })

    it('top-p counts over equals at any temperature', () => {
      const equals = row(1, 1, 0, 1, 1)
      for (const temperature of [1e-3, 1e-30, 1e-40]) {
        expect(drawn({ logits: equals, temperature, topP: 0.9 })).toEqual([0, 1, 3, 4])
        expect(drawn({ logits: equals, temperature, topP: 0.6 })).toEqual([0, 1, 3])
      }
    })

    it('top-p counts over what top-k left', () => {
      expect(drawn({ logits, topK: 2, topP: 0.49 })).toEqual([1])
      expect(drawn({ logits, topK: 3, topP: 0.76 })).toEqual([1, 3, 4])
      expect(drawn({ logits, topK: 3, topP: 0.74 })).toEqual([1, 4])
    })

    it('min-p keeps what is at least that share of the largest', () => {
      expect(drawn({ logits, minP: 0.32 })).toEqual([0, 1, 3, 4])
      expect(drawn({ logits, minP: 0.34 })).toEqual([1, 3, 4])
      expect(drawn({ logits, minP: 1 })).toEqual([1, 4])
    })

    it('temperature comes before top-p and min-p', () => {
      // Shares at temperature 0.5: 0.38 for ids 1 and 4, 0.17 for 3, 0.04 for 0.
      expect(drawn({ logits, temperature: 0.5, topP: 0.76 })).toEqual([1, 4])
      expect(drawn({ logits, temperature: 0.5, topP: 0.78 })).toEqual([1, 3, 4])
      expect(drawn({ logits, temperature: 0.5, minP: 0.46 })).toEqual([1, 4])
      expect(drawn({ logits, temperature: 0.5, minP: 0.12 })).toEqual([1, 3, 4])
    })

    it('never holds a banned id, even one with all the mass', () => {
      expect(drawn({ logits }, [1, 4])).toEqual([0, 2, 3, 5])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1) }, [1])).toEqual([0, 2, 3, 4, 5])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), temperature: 0 }, [1])).toEqual([0])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), topK: 1 }, [1])).toEqual([0])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), topP: 0.1 }, [1])).toEqual([0])
      expect(drawn({ logits: row(0, 100, 0, 0, 0, -1), bias: { 1: 1000 } }, [1])).toEqual([0, 2, 3, 4, 5])
    })
  })

  describe('a mask', () => {
    const drawn = (options: Row, ban: number[] = []) =>
      [...new Set(run(device, positions(3000, options), { ban }).ids)].sort((a, b) => a - b)
    const logits = row(...[0.1, 0.3, 0.05, 0.2, 0.3, 0.05].map(Math.log))
    const allow = (...ids: number[]) => new Set(ids)

    it('lets only its ids come, each of them, at the edges of its words', () => {
      for (const vocab of [31, 32, 33, 63, 64, 65, 97]) {
        const edges = [0, 30, 31, 32, 33, 62, 63, 64, 95, 96].filter((id) => id < vocab)
        const flat = new Float32Array(vocab)
        expect(drawn({ logits: flat, mask: new Set(edges) })).toEqual(edges)
        // The others in turn: words of all ones beside the one that lacks an id.
        const all = Array.from(flat.keys())
        const rows = all.map((lacked) => ({
          logits: flat.map((_, id) => (id === lacked ? 9 : id === (lacked + 1) % vocab ? 5 : 0)),
          temperature: 0,
          mask: new Set(all.filter((id) => id !== lacked)),
        }))
        expect(run(device, rows).ids).toEqual(all.map((id) => (id + 1) % vocab))
      }
    })

    it('comes before top-k, top-p and min-p, which count over what it leaves', () => {
      const mask = allow(0, 2, 3, 5) // shares 0.25, 0.125, 0.5, 0.125
      expect(drawn({ logits, mask, topK: 1 })).toEqual([3])
      expect(drawn({ logits, mask, topK: 2 })).toEqual([0, 3])
      expect(drawn({ logits, mask, topP: 0.49 })).toEqual([3])
      expect(drawn({ logits, mask, topP: 0.74 })).toEqual([0, 3])
      expect(drawn({ logits, mask, topP: 0.76 })).toEqual([0, 2, 3])
      expect(drawn({ logits, mask, minP: 0.26 })).toEqual([0, 3])
      expect(drawn({ logits, mask, minP: 0.24 })).toEqual([0, 2, 3, 5])
    })

    it('stands beside bans, bias and penalties, which cannot bring an id back', () => {
      expect(drawn({ logits, mask: allow(0, 1, 4) }, [1])).toEqual([0, 4])
      expect(drawn({ logits, mask: allow(0, 4), bias: { 1: 1000 } })).toEqual([0, 4])
      expect(drawn({ logits, mask: allow(0, 4), bias: { 0: -Infinity } })).toEqual([4])
    })

    it('leaves logprobs and alternatives those of the raw logits', () => {
      const [want] = run(device, [{ logits, temperature: 0, logprobs: 6 }]).top
      const got = run(device, [{ logits, temperature: 0, logprobs: 6, mask: allow(0, 2) }])
      expect(got.ids).toEqual([0])
      expect(got.top).toEqual([want])
      expectLogprobs(got.logprobs, [Math.log(0.1)])
    })

    it('gives -2 where none of its ids can come, and only there', () => {
      const gone = row(0, -Infinity, 1, 2)
      for (const options of [{ temperature: 0 }, {}, { topK: 2 }, { topP: 0.5, logprobs: 2 }, { minP: 0.5 }]) {
        const rows = [
          { logits: gone, mask: allow() },
          { logits: gone, mask: allow(1) },
          { logits: gone, mask: allow(3) }, // banned
          { logits: gone, mask: allow(2), bias: { 2: -Infinity } },
          { logits: gone, mask: allow(0, 1, 3) },
          { logits: row(Number.NaN, 0, 0, 0), mask: allow(1) },
          { logits: gone },
        ].map((r) => ({ ...options, ...r }))
        const { ids } = run(device, rows, { ban: [3] })
        expect(ids.slice(0, 6)).toEqual([-2, -2, -2, -2, 0, -1])
        expect([0, 2]).toContain(ids[6]) // no mask: what is neither banned nor gone
      }
    })
  })

  describe('bias and penalties', () => {
    const greedy = (options: Row) => run(device, [{ temperature: 0, ...options }]).ids[0]
    const history = (generated: number[], prompt: number[]) => ({
      generatedCounts: Int32Array.from(generated),
      inPrompt: Uint8Array.from(prompt),
    })

    it('adds the bias', () => {
      expect(greedy({ logits: row(1, 2, 3), bias: { 0: 2.5 } })).toBe(0)
      expect(greedy({ logits: row(1, 2, 3), bias: { 2: -1.5 } })).toBe(1)
      expect(greedy({ logits: row(1, 2, 3), bias: { 2: -Infinity, 1: -100 } })).toBe(0)
    })

    it('adds several biases of an id in their order, wherever they stand', () => {
      const vocab = 300
      const ids = Array.from({ length: 70 }, (_, i) => 2 * i) // below 140: two groups of ids, three rounds of a warp
      ids.splice(33, 0, 128, 299)
      ids.push(128, 299, 299)
      const values = ids.map(() => 0.5)
      // (1e8 - 1e8) + 1.6 is 1.6, in any other order it is 0.
      values[33] = 1e8
      values[ids.indexOf(128, 34)] = -1e8
      values[ids.lastIndexOf(128)] = 1.6
      const out = i32([1], [-5])
      opsFor(device).sample({
        logits: f32([1, vocab], new Float32Array(vocab)),
        samplingFloats: Float32Array.of(0, 1, 0, 1, 0, 0),
        samplingInts: Int32Array.of(0, -1, 0, 0, 0, 0),
        rows: i32([1], [0]),
        lastIds: i32([1], [0]),
        biasOffsets: i32([2], [0, ids.length]),
        biasIds: i32([ids.length], ids),
        biasValues: f32([ids.length], Float32Array.from(values)),
        ids: out,
      })
      expect([...out.data]).toEqual([128]) // 299 has 0.5 + 0.5 + 0.5
    })

    it('repetition divides positive and multiplies negative logits of what prompt or output hold', () => {
      expect(greedy({ logits: row(3, 2), repetitionPenalty: 1.6, history: history([0, 0], [1, 0]) })).toBe(1)
      expect(greedy({ logits: row(3, 2), repetitionPenalty: 1.6, history: history([1, 0], [0, 0]) })).toBe(1)
      expect(greedy({ logits: row(3, 2), repetitionPenalty: 1.4, history: history([9, 0], [1, 0]) })).toBe(0)
      expect(greedy({ logits: row(-2, -3), repetitionPenalty: 1.6, history: history([0, 0], [1, 0]) })).toBe(1)
    })

    it('presence subtracts once and frequency per count, for generated tokens only', () => {
      expect(greedy({ logits: row(3, 2), presencePenalty: 1.5, history: history([1, 0], [0, 0]) })).toBe(1)
      expect(greedy({ logits: row(3, 2), presencePenalty: 0.9, history: history([5, 0], [0, 0]) })).toBe(0)
      expect(greedy({ logits: row(3, 2), presencePenalty: 1.5, history: history([0, 0], [1, 0]) })).toBe(0)
      expect(greedy({ logits: row(3, 2), frequencyPenalty: 0.4, history: history([2, 0], [1, 1]) })).toBe(0)
      expect(greedy({ logits: row(3, 2), frequencyPenalty: 0.4, history: history([3, 0], [1, 1]) })).toBe(1)
    })

    it('comes in the order bias, repetition, frequency and presence', () => {
      // (2 + 2) / 2 - 1 = 1 against 1.1; any other order gives 2 or more.
      const p = { repetitionPenalty: 2, presencePenalty: 1, history: history([1, 0], [0, 0]) }
      expect(greedy({ logits: row(2, 1.1), bias: { 0: 2 }, ...p })).toBe(1)
      expect(greedy({ logits: row(2, 0.9), bias: { 0: 2 }, ...p })).toBe(0)
    })
  })

  describe('logprobs', () => {
    it('are the log-softmax of the raw logits, whatever else is set', () => {
      const random = new Random(11)
      const vocab = 333
      const rows = Array.from({ length: 30 }, (_, position) =>
        optionsOf({
          position,
          logprobs: 5,
          topK: 3,
          temperature: 0.5,
          bias: { 7: 4 },
          repetitionPenalty: 1.5,
          history: null,
        }),
      ).map((o) => ({ ...o, logits: random.normals(vocab, 4, 20) }))
      const got = run(device, rows, { ban: [0, 1, 2] })
      rows.forEach((r, n) => {
        const want = logSoftmax(r.logits)
        const order = Array.from(want.keys()).sort((a, b) => want[b]! - want[a]! || a - b)
        expect(got.top[n]!.ids).toEqual(order.slice(0, 5))
        expectLogprobs(
          got.top[n]!.logprobs,
          order.slice(0, 5).map((id) => want[id]!),
        )
        expectLogprobs([got.logprobs[n]!], [want[got.ids[n]!]!])
      })
    })

    it('come per row as asked: none, only the own one, or alternatives with ties by id', () => {
      const logits = row(1, 2, 2, 2, 0)
      const got = run(device, [
        { logits, temperature: 0, logprobs: 3 },
        { logits, temperature: 0 },
        { logits, temperature: 0, logprobs: 0 },
        { logits, temperature: 0, logprobs: 5 },
      ])
      expect(got.ids).toEqual([1, 1, 1, 1])
      expect(got.top.map((t) => t.ids)).toEqual([[1, 2, 3], [], [], [1, 2, 3, 0, 4]])
      for (const n of [0, 2, 3]) expectLogprobs([got.logprobs[n]!], [logSoftmax(logits)[1]!])
    })

    it('come in any number: more than a list holds, ties and impossible ids included', () => {
      const random = new Random(12)
      const vocab = 5003
      const some = random.normals(vocab, 3)
      const rows = [
        { logits: some, logprobs: 1000 },
        { logits: some.map((x) => Math.round(x)), logprobs: 1024 },
        { logits: some.map((x) => Math.round(x)), logprobs: 1025 },
        { logits: new Float32Array(vocab).fill(2), logprobs: 3100 },
        { logits: some.map((x, id) => (id % 3 === 0 ? x : -Infinity)), logprobs: vocab },
        { logits: some.map((_, id) => (id === 700 ? 0 : -Infinity)), logprobs: 40 },
        { logits: some.map((_, id) => (id < 2048 ? 5 : -Infinity)), logprobs: 2100 },
      ].map((r) => ({ temperature: 0, ...r }))
      const got = run(device, rows)
      rows.forEach(({ logits, logprobs }, n) => {
        const want = logSoftmax(logits)
        const order = Array.from(want.keys()).sort((a, b) => want[b]! - want[a]! || a - b || 0)
        const best = order.slice(0, logprobs)
        expect(got.top[n]!.ids).toEqual(best)
        expectLogprobs(
          got.top[n]!.logprobs.filter((x) => x > -Infinity),
          best.map((id) => want[id]!).filter((x) => x > -Infinity),
        )
      })
    })

    it('are -Infinity where the logit is', () => {
      const got = run(device, [{ logits: row(-Infinity, 0, -Infinity), temperature: 0, logprobs: 3 }])
      expect(got.top[0]).toEqual({ ids: [1, 0, 2], logprobs: [0, -Infinity, -Infinity] })
    })
  })

  it('gives -1 for rows with NaN, +Infinity or nothing to draw, and only for them', () => {
    const bad = [
      row(0, Number.NaN, 1, 2),
      row(0, Infinity, 1, 2),
      new Float32Array(4).fill(-Infinity),
      row(5, -Infinity, -Infinity, -Infinity),
    ]
    const good = [row(-Infinity, 0, -Infinity, -Infinity), row(-3e38, 3e38, 0, 0), row(0, 1, 0, 0)]
    for (const options of [{ temperature: 0 }, {}, { topK: 2 }, { topP: 0.5, logprobs: 2 }]) {
      const rows = [...bad, ...good].map((logits) => ({ ...options, logits }))
      const { ids } = run(device, rows, { ban: [0] })
      expect(ids.slice(0, 4)).toEqual([-1, -1, -1, -1])
      expect(ids.slice(4, 6)).toEqual([1, 1])
      expect(ids[6]).toBeGreaterThan(0)
    }
  })

  it('keeps the id as the last of its row, counts it where the row has penalties, and passes over rows of -1', () => {
    const logits = f32([4, 3], Float32Array.of(0, 1, 0, 0, 0, 1, Number.NaN, 0, 0, 1, 0, 0))
    const lastIds = i32([6], [1, 1, 1, 1, 1, 1])
    const history = i32([6, 3], [0, 0, 0, 4, 4, 4, 1, 1, 1, 2, 2, 2, 3, 3, 3, 5, 5, 5])
    const ids = i32([4], [9, 9, 9, 9])
    const neutral = [0, 1, 0, 1, 0, 0]
    opsFor(device).sample({
      logits,
      samplingFloats: Float32Array.from([...neutral, 0, 1, 0, 1, 0.25, 0, 0, 1, 0, 1, 0.25, 0, ...neutral]),
      samplingInts: Int32Array.from([1, 2, 3, 4].flatMap(() => [0, -1, 0, 0, 0, 0])),
      rows: i32([4], [2, 0, 3, -1]),
      lastIds,
      history,
      ids,
    })
    expect([...ids.data]).toEqual([1, 2, -1, 9])
    expect([...lastIds.data]).toEqual([2, 1, 1, 0, 1, 1])
    expect([...history.data]).toEqual([0, 0, 2, 4, 4, 4, 1, 1, 1, 2, 2, 2, 3, 3, 3, 5, 5, 5])
  })

  it('gives a row the same result alone, in any batch and with any number of threads', () => {
    const random = new Random(21)
    const rows = Array.from({ length: 67 }, () => randomRow(random, 3001))
    const results = (given: Row[], threads?: number) => {
      const { ids, logprobs, top } = run(device, given, { threads })
      return ids.map((id, n) => (id < 0 ? { id } : { id, logprob: logprobs[n], top: top[n] }))
    }
    const together = results(rows)
    for (const threads of threadsOf(device)) expect(results(rows, threads)).toEqual(together)
    expect(results([...rows].reverse()).reverse()).toEqual(together)
    expect(rows.flatMap((one) => results([one]))).toEqual(together)
  })
})
