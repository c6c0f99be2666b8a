/**
 * Weights held as FP8 or int4: each means a bf16, so every product has the bits that it has with those bf16 weights, whatever the rows, threads and
 * shapes. Where bf16 is asked for, they are packed as bf16 from the same rows.
 */
import { describe, expect, it } from 'vitest'
import type { MatrixRows, PackedWeight, WeightShape } from '../../lib/ops'
import { dequantizeFp8, fromE4m3Bits } from '../reference/number-formats'
import {
  activations,
  bf16,
  DEVICES,
  expectSameBytes,
  expectSums,
  f32,
  i32,
  opsFor,
  Random,
  round,
  taken,
  threadsOf,
  toBf16,
  valuesOf,
} from './helpers'
import { FORMATS, fp8Rows, type Held, int4Rows, meaning, type Rows, rowsOf } from './stored-rows'

type Shape = Pick<WeightShape, 'experts' | 'n' | 'k' | 'layout'>

/** Random matrices of one weight, the rows of which come in parts. */
function matrices(random: Random, held: Held, { experts, k }: Shape, parts: readonly number[]): Rows[][] {
  return Array.from({ length: experts }, () => parts.map((rows) => rowsOf(random, held, rows, k)))
}

/** The same weight three times: as the bf16 that it means, packed as bf16 from what is stored, and held so. */
function weights(
  device: string,
  threads: number,
  shape: Shape,
  held: Held,
  all: readonly Omit<Rows, 'exact'>[][],
): PackedWeight[] {
  const ops = opsFor(device, threads)
  const packed = (as: Held, kind: 'stored' | 'meant') => {
    const weight = ops.allocateWeight({ ...shape, ...as })
    for (const [expert, parts] of all.entries()) {
      let row = 0
      for (const part of parts) {
        ops.pack(weight, expert, row, part[kind])
        row += part.meant.values.shape[0]!
      }
    }
    return weight
  }
  return [packed({}, 'meant'), packed({}, 'stored'), packed(held, 'stored')]
}

describe.each(DEVICES)('weights on %s', (device) => {
  const ops = opsFor(device)

  describe.each(FORMATS)('held as %s', (_, held) => {
    it.each([
      { m: 1, k: 32, parts: [32] },
      { m: 1, k: 128, parts: [128] },
      { m: 1, k: 160, parts: [160, 32, 32] }, // ragged blocks both ways; three tensors with scales of their own
      { m: 7, k: 416, parts: [288, 96, 96] },
      { m: 33, k: 1056, parts: [257] },
      { m: 513, k: 192, parts: [64] },
    ])('give a dense product the bits of their bf16: $m rows, k $k, $parts', ({ m, k, parts }) => {
      const random = new Random(m + k)
      const n = parts.reduce((a, b) => a + b)
      const shape: Shape = { experts: 1, n, k, layout: 'rows' }
      const all = matrices(random, held, shape, parts)
      const x = taken(device, random.normals(m * k))
      const outs = threadsOf(device).flatMap((threads) =>
        weights(device, threads, shape, held, all).map((weight) => {
          const out = f32([m, n])
          opsFor(device, threads).linear({ x: activations(device, [m, k], x), weight, out })
          return out.data
        }),
      )
      for (const out of outs) expectSameBytes(out, outs[0]!)
      const W = all[0]!.flatMap((part) => [...valuesOf(part.meant.values.data)])
      const truth = Float64Array.from({ length: m * n }, (_, at) => {
        const [row, column] = [Math.floor(at / n), at % n]
        let sum = 0
        for (let i = 0; i < k; i++) sum += x[row * k + i]! * W[column * k + i]!
        return sum
      })
      expectSums(device, outs[0]!, truth, k)
    })

    it.each([1, 5, 64])('give the experts the bits of their bf16: %i tokens', (tokens) => {
      const random = new Random(tokens)
      const [experts, active, C, F] = [6, 2, 160, 288]
      const ids = Array.from({ length: tokens * active }, () => random.integer(experts - 1)) // the last expert gets none
      const order = ids.map((_, i) => i).sort((a, b) => ids[a]! - ids[b]! || a - b)
      const offsets = i32(
        [experts + 1],
        Array.from({ length: experts + 1 }, (_, e) => ids.filter((id) => id < e).length),
      )
      const up: Shape = { experts, n: 2 * F, k: C, layout: 'gateUp' }
      const down: Shape = { experts, n: C, k: F, layout: 'rows' }
      const [ups, downs] = [matrices(random, held, up, [F, F]), matrices(random, held, down, [C])]
      const x = bf16([tokens, C], toBf16(random.normals(tokens * C)))
      const outs = threadsOf(device).flatMap((threads) => {
        const downWeights = weights(device, threads, down, held, downs)
        return weights(device, threads, up, held, ups).map((weight, i) => {
          const hidden = bf16([tokens * active, F])
          opsFor(device, threads).groupedGateUp({ x, source: i32([order.length], order), offsets, weight, out: hidden })
          const out = activations(device, [tokens * active, C])
          opsFor(device, threads).groupedLinear({ x: hidden, offsets, weight: downWeights[i]!, out })
          return [hidden.data, out.data]
        })
      })
      for (const [hidden, out] of outs) {
        expectSameBytes(hidden!, outs[0]![0]!)
        expectSameBytes(out!, outs[0]![1]!)
        expect([...valuesOf(out!)].every(Number.isFinite)).toBe(true)
      }
    })
  })

  it('have every number of e4m3', () => {
    const shape: Shape = { experts: 1, n: 256, k: 32, layout: 'rows' }
    const bytes = new Uint8Array(256 * 32)
    for (let row = 0; row < 256; row++) bytes[row * 32 + 5] = row % 128 === 127 ? 0 : row // but for the NaNs
    const scales = Float32Array.of(1, 0.5)
    const stored = { values: { data: bytes, shape: [256, 32] }, scales: f32([2, 1], scales) }
    const meant = meaning(256, 32, dequantizeFp8({ rows: 256, cols: 32, bytes, scales }))
    const x = new Float32Array(32).fill(1)
    for (const weight of weights(device, 2, shape, { format: 'fp8' }, [[{ stored, meant }]])) {
      const out = f32([1, 256])
      ops.linear({ x: activations(device, [1, 32], x), weight, out })
      expect([...out.data]).toEqual(
        Array.from({ length: 256 }, (_, row) => fromE4m3Bits(bytes[row * 32 + 5]!) * (row < 128 ? 1 : 0.5) + 0),
      )
    }
  })

  it('are refused where they are no numbers', () => {
    const weight = ops.allocateWeight({ experts: 1, n: 32, k: 64, layout: 'rows' })
    const random = new Random(4)
    const fp8 = fp8Rows(random, 32, 64).stored
    const int4 = int4Rows(random, 32, 64, 32, true).stored
    const nan = { data: new Uint8Array(32 * 64).fill(0xff, 77, 78), shape: [32, 64] }
    const scale = (value: number) => f32([1, 1], Float32Array.of(value))
    const refused: [MatrixRows, string][] = [
      [{ ...fp8, values: nan }, 'expected numbers, found a NaN'],
      [{ ...fp8, scales: scale(Number.NaN) }, 'expected scales of magnitudes below 128, found nan'],
      [{ ...fp8, scales: scale(-128) }, 'expected scales of magnitudes below 128, found -128'],
      [
        { ...int4, scales: bf16([32, 2], new Uint16Array(64).fill(0x7f80, 9, 10)) },
        'expected scales of magnitudes below 128, found inf',
      ],
      [
        { ...int4, zeros: { data: new Uint8Array(64).fill(17, 5, 6), shape: [32, 2] } },
        'expected zeros of at most 16, found more',
      ],
    ]
    for (const [rows, message] of refused) {
      expect(() => ops.pack(weight, 0, 0, rows)).toThrow(expect.objectContaining({ code: 'BAD_CHECKPOINT', message }))
    }
  })

  it('have every code of int4 with every zero, rounded to bf16 once', () => {
    const shape: Shape = { experts: 1, n: 272, k: 32, layout: 'rows' }
    const scale = round(0.0123)
    const random = new Random(1)
    const part = int4Rows(random, 272, 32, 32, true)
    const { values, scales, zeros } = part.stored
    values.data.fill(0)
    ;(scales!.data as Uint16Array).fill(toBf16([scale])[0]!)
    zeros!.data.fill(0) // a code of 0 with a zero of 0 means 0
    for (let row = 0; row < 272; row++) {
      values.data[row * 16 + 3] = (row % 16) << 4 // k 7
      zeros!.data[row] = Math.floor(row / 16)
    }
    const meant = Float64Array.from({ length: 272 * 32 }, (_, i) => {
      const row = Math.floor(i / 32)
      return ((i % 32 === 7 ? row % 16 : 0) - Math.floor(row / 16)) * scale
    })
    const x = new Float32Array(32)
    x[7] = 1
    const all = [[{ stored: part.stored, meant: meaning(272, 32, meant) }]]
    for (const weight of weights(device, 2, shape, { format: 'int4', group: 32, zeros: true }, all)) {
      const out = f32([1, 272])
      ops.linear({ x: activations(device, [1, 32], x), weight, out })
      expect([...out.data]).toEqual(
        Array.from({ length: 272 }, (_, row) => round(((row % 16) - Math.floor(row / 16)) * scale) + 0),
      )
    }
  })

  it('are held in a format that there is', () => {
    const shape = { experts: 1, n: 32, k: 32, layout: 'rows' } as const
    const allocate = (held: object) => () => ops.allocateWeight({ ...shape, ...held } as WeightShape)
    expect(allocate({ format: 'fp4' })).toThrow('format must be "bf16", "fp8" or "int4", found "fp4"')
    expect(allocate({ format: 'int4', group: 16 })).toThrow('group must be 32, 64 or 128, found 16')
  })

  it('need scales and zeros of the right shape', () => {
    const weight = ops.allocateWeight({ experts: 1, n: 160, k: 160, layout: 'rows' })
    const random = new Random(2)
    const fp8 = fp8Rows(random, 160, 160).stored
    const int4 = int4Rows(random, 160, 160, 64, true).stored
    const refused: [MatrixRows, string][] = [
      [{ ...fp8, scales: f32([1, 2], new Float32Array(2)) }, 'scales must be f32 [2, 2], found f32 [1, 2]'],
      [{ values: fp8.values }, 'scales must be f32 [2, 2], found'],
      [{ ...int4, scales: bf16([160, 2]) }, 'scales must be bf16 [160, 3], found bf16 [160, 2]'],
      [{ ...int4, group: 48 }, 'group must be 32, 64 or 128, found 48'],
      [
        { ...int4, zeros: { data: new Uint8Array(160), shape: [160, 1] } },
        'zeros must be u8 [160, 3], found u8 [160, 1]',
      ],
      [
        { ...int4, values: { data: new Uint8Array(160 * 40), shape: [160, 40] } },
        'values must be u8 [160, 80], found u8 [160, 40]',
      ],
    ]
    for (const [rows, message] of refused) expect(() => ops.pack(weight, 0, 0, rows)).toThrow(`pack: ${message}`)
  })

  it('take only rows that are stored as they are held', () => {
    const random = new Random(3)
    const [fp8, int4] = [fp8Rows(random, 32, 64), int4Rows(random, 32, 64, 32, true)]
    const shape = { experts: 1, n: 32, k: 64, layout: 'rows' } as const
    const asFp8 = ops.allocateWeight({ ...shape, format: 'fp8' })
    const asInt4 = ops.allocateWeight({ ...shape, format: 'int4', group: 32, zeros: false })
    const pack =
      (weight: PackedWeight, rows: MatrixRows, first = 0) =>
      () =>
        ops.pack(weight, 0, first, rows)
    expect(pack(asFp8, int4.stored)).toThrow('values of a weight held as FP8 must be so too, found int4')
    expect(pack(asInt4, fp8.meant)).toThrow('values of a weight held as int4 must be so too, found bf16')
    expect(pack(asInt4, int4.stored)).toThrow('zeros must be none, as the weight has none')
    expect(pack(asInt4, int4Rows(random, 32, 64, 64, false).stored)).toThrow("group must be the weight's, 32, found 64")
    expect(pack(asInt4, int4Rows(random, 16, 64, 32, false).stored, 8)).toThrow(
      'first_row must be a multiple of 16 for int4',
    )
    expect(pack(asInt4, int4Rows(random, 8, 64, 32, false).stored)).toThrow(
      'rows must be a multiple of 16 for int4, found 8',
    )
  })
})
