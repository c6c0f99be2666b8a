/** Our ops against the device's own limits and against PyTorch, in turn. */
import { createOps } from '../../lib/ops'
import { sample } from '../measure'
import { digits, percent, type Table } from '../tables'
import { Ours } from './ours'
import { floor, M2, SMALL, type Spec, specs, title } from './specs'
import { Torch, type TorchTimes } from './torch'

const ROUNDS = 3
const COPY_BYTES = 2 ** 31
const MATRIX = 8192

interface Measured {
  spec: Spec
  ours: number[]
  peers: Record<string, number[]>
}

const median = (times: number[]): number => sample(times).median

/** `device`: "cuda", or "emulated" for a trial of the bench at small sizes, whose times mean nothing. */
export async function benchGpuOps(device: string): Promise<Table[]> {
  const real = device !== 'emulated'
  const ours = new Ours(createOps(device, 0), real ? 20 : 2)
  const torch = real ? await Torch.start() : undefined
  const list = real ? specs(M2, [1, 8, 16], [1024, 8192, 32_768], [512, 8192]) : specs(SMALL, [1, 2], [70], [40])
  const copies: number[] = []
  const matmuls: number[] = []
  const measured = list.map((spec): Measured => ({ spec, ours: [], peers: {} }))
  for (let round = 0; round < ROUNDS; round++) {
    copies.push(ours.copy(real ? COPY_BYTES : 2 ** 16))
    const { matmul } = (await torch?.time({ op: 'matmul', n: MATRIX })) ?? {}
    if (matmul) matmuls.push(matmul)
    for (const one of measured) {
      one.ours.push(ours.time(one.spec))
      keep(one.peers, (await torch?.time(one.spec)) ?? {})
    }
  }
  torch?.stop()
  const bandwidth = (2 * (real ? COPY_BYTES : 2 ** 16)) / median(copies) / 1e6 // TB/s, read and written
  const rate = matmuls.length > 0 ? (2 * MATRIX ** 3) / median(matmuls) / 1e6 : undefined // TFLOP/s
  return [limits(bandwidth, rate, torch), table(measured, bandwidth, rate)]
}

function keep(peers: Record<string, number[]>, times: TorchTimes): void {
  for (const [name, time] of Object.entries(times)) {
    peers[name] ??= []
    peers[name].push(time)
  }
}

function limits(bandwidth: number, rate: number | undefined, torch: Torch | undefined): Table {
  return {
    title: 'Limits',
    note: `Copying ${digits(COPY_BYTES / 2 ** 30)} GiB within the device, bytes read and written; a product of two bf16 matrices of ${MATRIX} x ${MATRIX} by PyTorch.`,
    columns: ['what', 'rate'],
    rows: [
      ['copy', `${digits(bandwidth)} TB/s`],
      ['matrix product', rate ? `${digits(rate)} TFLOP/s` : 'not measured'],
      ['peer', torch?.facts ?? 'none'],
    ],
  }
}

function table(measured: Measured[], bandwidth: number, rate: number | undefined): Table {
  return {
    title: 'Ops of one M2 layer',
    note: 'Weights are bf16 where nothing else is said, and the peer has them as bf16 always. The floor: the bytes that must move at the copy rate, or the operations at the matrix rate, whichever is longer. Medians over rounds in which each side had its turn.',
    columns: ['op', 'us', 'floor us', '% of floor', 'peer', 'peer us', 'ratio'],
    rows: measured.map(({ spec, ours, peers }) => {
      const { bytes, operations } = floor(spec)
      const least = Math.max(bytes / bandwidth / 1e6, rate ? operations / rate / 1e6 : 0)
      const own = median(ours)
      const best = Object.entries(peers).sort(([, a], [, b]) => median(a) - median(b))[0]
      const peer = best ? [best[0], digits(median(best[1])), digits(median(best[1]) / own)] : ['-', '-', '-']
      return [title(spec), digits(own), digits(least), percent(least / own), ...peer]
    }),
  }
}
