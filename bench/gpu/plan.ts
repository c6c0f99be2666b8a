/** What is measured on which device. A CPU gets the cells of a GPU on the embedded model; "emulated" a few small ones, to see that the GPU's way works. */
import { EMBEDDED_MODEL } from '../../lib/embedded-model'
import { readCheckpoint } from '../../lib/model/checkpoint'
import { loadConfig } from '../../lib/model/config'
import { holdWeights } from '../../lib/model/held-weights'
import { planWeights } from '../../lib/model/weights'
import { native } from '../../lib/native'
import { type Ask, largestThatFits, type Variant } from './memory'
import { M2, type Sizes, SMALL } from './specs'

export interface Plan {
  device: string
  ops: {
    sizes: Sizes
    /** Tokens that a sequence of the model can have. */
    maxContext: number
    /** Runs of an op in one measurement. */
    repeats: number
    /** Bytes of the copy that gives a GPU's bandwidth. */
    copyBytes: number
    decodes: number[]
    contexts: number[]
    prefills: number[]
  }
  /** Tokens of the largest step, and decode steps of one measurement. */
  stepTokens: number
  steps: number
  asks: Ask[]
  variants: Variant[]
}

/** What is timed of the ops, on a GPU and on a CPU. */
export const OPS = { repeats: 20, decodes: [1, 8, 16], contexts: [1024, 8192, 32_768], prefills: [512, 8192] }
const ASKS = asks([1024, 8192, 32_768, 131_072], [1, 4, 8, 16], [512, 100_000], 512)
const M2_LAYERS = 62

/** M2_BENCH_DEVICE, else the first GPU that can be used, else the CPU. */
export async function chooseDevice(): Promise<string> {
  const { devices } = await native().cudaProbe()
  return process.env.M2_BENCH_DEVICE ?? devices.find(({ usable }) => usable)?.device ?? 'cpu'
}

export async function planFor(device: string): Promise<Plan> {
  if (device === 'cpu') return planOfCpu()
  if (device === 'emulated') return planOfEmulated()
  return planOfGpu(device, (await native(device).deviceMemory(device)).free)
}

/** `free`: bytes of its memory. */
export function planOfGpu(device: string, free: number): Plan {
  const common = { device, stepTokens: 8192, steps: 32, asks: ASKS }
  const whole: Variant = {
    name: `M2, ${M2_LAYERS} layers: int4 experts, FP8 attention and KV`,
    geometry: geometry(M2, M2_LAYERS),
    maxContext: 196_608,
    formats: { head: 'bf16', attention: 'fp8', experts: 'int4' },
    kvDtype: 'fp8',
    weights: 'random',
  }
  const rounded: Variant = {
    ...whole,
    name: `M2, ${M2_LAYERS} layers: int4 experts, FP8 attention and KV, rows in FP8`,
    formats: { head: 'bf16', attention: 'fp8Fp8', experts: 'int4Fp8' },
  }
  const cut = (layers: number): Variant => ({
    ...whole,
    name: `M2, ${layers} of its ${M2_LAYERS} layers: all in bf16`,
    geometry: geometry(M2, layers),
    formats: { head: 'bf16', attention: 'bf16', experts: 'bf16' },
    kvDtype: 'bf16',
  })
  const layers = largestThatFits(cut, M2_LAYERS, common, 0.95 * free) // what memory is lost between allocations
  return {
    ...common,
    ops: { ...OPS, sizes: M2, maxContext: whole.maxContext, copyBytes: 2 ** 31 },
    variants: [whole, rounded, cut(layers)],
  }
}

async function planOfCpu(): Promise<Plan> {
  const config = await loadConfig(EMBEDDED_MODEL)
  const { table, stored } = planWeights(config, await readCheckpoint(EMBEDDED_MODEL))
  const { held } = holdWeights(config, stored, 'cpu', { weightDtype: 'bf16' })
  const maxContext = config.maxPositionEmbeddings
  return {
    ...{ device: 'cpu', stepTokens: 512, steps: 32, asks: ASKS },
    ops: { ...OPS, repeats: 4, sizes: { ...config, page: M2.page }, maxContext, copyBytes: 0 },
    variants: [
      {
        ...{ name: 'The embedded model: all in bf16', geometry: config, maxContext, kvDtype: 'bf16' },
        formats: { head: 'bf16', attention: 'bf16', experts: 'bf16' },
        weights: { ...table, held },
      },
    ],
  }
}

function planOfEmulated(): Plan {
  return {
    ...{ device: 'emulated', stepTokens: 64, steps: 4, asks: asks([100], [1, 2], [64], 36) },
    ops: {
      ...{ sizes: SMALL, maxContext: Number.POSITIVE_INFINITY, repeats: 2, copyBytes: 2 ** 16 },
      ...{ decodes: [1, 2], contexts: [70], prefills: [40] },
    },
    variants: [
      {
        ...{ name: 'A small model, emulated: times mean nothing', geometry: geometry(SMALL, 2), maxContext: 128 },
        ...{ kvDtype: 'fp8', formats: { head: 'bf16', attention: 'fp8', experts: 'int4' }, weights: 'random' },
      },
    ],
  }
}

const geometry = (sizes: Sizes, layers: number) => ({
  ...{ ...sizes, layers, rotaryDim: sizes.headDim / 2, ropeTheta: 5e6, rmsNormEps: 1e-6 },
})

/** Prefill and decode at each context, and `more` tokens behind cached ones. */
function asks(contexts: number[], sequences: number[], prefixes: number[], more: number): Ask[] {
  return [
    ...contexts.flatMap((context): Ask[] => [
      { sequences: 1, context, computed: context },
      ...sequences.map((count) => ({ sequences: count, context, computed: 1 })),
    ]),
    ...prefixes.map((prefix) => ({ sequences: 1, context: prefix + more, computed: more })),
  ]
}
