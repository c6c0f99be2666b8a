/**
 * Products that take their rows as e4m3: against float64 sums of the rounded rows, and a row's bits whatever it stands beside. Hopper multiplies the stored
 * numbers themselves; other devices the bf16 that they mean.
 */
import { describe, expect, it } from 'vitest'
import type { PackedWeight } from '../../lib/ops'
import {
  activations,
  bf16,
  DEVICES,
  expectF32Accurate,
  expectSameBytes,
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
import { FORMATS, type Held, int4Rows, type Rows, roundRows, rowsOf } from './stored-rows'

describe.each(DEVICES)('rows in FP8 on %s', (device) => {
  const ops = opsFor(device)
  const isHopper = ops.description.includes('sm_9')
  const numbers = (rows: Rows) => (isHopper ? rows.exact : valuesOf(rows.meant.values.data))
  // Hopper cuts sums of 128 k off at 13 bits; the emulator does not.
  const bound = device === 'cuda' ? 2 ** -11 : 1e-6

  function packed(held: Held, rows: Rows, k: number, threads?: number): PackedWeight {
    const n = rows.meant.values.shape[0]!
    const weight = opsFor(device, threads).allocateWeight({ experts: 1, n, k, layout: 'rows', ...held, fp8Rows: true })
    opsFor(device, threads).pack(weight, 0, 0, rows.stored)
    return weight
  }

  describe.each(FORMATS)('and weights as %s', (_, held) => {
    it.each([
      { m: 1, n: 128, k: 128 },
      { m: 3, n: 144, k: 3072 },
      { m: 16, n: 48, k: 1664 },
      { m: 17, n: 272, k: 256 },
      { m: 200, n: 160, k: 384 },
    ])('are summed as float64 sums what they are rounded to: $m rows, $k to $n', ({ m, n, k }) => {
      const random = new Random(m + n + k)
      const rows = rowsOf(random, held, n, k)
      const values = random.normals(m * k).map((value, i) => value * 2 ** ((i >> 7) % 9)) // blocks of different sizes
      const x = taken(device, values)
      const rounded = roundRows(x)
      const W = numbers(rows)
      const truth = Float64Array.from({ length: m * n }, (_, at) => {
        const [row, column] = [Math.floor(at / n), at % n]
        let sum = 0
        for (let i = 0; i < k; i++) sum += rounded[row * k + i]! * W[column * k + i]!
        return sum
      })
      for (const threads of threadsOf(device)) {
        const weight = packed(held, rows, k, threads)
        const out = f32([m, n])
        opsFor(device, threads).linear({ x: activations(device, [m, k], x), weight, out })
        expectF32Accurate(out.data, truth, bound)
        // Alone, and in the middle of fewer.
        for (const [first, count] of [
          [m - 1, 1],
          [m >> 1, Math.min(9, m - (m >> 1))],
        ] as const) {
          const part = f32([count, n])
          const some = x.subarray(first * k, (first + count) * k)
          opsFor(device, threads).linear({ x: activations(device, [count, k], some), weight, out: part })
          expectSameBytes(part.data, out.data.subarray(first * n, (first + count) * n))
        }
      }
    })
  })

  it('have experts of any number of rows', () => {
    const random = new Random(9)
    const [C, F, counts] = [256, 160, [0, 1, 20, 130, 8]]
    const tokens = counts.reduce((a, b) => a + b)
    const held: Held = { format: 'int4', group: 64, zeros: true }
    const all = counts.map(() => [int4Rows(random, F, C, 64, true), int4Rows(random, F, C, 64, true)] as const)
    const weight = ops.allocateWeight({ experts: 5, n: 2 * F, k: C, layout: 'gateUp', ...held, fp8Rows: true })
    for (const [expert, [gate, up]] of all.entries()) {
      ops.pack(weight, expert, 0, gate.stored)
      ops.pack(weight, expert, F, up.stored)
    }
    const x = toBf16(random.normals(tokens * C))
    const offsets = i32([6], [0, ...counts.map((_, e) => counts.slice(0, e + 1).reduce((a, b) => a + b))])
    const out = bf16([tokens, F])
    const source = i32([tokens], random.shuffled(tokens))
    ops.groupedGateUp({ x: bf16([tokens, C], x), source, offsets, weight, out })
    const rounded = roundRows(valuesOf(x))
    const [got, truth] = [valuesOf(out.data), new Float64Array(tokens * F)]
    for (let row = 0; row < tokens; row++) {
      const expert = counts.findIndex((_, e) => row < offsets.data[e + 1]!)
      const token = rounded.subarray(source.data[row]! * C, (source.data[row]! + 1) * C)
      const [gates, ups] = all[expert]!.map(numbers)
      for (let f = 0; f < F; f++) {
        const dot = (W: Float64Array) => token.reduce((sum, value, i) => sum + value * W[f * C + i]!, 0)
        const gate = dot(gates!)
        truth[row * F + f] = round((gate / (1 + Math.exp(-gate))) * dot(ups!))
      }
    }
    expectF32Accurate(got, truth, 2 ** -8)
  })

  it('keep what is no number to their own row, and zeros to themselves', () => {
    const [m, n, k] = [20, 64, 256]
    const random = new Random(5)
    const weight = packed({ format: 'fp8' }, rowsOf(random, { format: 'fp8' }, n, k), k)
    const x = taken(device, random.normals(m * k))
    const clean = f32([m, n])
    ops.linear({ x: activations(device, [m, k], x), weight, out: clean })
    const spoiled = x.slice()
    spoiled[3 * k + 200] = Number.NaN
    spoiled[7 * k + 5] = Number.POSITIVE_INFINITY
    spoiled.fill(0, 9 * k, 10 * k)
    const out = f32([m, n])
    ops.linear({ x: activations(device, [m, k], spoiled), weight, out })
    for (let row = 0; row < m; row++) {
      const values = [...out.data.subarray(row * n, (row + 1) * n)]
      if (row === 3 || row === 7) expect(values.every(Number.isNaN)).toBe(true)
      else if (row === 9) expect(values.every((value) => value === 0)).toBe(true)
      else expectSameBytes(Float32Array.from(values), clean.data.subarray(row * n, (row + 1) * n))
    }
  })

  it('need weights that are not bf16, and whole blocks', () => {
    const shape = { experts: 1, n: 32, k: 128, layout: 'rows', fp8Rows: true } as const
    expect(() => ops.allocateWeight(shape)).toThrow('format must be FP8 or int4 for rows in FP8, found bf16')
    const ragged = { ...shape, k: 160, format: 'fp8' } as const
    expect(() => ops.allocateWeight(ragged)).toThrow('k must be a multiple of 128 for rows in FP8, found 160')
  })
})
