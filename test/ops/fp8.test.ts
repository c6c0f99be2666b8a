/**
 * Weights held as FP8: a weight is the bf16 next to e4m3 * scale, so every product has the bits that it has with those bf16 weights, whatever the rows,
 * threads and shapes. What a device does not hold as FP8 it packs as bf16, from the same source.
 */
import { describe, expect, it } from 'vitest'
import type { Bf16, F32, PackedWeight, Tensor, WeightShape } from '../../lib/ops'
import { dequantizeFp8, type Fp8Matrix, fromE4m3Bits, quantizeFp8 } from '../reference/number-formats'
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
  taken,
  threadsOf,
  toBf16,
  valuesOf,
} from './helpers'

/** A matrix in FP8 and as the bf16 that it stands for. */
interface Both {
  fp8: { source: Tensor<Uint8Array>; scales: F32 }
  bf16: { source: Bf16 }
}

function both(matrix: Fp8Matrix): Both {
  const { rows, cols, bytes, scales } = matrix
  return {
    fp8: {
      source: { data: bytes, shape: [rows, cols] },
      scales: f32([Math.ceil(rows / 128), Math.ceil(cols / 128)], scales),
    },
    bf16: { source: bf16([rows, cols], toBf16(dequantizeFp8(matrix))) },
  }
}

/** Random matrices of one weight, the rows of which come in parts of their own scales. */
function matrices(random: Random, { experts, k }: WeightShape, parts: readonly number[]): Both[][] {
  return Array.from({ length: experts }, () =>
    parts.map((rows) => both(quantizeFp8(random.normals(rows * k, k ** -0.5), rows, k))),
  )
}

/** The same weight three times: as the bf16 that it stands for, packed as bf16 from FP8, and held as FP8 where the device does. */
function weights(device: string, threads: number, shape: WeightShape, all: readonly Both[][]): PackedWeight[] {
  const ops = opsFor(device, threads)
  const kinds = [0, 1, ...(ops.activations === 'f32' ? [2] : [])] // FP8 is held by the CPU
  return kinds.map((kind) => {
    const weight = ops.allocateWeight({ ...shape, format: kind === 2 ? 'fp8' : 'bf16' })
    for (const [expert, parts] of all.entries()) {
      let row = 0
      for (const part of parts) {
        ops.pack(weight, expert, row, kind === 0 ? part.bf16 : part.fp8)
        row += part.bf16.source.shape[0]!
      }
    }
    return weight
  })
}

describe.each(DEVICES)('FP8 weights on %s', (device) => {
  const ops = opsFor(device)

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
    const shape: WeightShape = { experts: 1, n, k, layout: 'rows' }
    const all = matrices(random, shape, parts)
    const x = taken(device, random.normals(m * k))
    const outs = threadsOf(device).flatMap((threads) =>
      weights(device, threads, shape, all).map((weight) => {
        const out = f32([m, n])
        opsFor(device, threads).linear({ x: activations(device, [m, k], x), weight, out })
        return out.data
      }),
    )
    for (const out of outs) expectSameBytes(out, outs[0]!)
    const W = all[0]!.flatMap((part) => [...valuesOf(part.bf16.source.data)])
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
    const up: WeightShape = { experts, n: 2 * F, k: C, layout: 'gateUp' }
    const down: WeightShape = { experts, n: C, k: F, layout: 'rows' }
    const [ups, downs] = [matrices(random, up, [F, F]), matrices(random, down, [C])]
    const x = bf16([tokens, C], toBf16(random.normals(tokens * C)))
    const outs = threadsOf(device).flatMap((threads) => {
      const downWeights = weights(device, threads, down, downs)
      return weights(device, threads, up, ups).map((weight, i) => {
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

  it('have every value of e4m3, and only those that are no number spoil a product', () => {
    const shape: WeightShape = { experts: 1, n: 256, k: 32, layout: 'rows' }
    const bytes = new Uint8Array(256 * 32)
    for (let row = 0; row < 256; row++) bytes[row * 32 + 5] = row
    const all = [[both({ rows: 256, cols: 32, bytes, scales: Float32Array.of(1, 0.5) })]]
    const x = new Float32Array(32).fill(1)
    for (const weight of weights(device, 2, shape, all)) {
      const out = f32([1, 256])
      ops.linear({ x: activations(device, [1, 32], x), weight, out })
      expect([...out.data]).toEqual(
        Array.from({ length: 256 }, (_, bits) => fromE4m3Bits(bits) * (bits < 128 ? 1 : 0.5) + 0),
      )
    }
  })

  it('are held in a format that there is', () => {
    const shape = { experts: 1, n: 32, k: 32, layout: 'rows', format: 'fp4' } as unknown as WeightShape
    expect(() => ops.allocateWeight(shape)).toThrow('format must be "bf16" or "fp8", found "fp4"')
  })

  it('need scales of the right shape', () => {
    const weight = ops.allocateWeight({ experts: 1, n: 160, k: 160, layout: 'rows' })
    const from = both(quantizeFp8(new Float32Array(160 * 160).fill(1), 160, 160)).fp8
    expect(() => ops.pack(weight, 0, 0, { ...from, scales: f32([1, 2], new Float32Array(2)) })).toThrow(
      'pack: scales must be f32 [2, 2], found f32 [1, 2]',
    )
    expect(() => ops.pack(weight, 0, 0, { source: from.source })).toThrow('pack: scales must be f32 [2, 2], found')
  })
})
