/** The embedded model from end to end: tokens per second alone and in company, prefill, and how long the device waits between steps. */
import { Engine } from '../lib/index'
import { native, type StepResult } from '../lib/native'
import { quantile, type Sample, takeTurns } from './measure'
import { digits, percent, type Table } from './tables'

const ROUNDS = 7
const PROMPT = 64 // tokens
const GENERATED = 256
const LONG_PROMPT = 896
const SEQUENCES = [1, 8, 64]

/** When a native step ran, in microseconds of the core's clock. */
type Step = Pick<StepResult, 'startedAt' | 'endedAt'>

/** Of the decode steps of all rounds. */
interface Watched {
  /** Microseconds between the end of a step and the start of the next. */
  gaps: number[]
  /** Microseconds in steps, and from the start of the first to the end of the last. */
  inside: number
  wall: number
}

export async function benchEngine(): Promise<Table> {
  const steps = watchSteps()
  const engine = await Engine.load(undefined, { prefixCache: false })
  const watched = SEQUENCES.map((): Watched => ({ gaps: [], inside: 0, wall: 0 }))
  try {
    const decodes = SEQUENCES.map((count, i) => [`${count}`, () => decode(engine, count, steps, watched[i]!)])
    const times = await takeTurns({ ...Object.fromEntries(decodes), prefill: () => prefill(engine) }, ROUNDS)
    return {
      title: 'The embedded model',
      note:
        'Between steps: microseconds from the end of a native step to the start of the next, while all sequences decode. ' +
        'In steps: the share of the time that the core was at work; the rest is what the engine costs.',
      columns: ['work', 'tokens/s', 'ms', 'between steps, median', '99th percentile', 'in steps'],
      rows: [
        ...SEQUENCES.map((count, i) => {
          const { gaps, inside, wall } = watched[i]!
          const sorted = gaps.toSorted((a, b) => a - b)
          const name = `decode, ${count} sequence${count > 1 ? 's' : ''} of ${GENERATED}`
          return [
            ...speed(name, count * (GENERATED - 1), times[`${count}`]!),
            digits(quantile(sorted, 0.5)),
            digits(quantile(sorted, 0.99)),
            percent(inside / wall, 1),
          ]
        }),
        [...speed(`prefill, ${LONG_PROMPT} tokens`, LONG_PROMPT, times.prefill!), '-', '-', '-'],
      ],
    }
  } finally {
    await engine.close()
  }
}

const speed = (name: string, tokens: number, { median, spread }: Sample): string[] => [
  name,
  digits((1e6 * tokens) / median),
  `${digits(median / 1000)} ±${spread.toFixed(0)} %`,
]

/** Microseconds from the moment that all sequences have their first token until the last one ends. */
async function decode(engine: Engine, sequences: number, steps: Step[], watched: Watched): Promise<number> {
  const generations = Array.from({ length: sequences }, () =>
    engine.generate(randomIds(PROMPT), { maxTokens: GENERATED, temperature: 0, ignoreEos: true }),
  )
  const streams = generations.map((generation) => generation[Symbol.asyncIterator]())
  await Promise.all(streams.map((stream) => stream.next()))
  steps.length = 0
  const start = performance.now()
  await Promise.all(generations.map((generation) => generation.result()))
  const wall = 1000 * (performance.now() - start)
  for (let i = 1; i < steps.length; i++) watched.gaps.push(steps[i]!.startedAt - steps[i - 1]!.endedAt)
  for (const { startedAt, endedAt } of steps) watched.inside += endedAt - startedAt
  watched.wall += steps.at(-1)!.endedAt - steps[0]!.startedAt
  return wall
}

async function prefill(engine: Engine): Promise<number> {
  const { timing } = await engine.generate(randomIds(LONG_PROMPT), { maxTokens: 1, temperature: 0 }).result()
  return 1000 * timing.prefillMs
}

const randomIds = (count: number): number[] => Array.from({ length: count }, () => 8 + Math.floor(1400 * Math.random()))

/** Stands in front of the native door for the next model, so that the engine that is measured is the one that ships. */
function watchSteps(): Step[] {
  const steps: Step[] = []
  const door = native()
  const { loadModel } = door
  door.loadModel = async (options, onProgress) => {
    door.loadModel = loadModel
    const model = await loadModel.call(door, options, onProgress)
    const forward = model.forward.bind(model)
    model.forward = async (batch) => {
      const result = await forward(batch)
      steps.push(result)
      return result
    }
    return model
  }
  return steps
}
