/** The embedded model from end to end: tokens per second alone and in company, prefill, and the time of a step that is not the core's. */
import { Engine } from '../lib/index'
import { native } from '../lib/native'
import { sample, takeTurns } from './measure'
import { digits, type Table } from './tables'

const ROUNDS = 7
const PROMPT = 64 // tokens
const GENERATED = 256
const LONG_PROMPT = 896

/** Steps of the native model, counted where they cross the door. */
interface Steps {
  count: number
  /** Microseconds inside the core. */
  inside: number
}

export async function benchEngine(): Promise<Table> {
  const steps = watchSteps()
  const engine = await Engine.load(undefined, { prefixCache: false })
  try {
    const outside: Record<'alone' | 'eight', number[]> = { alone: [], eight: [] }
    const times = await takeTurns(
      {
        alone: () => decode(engine, 1, steps, outside.alone),
        eight: () => decode(engine, 8, steps, outside.eight),
        prefill: () => prefill(engine),
      },
      ROUNDS,
    )
    const row = (what: string, tokens: number, time: { median: number; spread: number }, other = '-') => [
      what,
      digits((1e6 * tokens) / time.median),
      `${digits(time.median / 1000)} ±${time.spread.toFixed(0)} %`,
      other,
    ]
    return {
      title: 'The embedded model',
      note: 'Outside the core: wall time of a decode step less the time inside native forward, per step.',
      columns: ['work', 'tokens/s', 'ms', 'us per step outside the core'],
      rows: [
        row(`decode, 1 sequence of ${GENERATED}`, GENERATED - 1, times.alone, digits(sample(outside.alone).median)),
        row(
          `decode, 8 sequences of ${GENERATED}`,
          8 * (GENERATED - 1),
          times.eight,
          digits(sample(outside.eight).median),
        ),
        row(`prefill, ${LONG_PROMPT} tokens`, LONG_PROMPT, times.prefill),
      ],
    }
  } finally {
    await engine.close()
  }
}

/** Microseconds from the moment that all sequences have their first token until the last one ends. */
async function decode(engine: Engine, sequences: number, steps: Steps, outside: number[]): Promise<number> {
  const generations = Array.from({ length: sequences }, () =>
    engine.generate(randomIds(PROMPT), { maxTokens: GENERATED, temperature: 0, ignoreEos: true }),
  )
  const streams = generations.map((generation) => generation[Symbol.asyncIterator]())
  await Promise.all(streams.map((stream) => stream.next()))
  const before = { ...steps }
  const start = performance.now()
  await Promise.all(generations.map((generation) => generation.result()))
  const wall = 1000 * (performance.now() - start)
  outside.push((wall - (steps.inside - before.inside)) / (steps.count - before.count))
  return wall
}

async function prefill(engine: Engine): Promise<number> {
  const { timing } = await engine.generate(randomIds(LONG_PROMPT), { maxTokens: 1, temperature: 0 }).result()
  return 1000 * timing.prefillMs
}

const randomIds = (count: number): number[] => Array.from({ length: count }, () => 8 + Math.floor(1400 * Math.random()))

/** Stands in front of the native door, so that the engine that is measured is the one that ships. */
function watchSteps(): Steps {
  const steps = { count: 0, inside: 0 }
  const door = native()
  const loadModel = door.loadModel.bind(door)
  door.loadModel = async (options, onProgress) => {
    const model = await loadModel(options, onProgress)
    const forward = model.forward.bind(model)
    model.forward = async (batch) => {
      const result = await forward(batch)
      steps.count++
      steps.inside += result.endedAt - result.startedAt
      return result
    }
    return model
  }
  return steps
}
