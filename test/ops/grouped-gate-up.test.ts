import { describe, expect, it } from 'vitest'
import { packWeight } from '../../lib/ops'
import {
  bf16,
  DEVICES,
  expectSameBytes,
  expectWithinTwiceNaive,
  f32,
  i32,
  opsFor,
  Random,
  round,
  threadsOf,
  toBf16,
  valuesOf,
} from './helpers'
import { expertOf, permutation, routing, type Spread } from './moe.helpers'

function problem(tokens: number, experts: number, active: number, width: number, hidden: number, spread: Spread) {
  const random = new Random(tokens + experts + width + hidden)
  const r = routing(tokens, experts, active, spread)
  return {
    ...r,
    ...permutation(r),
    width,
    hidden,
    x: toBf16(random.normals(tokens * width)),
    w: toBf16(random.normals(experts * 2 * hidden * width, 1.5 * width ** -0.5)),
  }
}
type Problem = ReturnType<typeof problem>

function truth(p: Problem, r: (v: number) => number = (v) => v): Float64Array {
  const [x, w] = [valuesOf(p.x), valuesOf(p.w)]
  const out = new Float64Array(p.source.length * p.hidden)
  const dot = (token: number, wRow: number) => {
    let sum = 0
    for (let c = 0; c < p.width; c++) sum += x[token * p.width + c]! * w[wRow * p.width + c]!
    return r(sum)
  }
  p.source.forEach((pair, row) => {
    const [token, first] = [Math.floor(pair / p.active), expertOf(p.offsets, row) * 2 * p.hidden]
    for (let f = 0; f < p.hidden; f++) {
      const [gate, up] = [dot(token, first + f), dot(token, first + p.hidden + f)]
      out[row * p.hidden + f] = r(r(gate / (1 + Math.exp(-gate))) * up)
    }
  })
  return out
}

function run(device: string, p: Problem, threads = 2, weight = pack(device, p, threads)): Uint16Array {
  const out = bf16([p.source.length, p.hidden])
  opsFor(device, threads).groupedGateUp({
    x: bf16([p.tokens, p.width], p.x),
    source: i32([p.source.length], p.source),
    offsets: i32([p.experts + 1], p.offsets),
    weight,
    out,
  })
  return out.data
}

const shapeOf = (p: Problem) => ({ experts: p.experts, n: 2 * p.hidden, k: p.width, layout: 'gateUp' as const })
const pack = (device: string, p: Problem, threads = 2) =>
  packWeight(opsFor(device, threads), shapeOf(p), bf16([p.experts, 2 * p.hidden, p.width], p.w))

/** The same weights with another set of tokens: those of `tokens`. */
function subset(p: Problem, tokens: number[]): Problem {
  const { active, width } = p
  const pick = <T extends Int32Array | Uint16Array>(from: T, size: number) =>
    tokens.flatMap((t) => [...from.subarray(t * size, (t + 1) * size)])
  const expertIds = Int32Array.from(pick(p.expertIds, active))
  const r = { tokens: tokens.length, experts: p.experts, active, expertIds }
  return { ...p, ...r, ...permutation(r), x: Uint16Array.from(pick(p.x, width)) }
}

describe.each(DEVICES)('grouped_gate_up on %s', (device) => {
  it.each<[number, number, number, number, number, Spread]>([
    [1, 1, 1, 32, 32, 'random'],
    [1, 8, 2, 96, 32, 'random'],
    [3, 4, 2, 64, 96, 'oneTakesAll'],
    [17, 6, 2, 160, 32, 'emptyExperts'],
    [70, 5, 3, 64, 64, 'random'],
    [130, 4, 1, 32, 32, 'oneTakesAll'],
    // Segments of K, 1536 on a GPU; few rows of many experts; tiles of 32, 64 and 128 rows.
    [2, 4, 2, 1568, 32, 'random'],
    [9, 9, 2, 1600, 32, 'oneTakesAll'],
    [16, 256, 8, 32, 32, 'random'],
    [64, 128, 4, 32, 32, 'random'],
    [20, 2, 1, 1568, 32, 'random'],
    [60, 3, 2, 96, 96, 'random'],
    [140, 3, 2, 32, 160, 'oneTakesAll'],
  ])('agrees with float64: %i tokens, %i experts, %i active, C %i, F %i, %s', (...shape) => {
    const p = problem(...shape)
    expectWithinTwiceNaive(valuesOf(run(device, p)), truth(p), truth(p, round))
  })

  it('takes gate rows and up rows packed apart', () => {
    const p = problem(5, 3, 2, 64, 96, 'random')
    const ops = opsFor(device)
    const weight = ops.allocateWeight(shapeOf(p))
    const values = Float32Array.from(valuesOf(p.w))
    for (let e = 2; e >= 0; e--)
      for (const [first, count] of [
        [96, 96],
        [0, 33],
        [33, 63],
      ] as const) {
        const from = (e * 192 + first) * 64
        ops.pack(weight, e, first, { values: f32([count, 64], values.subarray(from, from + count * 64)) })
      }
    expectSameBytes(run(device, p, 2, weight), run(device, p))
  })

  it.each([
    [60, 224],
    [200, 1632],
  ])(
    'gives a row the same bytes alone, in any batch and with any number of threads: %i tokens, C %i',
    (count, width) => {
      const p = problem(count, 5, 2, width, 96, 'random')
      const together = run(device, p)
      for (const threads of threadsOf(device)) expectSameBytes(run(device, p, threads), together)
      const every = (step: number) => Array.from({ length: Math.floor((count - 1) / step) }, (_, i) => step * i)
      for (const tokens of [[0], [59], [3, 30], every(15), every(2), every(1)]) {
        const part = subset(p, tokens)
        const got = run(device, part)
        part.source.forEach((pair, row) => {
          const original = p.target[tokens[Math.floor(pair / 2)]! * 2 + (pair % 2)]!
          expectSameBytes(got.slice(row * 96, (row + 1) * 96), together.slice(original * 96, (original + 1) * 96))
        })
      }
    },
  )

  it.each([
    [3, 7],
    [60, 9],
  ])('does not write the rows behind those of the last expert: %i tokens, %i more', (live, more) => {
    const p = problem(live, 4, 2, 64, 32, 'random')
    const padding = new Array(more * 2).fill(-123456789)
    const got = run(device, {
      ...p,
      tokens: live + more,
      source: Int32Array.from([...p.source, ...padding]),
      x: Uint16Array.from([...p.x, ...new Array(more * 64).fill(0x7fc0)]),
    })
    const written = p.source.length * 32
    expectSameBytes(got.slice(0, written), run(device, p))
    expect(valuesOf(got.slice(written)).every(Number.isNaN)).toBe(true)
  })
})
