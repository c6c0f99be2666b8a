/**
 * What dropping earlier thinking costs, on the embedded model, which was trained to keep secrets there: secrets that it still knows, calls and answers of
 * tool loops, and how much of the prompts is found in the cache. "model" is the rule of M2's own template, which drops what was thought before the last user message;
 * the embedded model's template drops nothing, so it is given that rule.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type ChatMessage, type ChatToolCall, Engine, type KeepReasoning, type ToolDefinition } from '../lib/index'
import { percent, type Table } from './tables'

const NANO = path.join(__dirname, '../models/nano')
const KEPT: readonly KeepReasoning[] = ['always', 'model', 'never']
const PAGE_SIZE = 16

const KEYS = ['lamp', 'river', 'fountain', 'cherry', 'mirror', 'copper', 'engine', 'thunder', 'forest', 'planet']
const QUESTIONS = 5
const GREEDY = { temperature: 0, maxTokens: 256 }
const LOOKUP: ToolDefinition = {
  name: 'lookup',
  description: 'Look up the value of a key.',
  parameters: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
}

/** A conversation that was held, to be gone through again: each assistant message is asked for anew, in the light of those before it as they were. */
interface History {
  messages: readonly ChatMessage[]
  tools?: ToolDefinition[]
  /** From which message on answers are compared. */
  judgedFrom: number
}

/** Of histories that were gone through. */
interface Counts {
  same: number
  judged: number
  promptTokens: number
  cachedTokens: number
}

export async function benchThinking(): Promise<Table[]> {
  const dir = withRuleOfM2()
  try {
    const loops = await withEngine(dir, (engine) => Promise.all(KEYS.map((_, agent) => heldByAgent(engine, agent))))
    const rows: string[][] = []
    for (const kept of KEPT) {
      const counts = [
        await withEngine(dir, (engine) => goThrough(engine, secrets(), kept)),
        await withEngine(dir, (engine) => goThrough(engine, loops, kept)),
      ]
      const cells = counts.flatMap(({ same, judged, promptTokens, cachedTokens }) => {
        const computed = promptTokens - cachedTokens
        return [`${same} of ${judged}`, percent(cachedTokens / promptTokens, 1), `${computed} of ${promptTokens}`]
      })
      rows.push([kept, ...cells])
    }
    return [
      {
        title: 'What dropping earlier thinking costs',
        note:
          'Secrets: the held-out conversations of kind T4; known: right answers to the last question. Tool loops: ' +
          `${KEYS.length} agents, ${QUESTIONS} questions each, a lookup and an answer to each; same: calls and answers that are those which the model gave when ` +
          `all thinking was kept. All settings go through the same messages. Hit rate: cached of all prompt tokens, in pages of ${PAGE_SIZE}. ` +
          '"model" is the rule of M2\'s own template.',
        columns: [
          'keepReasoning',
          'secrets known',
          'hit rate',
          'computed',
          'tool turns the same',
          'hit rate',
          'computed',
        ],
        rows,
      },
    ]
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function withEngine<T>(dir: string, work: (engine: Engine) => Promise<T>): Promise<T> {
  const engine = await Engine.load(dir, { pageSize: PAGE_SIZE })
  try {
    return await work(engine)
  } finally {
    await engine.close()
  }
}

function secrets(): History[] {
  const lines = readFileSync(path.join(NANO, 'eval/heldout.jsonl'), 'utf8').trim().split('\n')
  return lines
    .map((line) => JSON.parse(line))
    .filter(({ kind }) => kind === 'T4')
    .map(({ messages, expected }) => {
      return { messages: [...messages, { role: 'assistant', content: expected }], judgedFrom: messages.length }
    })
}

/** What an agent and the model say to each other when all thinking is kept. */
async function heldByAgent(engine: Engine, agent: number): Promise<History> {
  const tools = [LOOKUP]
  const conversation = engine.conversation({ tools, keepReasoning: 'always', ...GREEDY })
  for (let question = 0; question < QUESTIONS; question++) {
    const key = KEYS[(agent + 3 * question) % KEYS.length]!
    const { toolCalls } = await conversation.send({ role: 'user', content: `Look up ${key}.` }).result()
    const content = String(1000 + 37 * agent + question)
    if (toolCalls.length === 0) throw new Error(`agent ${agent}: expected a call for ${key}, found none`)
    await conversation.send(toolCalls.map(({ id }) => ({ role: 'tool', tool_call_id: id, content }))).result()
  }
  return { messages: conversation.messages, tools, judgedFrom: 0 }
}

/** All histories at once. */
async function goThrough(engine: Engine, histories: History[], keepReasoning: KeepReasoning): Promise<Counts> {
  const counts = { same: 0, judged: 0, promptTokens: 0, cachedTokens: 0 }
  const one = async ({ messages, tools, judgedFrom }: History) => {
    for (const [i, message] of messages.entries()) {
      if (message.role !== 'assistant') continue
      const result = await engine.chat(messages.slice(0, i), { tools, keepReasoning, ...GREEDY }).result()
      counts.promptTokens += result.usage.promptTokens
      counts.cachedTokens += result.usage.cachedTokens
      if (i < judgedFrom) continue
      counts.judged++
      if (said(result.text, result.toolCalls) === said(message.content, message.tool_calls ?? [])) counts.same++
    }
  }
  await Promise.all(histories.map(one))
  return counts
}

/** What a message says, without its thinking and the ids of its calls. */
function said(content: ChatMessage['content'], calls: readonly ChatToolCall[]): string {
  return JSON.stringify([
    content,
    calls.map((call) => ('function' in call ? call.function : { name: call.name, arguments: call.arguments })),
  ])
}

/** A copy of the embedded model whose template drops the thinking before the last user message, as M2's does. */
function withRuleOfM2(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'm2-thinking-'))
  cpSync(NANO, dir, { recursive: true })
  const file = path.join(dir, 'chat_template.jinja')
  const loop = '{%- for m in turns -%}'
  const thinking = '{%- if m.reasoning_content -%}'
  const [before, after, ...others] = readFileSync(file, 'utf8').split(loop)
  if (after?.split(thinking).length !== 2 || others.length > 0) throw new Error(`${file}: expected another template`)
  const find = `${loop}{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}`
  const rule = after.replace(thinking, '{%- if m.reasoning_content and loop.index0 > ns.last -%}')
  writeFileSync(file, `${before}{%- set ns = namespace(last=-1) -%}${find}${loop}${rule}`)
  return dir
}
