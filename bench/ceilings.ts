/** What the processor does at best, measured beside the ops, and how near an op comes to it. */
import type { Ceilings, Work } from '../lib/ops'
import { type Contender, type Sample, sample, share } from './measure'

export const CEILINGS = ['read', 'multiplyF32', 'multiplyBf16'] as const
export type CeilingName = (typeof CEILINGS)[number]

export interface Ceiling {
  name: CeilingName
  /** Bytes or operations of one measurement. */
  amount: number
  time: Sample
}

/** Contenders that measure the ceilings; `amounts` receives what they do each time. */
export function ceilingContenders(ceilings: Ceilings, amounts: Partial<Record<CeilingName, number>>) {
  const timed = (name: CeilingName, work: Work): number => {
    amounts[name] = work.amount
    return work.microseconds
  }
  return Object.fromEntries(CEILINGS.map((name) => [name, () => timed(name, ceilings[name]())])) as Record<
    CeilingName,
    Contender
  >
}

/** In 1e9 bytes or operations per second. */
export const rate = ({ amount, time }: Ceiling): number => amount / time.median / 1e3

/** An op's time in the rounds as a share of its floor: the longer of reading its bytes and doing its operations, in the same rounds. */
export function against(
  op: { bytes: number; operations: number; uses?: CeilingName },
  time: Sample,
  ceilings: Record<CeilingName, Ceiling>,
): { floor: CeilingName; share: number } | undefined {
  const floors = [
    { ceiling: ceilings.read, amount: op.bytes },
    ...(op.uses ? [{ ceiling: ceilings[op.uses], amount: op.operations }] : []),
  ]
  const { ceiling, amount } = floors.reduce((a, b) => (a.amount / rate(a.ceiling) > b.amount / rate(b.ceiling) ? a : b))
  if (amount === 0) return undefined
  const floor = sample(ceiling.time.times.map((us) => (us * amount) / ceiling.amount))
  return { floor: ceiling.name, share: share(floor, time) }
}
