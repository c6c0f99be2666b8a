/** What users of other engines complain about, line by line: tool calls and thinking, through the engine. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import type { Chunk, Generation } from '../../lib/generation'
import type { ChatMessage } from '../../lib/text/messages'
import { type ChatTemplate, chooseTemplate, loadChatTemplate } from '../../lib/text/template'
import { Tokenizer } from '../../lib/text/tokenizer'
import type { ToolDefinition } from '../../lib/text/tools'
import { sumOf } from '../text/output-sums'
import { toldEngine } from './told-engine'

let tokenizer: Tokenizer
const templates: Record<string, ChatTemplate> = {}
beforeAll(async () => {
  tokenizer = await Tokenizer.load('models/nano')
  const text = readFileSync('test/text/fixtures/m2_chat_template.jinja', 'utf8')
  templates.m2 = chooseTemplate({ text, file: 'chat_template.jinja', variables: {} })
  templates.nano = await loadChatTemplate('models/nano')
})

const user = (content: string): ChatMessage => ({ role: 'user', content })
const TOOLS: ToolDefinition[] = [{ name: 'note', parameters: { properties: { text: { type: 'string' } } } }]
const CALL = '<invoke name="note">\n<parameter name="text">Hello "Ann"</parameter>\n</invoke>\n'
const THINKING = 'I take notes.\n</think>\n\n'
const CALLS = `${THINKING}\n<minimax:tool_call>\n${CALL}${CALL}</minimax:tool_call>`

async function read(generation: Generation): Promise<Chunk[]> {
  const chunks: Chunk[] = []
  for await (const chunk of generation) chunks.push(chunk)
  return chunks
}

/** What the model says to one user message, its chunks and its result; the chunks must add up to the result. */
async function answer(said: string | readonly number[], options: object = {}) {
  const { engine, say } = toldEngine(tokenizer, templates.nano!)
  say(typeof said === 'string' ? `${said}[e~[` : said)
  const generation = engine.chat([user('Hi')], { temperature: 0, tools: TOOLS, ...options })
  const chunks = await read(generation)
  const result = await generation.result()
  const { reasoning, text, toolCalls } = result
  expect(sumOf(chunks)).toEqual({ reasoning, text, toolCalls })
  return { chunks, result }
}

describe('tool calls of an engine', () => {
  it('are detected by token id: what only looks like a tag is content', async () => {
    const spelled = tokenizer.encode(`a</think>b`, { special: false })
    const { result } = await answer([...spelled, ...tokenizer.encode(`${THINKING}<think>[e~[`)])
    expect(result).toMatchObject({ reasoning: 'a</think>bI take notes.', text: '<think>', finishReason: 'stop' })
    const block = tokenizer.encode(CALLS.slice(THINKING.length), { special: false })
    const shown = (await answer([...tokenizer.encode(THINKING), ...block, 3])).result
    expect(shown).toMatchObject({ text: CALLS.slice(THINKING.length), toolCalls: [], finishReason: 'stop' })
  })

  it('come in the stream with id and name first, then in fragments, strings as they are written', async () => {
    const { chunks, result } = await answer(CALLS)
    expect(result.toolCalls).toMatchObject([1, 2].map(() => ({ name: 'note', arguments: { text: 'Hello "Ann"' } })))
    const deltas = chunks.flatMap((chunk) => chunk.toolCalls ?? [])
    expect(deltas.filter((delta) => delta.index === 0).length).toBeGreaterThan(4)
    expect(deltas[0]).toEqual({ index: 0, id: result.toolCalls[0]!.id, name: 'note', arguments: '' })
  })

  it('are whole where nobody reads the stream until the end', async () => {
    const { engine, say } = toldEngine(tokenizer, templates.nano!)
    say(`${CALLS}[e~[`)
    const generation = engine.chat([user('Hi')], { temperature: 0, tools: TOOLS })
    const { toolCalls } = await generation.result()
    const [chunk, ...others] = await read(generation)
    expect(others).toEqual([])
    expect(chunk!.toolCalls).toEqual(
      toolCalls.map((call, index) => ({ index, ...call, arguments: JSON.stringify(call.arguments) })),
    )
  })

  it('are the reason why an answer ended', async () => {
    expect((await answer(CALLS)).result.finishReason).toBe('tool_calls')
    expect((await answer(`${CALLS}And text.`)).result).toMatchObject({ finishReason: 'tool_calls', text: 'And text.' })
    expect((await answer('a\n</think>\n\nb')).result.finishReason).toBe('stop')
  })

  it('that are cut off are whole JSON with what there is, and the reason is the length', async () => {
    const maxTokens = tokenizer.encode(CALLS.slice(0, CALLS.lastIndexOf(' "Ann'))).length
    const { result } = await answer(CALLS, { maxTokens })
    expect(result).toMatchObject({
      finishReason: 'length',
      toolCalls: [{ arguments: { text: 'Hello "Ann"' } }, { arguments: { text: 'Hello' } }],
    })
  })

  it('of unknown tools are calls', async () => {
    const { result } = await answer(CALLS.replaceAll('note', 'no_such_tool'), { tools: [] })
    expect(result).toMatchObject({
      text: '',
      finishReason: 'tool_calls',
      toolCalls: [{ name: 'no_such_tool' }, { name: 'no_such_tool' }],
    })
  })

  it('are not cut by stop strings, which are looked for in the text alone', async () => {
    const { result } = await answer(CALLS, { stop: ['Hello', 'notes', 'invoke'] })
    expect(result).toMatchObject({ finishReason: 'tool_calls', toolCalls: [{ name: 'note' }, { name: 'note' }] })
  })

  it('in the beginning that a caller wrote are text', async () => {
    const { result } = await answer('b', { thinking: false, prefill: '<think><minimax:tool_call>a' })
    expect(result).toMatchObject({ reasoning: '', text: '<think><minimax:tool_call>ab', toolCalls: [] })
  })
})

describe('thinking of an engine', () => {
  it('begins without an opening tag, is apart from the content, and is counted', async () => {
    const { result } = await answer('I see.\n</think>\n\nHello.')
    expect(result).toMatchObject({ reasoning: 'I see.', text: 'Hello.' })
    expect(result.usage.reasoningTokens).toBe(tokenizer.encode('I see.\n').length)
    const spelled = [...tokenizer.encode('a</think>', { special: false })]
    const all = (await answer([...spelled, tokenizer.idOf('</think>')!, 3])).result
    expect(all.usage.reasoningTokens).toBe(spelled.length)
  })

  it('is inline on request', async () => {
    const { result } = await answer('I see.\n</think>\n\nHello.', { reasoning: 'inline' })
    expect(result).toMatchObject({ reasoning: '', text: '<think>\nI see.\n</think>\n\nHello.' })
  })

  it('can be closed before it begins', async () => {
    const { result } = await answer('Hello.', { thinking: false })
    expect(tokenizer.decode(result.promptTokenIds)).toMatch(/\]~b\]ai\n<think>\n\n<\/think>\n\n$/)
    expect(result).toMatchObject({ reasoning: '', text: 'Hello.', usage: { reasoningTokens: 0 } })
  })

  it.each(['m2', 'nano'])(
    'is kept through the tool loop, id for id, where every request brings the whole conversation: %s',
    async (name) => {
      const { engine, say } = toldEngine(tokenizer, templates[name]!)
      const messages: ChatMessage[] = [user('Take two notes.')]
      const options = { temperature: 0, tools: TOOLS }
      let before: number[] = []
      for (const said of [
        CALLS,
        `Again.\n</think>\n\nOne more.\n<minimax:tool_call>\n${CALL}</minimax:tool_call>`,
        'Good.\n</think>\n\nDone.',
      ]) {
        say(`${said}[e~[`)
        const { reasoning, text, toolCalls, ...result } = await engine.chat(messages, options).result()
        expect(result.promptTokenIds.slice(0, before.length)).toEqual(before)
        expect(before.length - result.usage.cachedTokens).toBeLessThanOrEqual(4) // a page
        before = [...result.promptTokenIds, ...result.tokenIds]
        messages.push({
          role: 'assistant',
          content: text,
          reasoning_content: reasoning,
          tool_calls: toolCalls.map(({ id, ...fn }) => ({
            id,
            type: 'function',
            function: { ...fn, arguments: JSON.stringify(fn.arguments) },
          })),
        })
        messages.push(...toolCalls.map(({ id }): ChatMessage => ({ role: 'tool', tool_call_id: id, content: 'noted' })))
      }
      say('x[e~[')
      const { promptTokenIds } = await engine.chat([...messages, user('Thanks.')], options).result()
      const kept = tokenizer.decode(promptTokenIds).match(/I take notes\.|Again\.|Good\./g)
      expect(kept).toEqual(name === 'nano' ? ['I take notes.', 'Again.', 'Good.'] : null)
    },
  )
})

describe('the embedded model', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.load()
  })
  afterAll(() => engine.close())

  it('recomputes nothing of a tool loop whose client sends the whole conversation', async () => {
    const parameters = { type: 'object', properties: { target: { type: 'string' } }, required: ['target'] }
    const tools: ToolDefinition[] = [
      { type: 'function', function: { name: 'book_record', description: 'Book a record.', parameters } },
    ]
    const messages = [user('Book the record fountain. Book the record cherry.')]
    const first = await engine.chat(messages, { tools, temperature: 0 }).result()
    expect(first.toolCalls).toHaveLength(2)
    messages.push({ role: 'assistant', content: first.text, reasoning: first.reasoning, tool_calls: first.toolCalls })
    messages.push(...first.toolCalls.map(({ id }): ChatMessage => ({ role: 'tool', tool_call_id: id, content: 'ok' })))
    const second = await engine.chat(messages, { tools, temperature: 0 }).result()
    const before = [...first.promptTokenIds, ...first.tokenIds]
    expect(second.promptTokenIds.slice(0, before.length)).toEqual(before)
    expect(second.finishReason).toBe('stop')
  })
})
