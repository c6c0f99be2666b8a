/** What the device does at best, measured in every round beside the ops. */
import { createCeilings, type Work } from '../../lib/ops'
import { lastLevelCache } from '../header'
import { sample } from '../measure'
import type { Limits, Unit } from './cells'
import type { Ours } from './ours'
import type { Torch } from './torch'

/** Measurements of bytes and of operations; nothing where there is no way to measure. Units that a device lacks have the rate of those that it takes instead. */
export type Yardsticks = Partial<Record<'bandwidth' | Unit, () => Promise<Work | undefined>>>

/** Rows and columns of the matrices whose product gives the rate of a GPU. */
const MATRIX = 8192

export function yardsticksOfCpu(): Yardsticks {
  const ceilings = createCeilings(0, 4.5 * lastLevelCache())
  return {
    bandwidth: async () => ceilings.read(),
    f32: async () => ceilings.multiplyF32(),
    bf16: async () => ceilings.multiplyBf16(),
    e4m3: async () => ceilings.multiplyBf16(),
  }
}

/** Products of bf16 that make one of float32: csrc/cuda/experts/scores.h. */
const BF16_OF_F32 = 6

/** A copy within the device, bytes read and written; a product of two matrices by the peer, where there is one. */
export function yardsticksOfGpu(
  ours: Ours,
  copyBytes: number,
  torch: Torch | undefined,
  isHopper: boolean,
): Yardsticks {
  const matmul = async (unit: 'bf16' | 'e4m3', amount = 2 * MATRIX ** 3) => {
    const { matmul } = (await torch?.time({ op: 'matmul', n: MATRIX, unit })) ?? {}
    return matmul ? { amount, microseconds: matmul } : undefined
  }
  return {
    bandwidth: async () => ({ amount: 2 * copyBytes, microseconds: ours.copy(copyBytes) }),
    f32: () => matmul('bf16', (2 * MATRIX ** 3) / BF16_OF_F32),
    bf16: () => matmul('bf16'),
    e4m3: () => matmul(isHopper ? 'e4m3' : 'bf16'),
  }
}

export class LimitsTaken {
  readonly #yardsticks: Yardsticks
  readonly #rates = new Map<string, number[]>()

  constructor(yardsticks: Yardsticks) {
    this.#yardsticks = yardsticks
  }

  async round(): Promise<void> {
    for (const [name, measure] of Object.entries(this.#yardsticks)) {
      const work = await measure()
      if (work) this.#rates.set(name, [...(this.#rates.get(name) ?? []), (1e6 * work.amount) / work.microseconds])
    }
  }

  /** Medians over the rounds. */
  result(): Limits {
    const medians = [...this.#rates].map(([name, rates]) => [name, sample(rates).median])
    const { bandwidth, ...rates } = Object.fromEntries(medians)
    return { bandwidth, rates }
  }
}
