/** Weights that the device makes: the same numbers in every format and on every device, each as its format rounds it. */
import { describe, expect, it } from 'vitest'
import type { WeightShape } from '../../lib/ops'
import { activations, DEVICES, expectSameBytes, f32, opsFor } from './helpers'

type Held = Pick<WeightShape, 'format' | 'group' | 'zeros'>

const [N, K] = [256, 352]
const STEP = Math.sqrt(3 / K) / 7.5 // of int4
const SIZE = Math.sqrt(3 / K)

const FORMATS: [string, Held, number][] = [
  ['bf16', {}, 0],
  ['FP8', { format: 'fp8' }, SIZE / 16],
  ['int4', { format: 'int4', group: 128, zeros: false }, 0.53 * STEP],
  ['int4 with zeros', { format: 'int4', group: 32, zeros: true }, 0.53 * STEP],
]

/** The rows of a random weight, [N, K]: its product with the unit vectors. */
function rowsOf(device: string, held: Held): Float32Array {
  const ops = opsFor(device)
  const weight = ops.allocateWeight({ experts: 1, n: N, k: K, layout: 'rows', ...held })
  ops.randomizeWeight(weight)
  const units = Float32Array.from({ length: K * K }, (_, i) => (i % (K + 1) === 0 ? 1 : 0))
  const columns = f32([K, N])
  ops.linear({ x: activations(device, [K, K], units), weight, out: columns })
  return Float32Array.from({ length: N * K }, (_, i) => columns.data[(i % K) * N + Math.floor(i / K)]!)
}

const mean = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b) / values.length

describe.each(DEVICES)('random weights on %s', (device) => {
  const plain = rowsOf(device, {})

  it.each(FORMATS)('held as %s are those of bf16, rounded, and of their variance', (_, held, error) => {
    const rows = rowsOf(device, held)
    expect(Math.max(...rows.map((x, i) => Math.abs(x - plain[i]!)))).toBeLessThanOrEqual(error)
    expect(Math.abs(mean(rows))).toBeLessThan(0.02 * K ** -0.5)
    expect(K * mean(rows.map((x) => x * x))).toBeCloseTo(1, 1.5)
    expect(new Set(rows).size).toBeGreaterThan(14)
  })

  it.each(FORMATS)('held as %s are the same on every device', (_, held) => {
    expectSameBytes(rowsOf(device, held), rowsOf('cpu', held))
  })

  it('differ from expert to expert', () => {
    const ops = opsFor(device)
    const weight = ops.allocateWeight({ experts: 2, n: 32, k: 64, layout: 'rows', format: 'fp8' })
    ops.randomizeWeight(weight)
    const x = { data: new Uint16Array(128).fill(0x3f80), shape: [2, 64] }
    const out = activations(device, [2, 32])
    ops.groupedLinear({ x, offsets: { data: Int32Array.of(0, 1, 2), shape: [3] }, weight, out })
    expect([...out.data.subarray(0, 32)]).not.toEqual([...out.data.subarray(32)])
  })
})
