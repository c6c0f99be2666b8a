/**
 * Every kernel without a GPU: what the compiler gave it (registers, spills, shared memory), who calls it, the bytes that it must move and moves, counted
 * in a traced build of the emulated device, and how long ops are expected to take. Fails where a kernel spills or nothing calls it.
 */
import { digits, percent, type Table } from '../tables'
import { total } from './cells'
import { ARCHITECTURES, compile, type Resources } from './compiler'
import { OPS } from './plan'
import { floorOnH200, H200, predict } from './predictions'
import { describe as describeSpec, floor, M2, specs } from './specs'
import { buildTraced, type Traffic, trafficOf } from './traffic'

/** Of one multiprocessor of compute capability 9.0, and what the system keeps of the shared memory for each block. */
const MULTIPROCESSOR = { threads: 2048, registers: 65_536, shared: 228 << 10, sharedOfSystem: 1 << 10, blocks: 32 }
export async function benchKernels(): Promise<Table[]> {
  const resources = await compile()
  const program = buildTraced()
  const m2 = await trafficOf(program, '90', '--m2')
  const calls = [...m2, ...(await trafficOf(program, '90')), ...(await trafficOf(program, '80'))]
  const names = [...resources.keys()].sort()
  const rows = names.map((name) => describe(name, resources.get(name)!, calls))
  const unreached = names.filter((name) => !calls.some(({ kernels }) => kernels.some(({ kernel }) => kernel === name)))
  if (unreached.length > 0) throw new Error(`no case reaches ${unreached.join(', ')}`)
  const spilling = names.filter((name) => ARCHITECTURES.some((one) => resources.get(name)!.get(one)!.spills > 0))
  if (spilling.length > 0) throw new Error(`registers are spilled in ${spilling.join(', ')}`)
  return [
    {
      title: 'Kernels',
      note: `What ptxas reports for sm_${ARCHITECTURES.join(' and sm_')}; no kernel spills. Shared memory: static + dynamic, bytes of the largest launch that was counted. Blocks: that a multiprocessor of sm_90 holds at once, by threads, registers and shared memory.`,
      columns: [
        'kernel',
        ...ARCHITECTURES.map((one) => `registers, sm_${one}`),
        'spills',
        'shared',
        'threads',
        'blocks',
        'called by',
      ],
      rows,
    },
    {
      title: 'Bytes',
      note: `At MiniMax-M2's sizes, cut down in count where the emulator would take long. Must: each input that is needed read once, each output written once. Moved: different 32-byte sectors of each launch; asked for: with repetitions, which caches may serve. Floor: what must move at ${H200.bandwidth / 1e12} TB/s; prefill is bound by operations instead. Times need a GPU: not measured.`,
      columns: [
        'op',
        'shape',
        'kernels',
        'must, KiB',
        'moved, KiB',
        'moved / must',
        'asked for, KiB',
        'floor, us',
        'time',
      ],
      rows: m2.map(bytesOf),
    },
    predictions(),
  ]
}

function describe(name: string, resources: Map<string, Resources>, calls: Traffic[]): string[] {
  const callers = calls.filter(({ kernels }) => kernels.some(({ kernel }) => kernel === name))
  const launches = callers.flatMap(({ kernels }) => kernels.filter(({ kernel }) => kernel === name))
  const most = (values: number[]) => Math.max(0, ...values)
  const [threads, dynamic] = [most(launches.map((one) => one.threads)), most(launches.map((one) => one.shared))]
  const newest = resources.get(ARCHITECTURES.at(-1)!)!
  const shared = newest.shared + dynamic
  const { registers, sharedOfSystem } = MULTIPROCESSOR
  const blocks = Math.min(
    MULTIPROCESSOR.blocks,
    Math.floor(MULTIPROCESSOR.threads / threads),
    Math.floor(registers / (Math.ceil(newest.registers / 8) * 8 * Math.ceil(threads / 32) * 32)),
    Math.floor(MULTIPROCESSOR.shared / (shared + sharedOfSystem)),
  )
  const first = callers[0]
  return [
    name,
    ...ARCHITECTURES.map((one) => String(resources.get(one)!.registers)),
    ARCHITECTURES.map((one) => resources.get(one)!.spills).join(' / '),
    `${newest.shared} + ${dynamic}`,
    String(threads),
    String(blocks),
    first ? `${first.op}: ${first.shape}` : 'nobody',
  ]
}

function bytesOf({ op, shape, bytes, kernels }: Traffic): string[] {
  const sum = (of: (one: Traffic['kernels'][number]) => number) => kernels.reduce((total, one) => total + of(one), 0)
  const moved = sum((one) => one.distinctRead + one.distinctWritten)
  const names = kernels.map(({ kernel, launches }) => (launches > 1 ? `${kernel} x ${launches}` : kernel))
  return [
    op,
    shape,
    names.join(', '),
    digits(bytes / 1024),
    digits(moved / 1024),
    digits(moved / bytes),
    digits(sum((one) => one.read + one.written) / 1024),
    digits((bytes / H200.bandwidth) * 1e6),
    'not measured',
  ]
}

/** Of the ops that `npm run bench:gpu` times. */
function predictions(): Table {
  const rows = specs(M2, OPS.decodes, OPS.contexts, OPS.prefills).map((spec) => {
    const { work, shape } = describeSpec(spec)
    const { bytes, operations } = floor(spec)
    const floorUs = floorOnH200(spec)
    const { kernels, inFlight, us, because } = predict(spec)
    const amounts = [bytes / 1e6, total(operations) / 1e9, floorUs, inFlight / 1024, us].map(digits)
    return [work, shape, kernels, ...amounts, percent(floorUs / us), because]
  })
  return {
    title: 'Predictions',
    note: `For an H200: ${H200.bandwidth / 1e12} TB/s, ${H200.rates.bf16 / 1e12} TFLOP/s of bf16, twice that of e4m3 and a sixth of float32, ${H200.multiprocessors} multiprocessors. Under way: bytes that one multiprocessor has asked for at a time; with ${H200.latency} us until they are there, that bounds the rate. predictions.ts has the formula. \`npm run bench:gpu\` times the same ops.`,
    columns: [
      'op',
      'shape',
      'kernels',
      'MB',
      'GFLOP',
      'floor, us',
      'under way, KiB',
      'predicted, us',
      '% of floor',
      'because',
    ],
    rows,
  }
}
