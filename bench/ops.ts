/** The ops of one M2 layer on the CPU against what the machine can do: bytes at the measured read bandwidth, operations at the measured peak. */
import { createCeilings, createOps } from '../lib/ops'
import { against, CEILINGS, type Ceiling, type CeilingName, ceilingContenders, rate } from './ceilings'
import { lastLevelCache } from './header'
import { layerCases } from './layer'
import { type Contender, type Sample, takeTurns } from './measure'
import { digits, percent, type Table } from './tables'

const ROUNDS = 9

const WORDS: Record<CeilingName, { what: string; unit: string }> = {
  read: { what: 'read', unit: 'GB/s' },
  multiplyF32: { what: 'multiply f32', unit: 'GFLOP/s' },
  multiplyBf16: { what: 'multiply bf16', unit: 'GFLOP/s' },
}

export function describeCpu(): string {
  return createOps('cpu', 0).description
}

/** The tables of the ceilings and of the ops. */
export async function benchOps(): Promise<Table[]> {
  // Weights of over four times the last-level cache: nothing of them is still there when they are read again.
  const large = 4.5 * lastLevelCache()
  const cases = layerCases(createOps('cpu', 0), large)
  const amounts: Partial<Record<CeilingName, number>> = {}
  const contenders: Record<string, Contender> = ceilingContenders(createCeilings(0, large), amounts)
  cases.forEach(({ run }, i) => {
    contenders[i] = run
  })
  const times = await takeTurns(contenders, ROUNDS)
  const ceilings = Object.fromEntries(
    CEILINGS.map((name): [CeilingName, Ceiling] => [name, { name, amount: amounts[name]!, time: times[name]! }]),
  ) as Record<CeilingName, Ceiling>

  return [
    {
      title: 'Ceilings',
      note: `Reading ${digits(large / 2 ** 20)} MiB; the instructions of dense products (f32) and of the experts' products (bf16).`,
      columns: ['what', 'rate', 'us (median, spread)'],
      rows: CEILINGS.map((name) => {
        const { what, unit } = WORDS[name]
        return [what, `${digits(rate(ceilings[name]))} ${unit}`, microseconds(times[name]!)]
      }),
    },
    {
      title: 'Ops of one M2 layer',
      note: 'The floor: bytes of weights or KV at the read ceiling, or operations at the multiply ceiling, whichever is longer, in the same round.',
      columns: ['op', 'shape', 'us (median, spread)', 'floor', '% of floor'],
      rows: cases.map((one, i) => {
        const time = times[i]!
        const near = against(one, time, ceilings)
        const floor = near ? [WORDS[near.floor].what, percent(near.share)] : ['-', '-']
        return [one.op, one.shape, microseconds(time), ...floor]
      }),
    },
  ]
}

const microseconds = (time: Sample): string => `${digits(time.median)} ±${time.spread.toFixed(0)} %`
