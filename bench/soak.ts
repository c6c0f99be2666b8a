/**
 * 10,000 short requests of every kind, with aborts and slow readers: every one must end, every page must come back, and memory must not grow.
 * Takes minutes, so it runs only when it is named. Resident memory is read after a garbage collection, so that it shows what is held.
 */
import { setTimeout as wait } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import { Engine, type GenerateOptions, type Generation } from '../lib/index'
import { Random } from '../test/reference/random'
import { digits, type Table } from './tables'

const REQUESTS = 10_000
const AT_ONCE = 64
const MOST_GROWTH = 5e6 // bytes
/** Tokens that no reader has taken yet, at which lib/generation halts a sample. */
const HALTED_AT = 256
const HALTED = 'halted'

const SHARED = Array.from({ length: 96 }, (_, i) => 8 + ((i * 37) % 1400))

/** How requests ended, and what was done to them. */
type Counts = Record<string, number>

export async function benchSoak(): Promise<Table[]> {
  const collect = collector()
  const random = new Random(1)
  const counts: Counts = {}
  // A small cache, so that it is full early and pages are evicted all the time.
  const engine = await Engine.load(undefined, { kvMemory: '4MiB', pageSize: 16, maxQueue: AT_ONCE })
  const rows: string[][] = []
  await settledMemory(collect) // what the TypeScript compiler has left of reading these sources would hide a growth
  const resident: number[] = []
  try {
    for (let thousand = 1; thousand <= REQUESTS / 1000; thousand++) {
      const start = performance.now()
      await atOnce(1000, AT_ONCE, () => request(engine, random, counts))
      const seconds = (performance.now() - start) / 1000
      resident.push(await settledMemory(collect))
      const { pages, sequences } = engine.stats()
      rows.push([
        `${thousand},000`,
        digits(resident.at(-1)! / 1e6),
        digits(seconds),
        `${pages.free} + ${pages.cached} + ${pages.private} = ${pages.total}`,
      ])
      console.error(rows.at(-1)!.join('  '))
      if (
        pages.private !== 0 ||
        pages.free + pages.cached !== pages.total ||
        sequences.running + sequences.waiting > 0
      ) {
        throw new Error(
          `after ${thousand},000 requests: expected an idle engine, found ${JSON.stringify({ pages, sequences })}`,
        )
      }
    }
  } finally {
    await engine.close()
  }
  const ended = Object.values(counts).reduce((sum, count) => sum + count, 0)
  if (ended !== REQUESTS) throw new Error(`expected ${REQUESTS} requests to end, found ${ended}`)
  if (!Object.keys(counts).some((how) => how.startsWith(HALTED))) throw new Error('expected a slow reader to be halted')
  const growth = resident.at(-1)! - resident[0]!
  if (Math.abs(growth) > MOST_GROWTH) {
    throw new Error(
      `expected memory within ${MOST_GROWTH / 1e6} MB of the first thousand's, found ${digits(growth / 1e6)} MB more`,
    )
  }
  return [
    {
      title: `${REQUESTS} requests, ${AT_ONCE} at once`,
      note: `Growth from the first thousand to the last: ${(growth / 1e6).toFixed(1)} MB. How they ended: ${Object.entries(
        counts,
      )
        .map(([how, count]) => `${how} ${count}`)
        .join(', ')}.`,
      columns: ['after', 'resident, MB', 'seconds', 'pages: free + cached + private'],
      rows,
    },
  ]
}

async function request(engine: Engine, random: Random, counts: Counts): Promise<void> {
  const own = Array.from({ length: 1 + random.integer(40) }, () => 8 + random.integer(1400))
  const prompt = random.integer(2) === 0 ? own : [...SHARED.slice(0, random.integer(97)), ...own]
  const options: GenerateOptions = { maxTokens: 1 + random.integer(24), temperature: random.integer(2) }
  if (random.integer(10) === 0) options.n = 2
  if (random.integer(10) === 0) options.logprobs = 3
  if (random.integer(10) === 0) options.presencePenalty = 0.5
  if (random.integer(10) === 0) options.cacheSalt = 'a'
  if (random.integer(10) === 0) options.priority = 1
  if (random.integer(10) === 0) options.deadlineMs = random.integer(100)
  const how = await [readAll, readSlowly, leave, abort, signal, ask][random.integer(6)]!(
    engine,
    prompt,
    options,
    random,
  )
  counts[how] = (counts[how] ?? 0) + 1
}

type Use = (engine: Engine, prompt: number[], options: GenerateOptions, random: Random) => Promise<string>

const ended = async (generation: Generation): Promise<string> => (await generation.result()).finishReason

const ask: Use = (engine, prompt, options) => ended(engine.generate(prompt, options))

const readAll: Use = async (engine, prompt, options) => {
  const generation = engine.generate(prompt, options)
  for await (const _ of generation);
  return ended(generation)
}

const readSlowly: Use = async (engine, prompt, options, random) => {
  if (random.integer(20) === 0) return fallBehind(engine, prompt, options)
  const generation = engine.generate(prompt, options)
  for await (const _ of generation) await wait(random.integer(20))
  return ended(generation)
}

/** A long answer whose reader sleeps until the sample is halted: for more steps than tokens may wait, or until nothing runs any more. */
async function fallBehind(engine: Engine, prompt: number[], options: GenerateOptions): Promise<string> {
  const generation = engine.generate(prompt, { ...options, maxTokens: 600, ignoreEos: true, deadlineMs: 60_000, n: 1 })
  let most = 0
  for await (const { tokenIds } of generation) {
    most = Math.max(most, tokenIds.length)
    const awake = engine.stats().steps + 2 * HALTED_AT
    while (most < HALTED_AT && engine.stats().steps < awake && engine.stats().sequences.running > 0) await wait(5)
  }
  return `${most < HALTED_AT ? '' : `${HALTED}, `}${await ended(generation)}`
}

const leave: Use = async (engine, prompt, options, random) => {
  const generation = engine.generate(prompt, options)
  let left = random.integer(5)
  for await (const _ of generation) if (left-- === 0) break
  return ended(generation)
}

const abort: Use = async (engine, prompt, options, random) => {
  const generation = engine.generate(prompt, options)
  await wait(random.integer(30))
  generation.abort()
  return ended(generation)
}

const signal: Use = async (engine, prompt, options, random) => {
  const controller = new AbortController()
  const generation = engine.generate(prompt, { ...options, signal: controller.signal })
  await wait(random.integer(30))
  controller.abort()
  return ended(generation)
}

/** Starts `count` of these works, no more than `most` at a time. */
async function atOnce(count: number, most: number, work: () => Promise<void>): Promise<void> {
  let left = count
  const worker = async () => {
    while (left-- > 0) await work()
  }
  await Promise.all(Array.from({ length: most }, worker))
}

/** Resident bytes once V8 has given back what it no longer needs: it does so in part after a collection, on threads of its own. */
async function settledMemory(collect: () => void): Promise<number> {
  for (let i = 0; i < 3; i++) {
    collect()
    await wait(200)
  }
  return process.memoryUsage.rss()
}

function collector(): () => void {
  v8.setFlagsFromString('--expose-gc')
  return vm.runInNewContext('gc')
}
