/** Our ops against the device's own limits and against PyTorch, in turn. */
import { createOps, type Ops } from '../../lib/ops'
import { sample } from '../measure'
import { type Cell, judge, type Limits, type Question, total } from './cells'
import { LimitsTaken, yardsticksOfCpu, yardsticksOfGpu } from './limits'
import { Ours } from './ours'
import type { Plan } from './plan'
import { predict } from './predictions'
import { describe, floor, type Spec, specs } from './specs'
import { Torch } from './torch'

const ROUNDS = 3
const GROUP = 'Ops of one layer'

interface Times {
  ours: number[]
  peers: Record<string, number[]>
  reason?: string
}

export async function benchOps({ device, ops: plan }: Plan): Promise<{ peer: string; limits: Limits; cells: Cell[] }> {
  const ops = createOps(device, 0)
  const ours = new Ours(ops, plan.repeats)
  const torch = device.startsWith('cuda') ? await Torch.start() : undefined
  const isHopper = ops.description.includes('sm_90')
  const taken = new LimitsTaken(
    device === 'cpu' ? yardsticksOfCpu() : yardsticksOfGpu(ours, plan.copyBytes, torch, isHopper),
  )
  const list = specs(plan.sizes, plan.decodes, plan.contexts, plan.prefills).map((spec) => {
    const isLong = spec.op === 'attention' && spec.context > plan.maxContext
    const reason = isLong ? `the model has ${plan.maxContext} tokens of context` : undefined
    return { spec, times: { ours: [], peers: {}, reason } as Times }
  })
  for (let round = 0; round < ROUNDS; round++) {
    await taken.round()
    for (const { spec, times } of list) await measure(spec, times, ours, torch)
  }
  torch?.stop()
  const limits = taken.result()
  const cells = list.map(({ spec, times }) => cell(question(spec, ops), times, limits))
  return { peer: torch?.facts ?? 'none, as there is no GPU', limits, cells }
}

/** Nothing more once an op had a reason not to run. */
async function measure(spec: Spec, times: Times, ours: Ours, torch: Torch | undefined): Promise<void> {
  if (times.reason) return
  try {
    times.ours.push(ours.time(spec))
  } catch (error) {
    times.reason = (error as Error).message
    return
  }
  for (const [name, time] of Object.entries((await torch?.time(spec)) ?? {})) {
    times.peers[name] ??= []
    times.peers[name].push(time)
  }
}

function question(spec: Spec, { activations, device }: Ops): Question {
  const { bytes, operations } = floor(spec)
  const isInF32 = activations === 'f32' && spec.op !== 'gateUp' && spec.op !== 'expertsDown' // experts take bf16 everywhere
  return {
    ...{ group: GROUP, ...describe(spec), bytes },
    operations: isInF32 && total(operations) > 0 ? { f32: total(operations) } : operations,
    ...(device.startsWith('cuda') ? { predictedUs: predict(spec).us } : {}),
  }
}

function cell(asked: Question, { ours, peers, reason }: Times, limits: Limits): Cell {
  if (reason) return { ...asked, reason }
  const medians = Object.entries(peers).map(([name, times]) => [name, sample(times).median])
  return judge(asked, sample(ours).median, limits, Object.fromEntries(medians))
}
