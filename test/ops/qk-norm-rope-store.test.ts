import { describe, expect, it } from 'vitest'
import type { KvShape } from '../../lib/ops'
import { fromE4m3Bits } from '../reference/number-formats'
import {
  activations,
  bf16,
  DEVICES,
  expectAccurate,
  expectF32Accurate,
  expectSameBytes,
  f32,
  i32,
  kvOf,
  opsFor,
  Random,
  round,
  taken,
  threadsOf,
  toBf16,
  toE4m3,
  valuesOf,
} from './helpers'

const EPS = 1e-6
const [PAGES, LAYERS, LAYER] = [7, 3, 1]

interface Shape {
  tokens: number
  heads: number
  kvHeads: number
  dim: number
  rotary: number
  pageSize: number
}

/** Tokens of several sequences, mid-way in them: any positions, shuffled slots, every third token not stored. */
function problem(device: string, shape: Shape) {
  const { tokens, heads, kvHeads, dim, rotary, pageSize } = shape
  const random = new Random(tokens + dim + heads)
  const maxPositions = 400
  const slots = random.shuffled(PAGES * pageSize)
  const rope = new Float32Array(maxPositions * rotary)
  for (let p = 0; p < maxPositions; p++)
    for (let i = 0; i < rotary / 2; i++) {
      const angle = p * 5e6 ** ((-2 * i) / rotary)
      rope[p * rotary + i] = Math.cos(angle)
      rope[p * rotary + rotary / 2 + i] = Math.sin(angle)
    }
  return {
    ...shape,
    maxPositions,
    rope,
    qkv: taken(device, random.normals(tokens * (heads + 2 * kvHeads) * dim, 2)),
    qWeight: random.normals(heads * dim, 0.2, 1),
    kWeight: random.normals(kvHeads * dim, 0.2, 1),
    positions: Int32Array.from({ length: tokens }, () => random.integer(maxPositions)),
    slots: Int32Array.from({ length: tokens }, (_, t) => (t % 3 === 2 || t >= slots.length ? -1 : slots[t]!)),
  }
}
type Problem = ReturnType<typeof problem>

/** RMSNorm over the whole projection, then rotation of the pairs (i, i + R/2) of every head; `r` rounds what naive bf16 would. */
function normAndRope(
  p: Problem,
  token: number,
  first: number,
  weight: Float32Array,
  r: (v: number) => number = (v) => v,
): Float64Array {
  const row = p.qkv.subarray(token * (p.heads + 2 * p.kvHeads) * p.dim).subarray(first, first + weight.length)
  const scale = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / row.length + EPS)
  const out = Float64Array.from(row, (v, i) => r(v * scale * r(weight[i]!)))
  const half = p.rotary / 2
  for (let head = 0; head < weight.length; head += p.dim)
    for (let i = 0; i < half; i++) {
      const [a, b] = [out[head + i]!, out[head + i + half]!]
      const at = p.positions[token]! * p.rotary
      const [cos, sin] = [r(p.rope[at + i]!), r(p.rope[at + half + i]!)]
      out[head + i] = r(a * cos - b * sin)
      out[head + i + half] = r(b * cos + a * sin)
    }
  return out
}

/** Of an FP8 cache [LAYERS, K|V, heads], powers of two and others. */
const scalesOf = (kvHeads: number) =>
  Float32Array.from({ length: LAYERS * 2 * kvHeads }, (_, i) => [0.01, 2 ** -5, 0.3][i % 3]!)

function run(device: string, p: Problem, dtype: KvShape['dtype'], threads = 2, scales = scalesOf(p.kvHeads)) {
  const ops = opsFor(device, threads)
  const kv = ops.createKv({
    dtype,
    ...(dtype === 'fp8' ? { scales } : {}),
    pages: PAGES,
    layers: LAYERS,
    heads: p.kvHeads,
    pageSize: p.pageSize,
    headDim: p.dim,
  })
  const shape = [PAGES, LAYERS * 2, p.kvHeads, p.pageSize * p.dim]
  const cache = kvOf(dtype, shape)
  ops.writeKv(kv, { data: cache })
  const q = activations(device, [p.tokens, p.heads, p.dim])
  ops.qkNormRopeStore({
    qkv: activations(device, [p.tokens, (p.heads + 2 * p.kvHeads) * p.dim], p.qkv),
    qWeight: f32([p.heads * p.dim], p.qWeight),
    kWeight: f32([p.kvHeads * p.dim], p.kWeight),
    eps: EPS,
    positions: i32([p.tokens], p.positions),
    rope: f32([p.maxPositions, p.rotary], p.rope),
    slotMapping: i32([p.tokens], p.slots),
    kv,
    layer: LAYER,
    q,
  })
  ops.readKv(kv, { data: cache })
  return { q, cache: cache.data }
}

const offset = (p: Problem, slot: number, which: number, head: number) => {
  const page = Math.floor(slot / p.pageSize)
  return ((((page * LAYERS + LAYER) * 2 + which) * p.kvHeads + head) * p.pageSize + (slot % p.pageSize)) * p.dim
}

describe.each(DEVICES)('qk_norm_rope_store on %s', (device) => {
  describe.each(['f32', 'bf16'] as const)('with a %s cache', (dtype) => {
    it.each<Shape>([
      { tokens: 1, heads: 1, kvHeads: 1, dim: 32, rotary: 32, pageSize: 1 },
      { tokens: 2, heads: 6, kvHeads: 2, dim: 64, rotary: 16, pageSize: 16 },
      { tokens: 70, heads: 5, kvHeads: 1, dim: 96, rotary: 2, pageSize: 64 },
      { tokens: 33, heads: 12, kvHeads: 2, dim: 128, rotary: 64, pageSize: 16 },
      { tokens: 5, heads: 3, kvHeads: 3, dim: 256, rotary: 256, pageSize: 3 },
      { tokens: 4, heads: 14, kvHeads: 2, dim: 160, rotary: 90, pageSize: 16 },
    ])(
      'agrees with float64: $tokens tokens, $heads/$kvHeads heads of $dim, $rotary rotated, pages of $pageSize',
      (shape) => {
        const p = problem(device, shape)
        const { tokens, heads, kvHeads, dim } = p
        const got = run(device, p, dtype)
        const cache = got.cache as Float32Array | Uint16Array
        const expected = dtype === 'f32' ? f32([cache.length]).data : bf16([cache.length]).data
        const keys: number[] = []
        const wantKeys: number[] = []
        const wantQ: number[] = []
        const naiveQ: number[] = []
        for (let t = 0; t < tokens; t++) {
          wantQ.push(...normAndRope(p, t, 0, p.qWeight))
          naiveQ.push(...normAndRope(p, t, 0, p.qWeight, round))
          if (p.slots[t]! < 0) continue
          wantKeys.push(...normAndRope(p, t, heads * dim, p.kWeight))
          const v = p.qkv.subarray((t + 1) * (heads + 2 * kvHeads) * dim - kvHeads * dim).subarray(0, kvHeads * dim)
          for (let h = 0; h < kvHeads; h++) {
            const [k, at] = [offset(p, p.slots[t]!, 0, h), offset(p, p.slots[t]!, 1, h)]
            keys.push(...valuesOf(cache.subarray(k, k + dim)))
            expected.set(cache.subarray(k, k + dim), k) // judged by its values below
            const value = v.subarray(h * dim, (h + 1) * dim)
            expected.set(dtype === 'f32' ? value : toBf16(value), at)
          }
        }
        expectAccurate(device, got.q, wantQ, () => naiveQ)
        if (dtype === 'f32') expectF32Accurate(keys, wantKeys)
        // Values are stored exactly, and nothing but the named slots of the named layer is written.
        expectSameBytes(got.cache, expected)
      },
    )
  })

  it('stores in a bf16 cache what it stores in an f32 cache, rounded', () => {
    const p = problem(device, { tokens: 20, heads: 6, kvHeads: 2, dim: 64, rotary: 32, pageSize: 16 })
    const [exact, rounded] = [run(device, p, 'f32').cache, run(device, p, 'bf16').cache]
    expectSameBytes(rounded, toBf16(exact))
  })

  it('stores in an FP8 cache what it stores in an f32 cache, divided by the scale and rounded to e4m3', () => {
    for (const [dim, pageSize] of [
      [64, 16],
      [160, 3],
    ] as const) {
      const p = problem(device, { tokens: 20, heads: 6, kvHeads: 2, dim, rotary: 32, pageSize })
      const [exact, rounded] = [run(device, p, 'f32').cache, run(device, p, 'fp8').cache]
      const scales = scalesOf(p.kvHeads)
      const tile = pageSize * dim
      expectSameBytes(
        rounded,
        Uint8Array.from(exact, (x, i) => toE4m3(x, scales[Math.floor(i / tile) % scales.length]!)),
      )
    }
  })

  it('rounds to e4m3 in every case: each number, half way, beside that, too large, zeros, infinities and NaN', () => {
    const numbers = Array.from({ length: 127 }, (_, bits) => fromE4m3Bits(bits))
    const halves = numbers.slice(1).map((x, i) => (x + numbers[i]!) / 2)
    const sizes = [numbers, halves, halves.map((x) => x * (1 + 2 ** -7)), halves.map((x) => x * (1 - 2 ** -7))].flat()
    const cases = [...sizes, 2 ** -10, 2 ** -40, 2 ** -133, 449, 464, 480, 1e4, 3e38, Number.POSITIVE_INFINITY]
    const all = [...cases, ...cases.map((x) => -x), Number.NaN]
    const tokens = Math.ceil(all.length / 64)
    const shape = { tokens, heads: 1, kvHeads: 1, dim: 64, rotary: 0, pageSize: 4 }
    for (const scale of [1, 0.75, Math.fround(3e-4), 2 ** 20]) {
      const p = { ...problem(device, shape), slots: Int32Array.from({ length: tokens }, (_, t) => t) }
      const values = taken(
        device,
        Float32Array.from({ length: tokens * 64 }, (_, i) => all[i % all.length]! * scale),
      )
      for (let t = 0; t < tokens; t++) p.qkv.set(values.subarray(t * 64, (t + 1) * 64), t * 192 + 128)
      const { cache } = run(device, p, 'fp8', 2, new Float32Array(LAYERS * 2).fill(scale))
      const stored = Array.from({ length: tokens }, (_, t) => [...cache.subarray(offset(p, t, 1, 0)).subarray(0, 64)])
      expect(stored.flat().map((bits) => ((bits & 0x7f) === 0x7f ? 0x7f : bits))).toEqual(
        [...values].map((x) => toE4m3(x, scale)),
      )
    }
  })

  it('rotates by an angle of zero at position 0', () => {
    const p = problem(device, { tokens: 3, heads: 2, kvHeads: 1, dim: 32, rotary: 16, pageSize: 4 })
    const still = run(device, { ...p, positions: new Int32Array(3) }, 'f32').q.data
    const without = run(device, { ...p, rope: p.rope.map((_, i) => (i % 16 < 8 ? 1 : 0)) }, 'f32').q.data
    expectSameBytes(still, without)
    expect(run(device, p, 'f32').q.data).not.toEqual(still)
  })

  it('gives a token the same bytes alone, in any batch and with any number of threads', () => {
    const p = problem(device, { tokens: 40, heads: 12, kvHeads: 2, dim: 128, rotary: 64, pageSize: 16 })
    const together = run(device, p, 'bf16')
    for (const threads of threadsOf(device)) {
      expectSameBytes(run(device, p, 'fp8', threads).cache, run(device, p, 'fp8').cache)
      const again = run(device, p, 'bf16', threads)
      expectSameBytes(again.q.data, together.q.data)
      expectSameBytes(again.cache, together.cache)
    }
    const [width, qWidth] = [16 * 128, 12 * 128]
    for (const t of [0, 1, 19, 39]) {
      const alone = run(
        device,
        {
          ...p,
          tokens: 1,
          qkv: p.qkv.slice(t * width, (t + 1) * width),
          positions: p.positions.slice(t, t + 1),
          slots: p.slots.slice(t, t + 1),
        },
        'bf16',
      )
      expectSameBytes(alone.q.data, together.q.data.slice(t * qWidth, (t + 1) * qWidth))
      if (p.slots[t]! < 0) continue
      const at = offset(p, p.slots[t]!, 0, 1)
      expectSameBytes(alone.cache.slice(at, at + 128), together.cache.slice(at, at + 128))
    }
  })
})
