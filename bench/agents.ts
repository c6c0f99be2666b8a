/**
 * Traffic as agents make it, on the embedded model: users who share a system prompt with tools, each in a loop of sampled turn and tool result. The
 * history grows by ids alone, as in `engine.conversation()`; what the tools answer is invented, and a turn has a fixed length, so that the
 * traffic is the same whatever the small model says.
 */
import { Engine, renderChat } from '../lib/index'
import type { Tokenizer } from '../lib/text/tokenizer'
import { quantile } from './measure'
import { digits, percent, type Table } from './tables'

const ROUNDS = 3
const USERS = 32
const TURNS = 8
const TURN_TOKENS = 24

const TOOLS = [
  ['read_file', 'Read a file of the project', { path: 'string' }],
  ['write_file', 'Write a file of the project', { path: 'string', text: 'string' }],
  ['search', 'Search the project for a text', { query: 'string' }],
  ['run_tests', 'Run the tests', { filter: 'string' }],
] as const

interface Setting {
  name: string
  prefixCache: boolean
  pageSize: number
}

const SETTINGS: readonly Setting[] = [
  { name: 'off', prefixCache: false, pageSize: 64 },
  { name: 'on, pages of 64', prefixCache: true, pageSize: 64 },
  { name: 'on, pages of 16', prefixCache: true, pageSize: 16 },
]

/** What all rounds of a setting saw. */
interface Seen {
  promptTokens: number
  cachedTokens: number
  /** Milliseconds. */
  firstToken: number[]
  turn: number[]
  wall: number[]
}

export async function benchAgents(): Promise<Table[]> {
  const seen = SETTINGS.map((): Seen => ({ promptTokens: 0, cachedTokens: 0, firstToken: [], turn: [], wall: [] }))
  const answers = new Set<string>()
  let longest = 0
  for (let round = -1; round < ROUNDS; round++) {
    for (const [i, setting] of SETTINGS.entries()) {
      const fresh: Seen = { promptTokens: 0, cachedTokens: 0, firstToken: [], turn: [], wall: [] }
      const histories = await runUsers(setting, round < 0 ? fresh : seen[i]!)
      answers.add(JSON.stringify(histories))
      longest = Math.max(longest, ...histories.map((history) => history.length))
    }
  }
  if (answers.size > 1) throw new Error('the prefix cache changed the tokens')
  const generated = USERS * TURNS * TURN_TOKENS
  return [
    {
      title: `${USERS} agents at once, ${TURNS} tool turns each`,
      note:
        `One system prompt with ${TOOLS.length} tools; ${TURN_TOKENS} tokens are sampled in a turn, then a tool answers; histories end at ${longest} tokens. ` +
        'All settings give the same tokens. Hit rate: cached of all prompt tokens.',
      columns: [
        'prefix cache',
        'hit rate',
        'first token, median ms',
        '95th percentile',
        'turn, median ms',
        'tokens/s',
        'all, s',
      ],
      rows: SETTINGS.map(({ name }, i) => {
        const { promptTokens, cachedTokens, firstToken, turn, wall } = seen[i]!
        const [first, turns, walls] = [firstToken, turn, wall].map((times) => times.toSorted((a, b) => a - b))
        return [
          name,
          percent(cachedTokens / promptTokens, 1),
          digits(quantile(first!, 0.5)),
          digits(quantile(first!, 0.95)),
          digits(quantile(turns!, 0.5)),
          digits((1000 * generated) / quantile(walls!, 0.5)),
          digits(quantile(walls!, 0.5) / 1000),
        ]
      }),
    },
  ]
}

/** Runs all users to their end on a fresh engine: their ids. */
async function runUsers({ prefixCache, pageSize }: Setting, seen: Seen): Promise<number[][]> {
  const engine = await Engine.load(undefined, { prefixCache, pageSize })
  try {
    const start = performance.now()
    const histories = await Promise.all(Array.from({ length: USERS }, (_, user) => runUser(engine, user, seen)))
    seen.wall.push(performance.now() - start)
    return histories
  } finally {
    await engine.close()
  }
}

async function runUser(engine: Engine, user: number, seen: Seen): Promise<number[]> {
  const tokenizer = engine.tokenizer!
  let ids = [...firstPrompt(tokenizer, user)]
  for (let turn = 0; turn < TURNS; turn++) {
    const start = performance.now()
    const options = { maxTokens: TURN_TOKENS, ignoreEos: true, seed: user, temperature: 1 }
    const { tokenIds, usage, timing } = await engine.generate(ids, options).result()
    seen.turn.push(performance.now() - start)
    seen.firstToken.push(timing.firstTokenMs)
    seen.promptTokens += usage.promptTokens
    seen.cachedTokens += usage.cachedTokens
    ids = [...ids, ...tokenIds, ...toolAnswer(tokenizer, user, turn)]
  }
  return ids
}

function firstPrompt(tokenizer: Tokenizer, user: number): Int32Array {
  const tools = TOOLS.map(([name, description, parameters]) => {
    const properties = Object.fromEntries(Object.entries(parameters).map(([key, type]) => [key, { type }]))
    const schema = { type: 'object', properties, required: Object.keys(parameters) }
    return { type: 'function' as const, function: { name, description, parameters: schema } }
  })
  const messages = [
    { role: 'system' as const, content: 'You are a careful programmer. Look before you change anything.' },
    { role: 'user' as const, content: `Task ${user}: find out why test ${7 * user + 3} fails.` },
  ]
  return tokenizer.encode(renderChat(messages, { tools }), { special: true })
}

function toolAnswer(tokenizer: Tokenizer, user: number, turn: number): Int32Array {
  const found = `line ${31 * user + turn}: expected ${turn}, found ${user}`
  return tokenizer.encode(`[e~[\n]~b]tool\n<response>${found}</response>[e~[\n]~b]ai\n<think>\n`, { special: true })
}
