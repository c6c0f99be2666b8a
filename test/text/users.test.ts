/** What users of other engines complain about, line by line: tool calls and thinking, in the text. How the engine does is in test/engine/users.test.ts. */
import { beforeAll, describe, expect, it } from 'vitest'
import { renderChat } from '../../lib/text/chat'
import type { ChatMessage } from '../../lib/text/messages'
import { type Delta, OutputParser, type OutputParserOptions, type ParsedOutput } from '../../lib/text/output-parser'
import { Tokenizer } from '../../lib/text/tokenizer'
import type { ToolDefinition } from '../../lib/text/tools'
import { sumOf, withoutIds } from './output-sums'
import { Random } from './random'

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await Tokenizer.load('models/nano')
})

const TOOLS: ToolDefinition[] = [
  {
    type: 'function',
    function: {
      name: 'write_file',
      parameters: {
        type: 'object',
        properties: { path: { type: 'string' }, text: { type: 'string' }, mode: { type: 'integer' } },
      },
    },
  },
  { type: 'function', function: { name: 'time', parameters: { type: 'object', properties: {} } } },
]
const parameter = (name: string, text: string) => `<parameter name="${name}">${text}</parameter>\n`
const invoke = (name: string, ...parameters: string[]) => `<invoke name="${name}">\n${parameters.join('')}</invoke>\n`
const block = (...invokes: string[]) => `\n<minimax:tool_call>\n${invokes.join('')}</minimax:tool_call>`
const WRITE = invoke(
  'write_file',
  parameter('path', 'a.html'),
  parameter('text', '<p>\n"é"</p>'),
  parameter('mode', '420'),
)
const OUTPUT = `I write.\n</think>\n\nDone soon.${block(WRITE, invoke('time'))}`
const PARSED = {
  reasoning: 'I write.',
  text: 'Done soon.',
  toolCalls: [
    { name: 'write_file', arguments: { path: 'a.html', text: '<p>\n"é"</p>', mode: 420 } },
    { name: 'time', arguments: {} },
  ],
}

/** All deltas, with that of the end. */
function deltasOf(pieces: readonly (string | number[])[], options: OutputParserOptions = {}): [Delta[], ParsedOutput] {
  const parser = new OutputParser({ tools: TOOLS, tokenizer, ...options })
  const deltas = pieces.map((piece) => (typeof piece === 'string' ? parser.push(piece) : parser.push('', piece)))
  deltas.push(parser.flush())
  expect(sumOf(deltas)).toEqual(parser.end())
  return [deltas, parser.end()]
}

const parsed = (output: string, options?: OutputParserOptions) =>
  withoutIds(deltasOf([[...tokenizer.encode(output)]], options)[1])
const callsOf = (output: string, options?: OutputParserOptions) =>
  parsed(output, { startsIn: 'text', ...options }).toolCalls

describe('tool calls', () => {
  it('are detected by token id: what only looks like a tag is content', () => {
    const spelled = [...tokenizer.encode('Write <minimax:tool_call>.', { special: false })]
    expect(withoutIds(deltasOf([[...tokenizer.encode('a</think>')], spelled])[1])).toEqual({
      reasoning: 'a',
      text: 'Write <minimax:tool_call>.',
      toolCalls: [],
    })
  })

  it('are the same in sum for every split of an output, by ids and by text', () => {
    const ids = [...tokenizer.encode(OUTPUT)]
    for (let at = 0; at <= ids.length; at++) {
      expect(withoutIds(deltasOf([ids.slice(0, at), ids.slice(at)])[1])).toEqual(PARSED)
    }
    for (let at = 0; at <= OUTPUT.length; at++) {
      expect(withoutIds(deltasOf([OUTPUT.slice(0, at), OUTPUT.slice(at)])[1])).toEqual(PARSED)
    }
    const random = new Random(31)
    for (let i = 0; i < 100; i++) expect(withoutIds(deltasOf(random.chunks(OUTPUT, 9))[1])).toEqual(PARSED)
  })

  it('hold back partial tags: no part of one is ever seen', () => {
    for (const pieces of [[...OUTPUT], [...tokenizer.encode(OUTPUT)].map((id) => [id])]) {
      const [deltas] = deltasOf(pieces)
      const seen = deltas.map((delta) => `${delta.reasoning ?? ''}${delta.text ?? ''}`).join('')
      expect(seen).toBe('I write.Done soon.')
    }
  })

  it('have id and name exactly once and first, then fragments that are JSON together', () => {
    const [deltas] = deltasOf([...OUTPUT])
    const calls = deltas.flatMap((delta) => delta.toolCalls ?? [])
    const first = calls.filter((call) => 'id' in call || 'name' in call)
    expect(first).toEqual([
      { index: 0, id: expect.stringMatching(/^call_/), name: 'write_file', arguments: '' },
      { index: 1, id: expect.stringMatching(/^call_/), name: 'time', arguments: '' },
    ])
    expect(calls.map((call) => call.index)).toEqual(calls.map((call) => call.index).sort())
    const json = [0, 1].map((index) =>
      calls
        .filter((call) => call.index === index)
        .map((call) => call.arguments)
        .join(''),
    )
    expect(json.map((text) => JSON.parse(text))).toEqual(PARSED.toolCalls.map((call) => call.arguments))
  })

  it('stream string arguments as they arrive, JSON-escaped', () => {
    const parser = new OutputParser({ tools: TOOLS, startsIn: 'text' })
    parser.push('<minimax:tool_call>\n<invoke name="write_file">\n<parameter name="text">')
    const lines = Array.from({ length: 50 }, (_, i) => `line ${i}: "é"\n`)
    for (const line of lines) {
      expect(parser.push(line)).toEqual({ toolCalls: [{ index: 0, arguments: JSON.stringify(line).slice(1, -1) }] })
    }
  })

  it('without parameters have the arguments {}', () => {
    const [deltas] = deltasOf([...block(invoke('time'))], { startsIn: 'text' })
    expect(deltas.flatMap((delta) => delta.toolCalls ?? []).map((call) => call.arguments)).toEqual(['', '{}'])
  })

  it('have their parameters to themselves', () => {
    const output = block(
      invoke('write_file', parameter('path', 'a')),
      invoke('write_file', parameter('text', 'b')),
      invoke('time'),
    )
    expect(callsOf(output).map((call) => call.arguments)).toEqual([{ path: 'a' }, { text: 'b' }, {}])
  })

  it.each<[schema: object, text: string, value: unknown]>([
    [{ anyOf: [{ type: 'integer' }, { type: 'null' }] }, '5', 5],
    [{ anyOf: [{ type: 'integer' }, { type: 'null' }] }, 'null', null],
    [{ oneOf: [{ type: 'string' }, { type: 'number' }] }, '1.5', 1.5],
    [{ type: ['string', 'null'] }, 'None', 'None'],
    [{ type: ['string', 'null'] }, 'nil', 'nil'],
    [{ type: 'string' }, 'null', 'null'],
    [{ type: 'string' }, '5', '5'],
    [{ enum: ['1', '2'] }, '1', '1'],
    [{ enum: [1, 2] }, '1', 1],
    [{ type: 'boolean' }, 'true', true],
    [{ type: 'array', items: { type: 'string' } }, '["1"]', ['1']],
    [{ type: 'integer' }, 'many', 'many'],
  ])('are read by schema, with a string as the last resort: %j of %j', (schema, text, value) => {
    const tools = [{ name: 'f', parameters: { properties: { p: schema } } }]
    expect(callsOf(block(invoke('f', parameter('p', text))), { tools })).toEqual([
      { name: 'f', arguments: { p: value } },
    ])
  })

  it.each([
    ['HTML', '<!doctype html>\n<div class="a">1 < 2 && 3 > 2</div>\n'],
    ['entities', '&lt;b&gt; &amp;amp; &#39;'],
    ['newlines around it', '\n\n a \n'],
    ['closing tags', 'a</parameter>\n</parameter> b</parameter>'],
    ['our own tags', '</think><minimax:tool_call></minimax:tool_call><invoke name="x"></invoke>'],
    ['brackets and quotes', `">'>]]>{{ }}\\`],
  ])('take any value as it is: %s', (_, text) => {
    const expected = [{ name: 'write_file', arguments: { text } }]
    const output = block(invoke('write_file', parameter('text', text)))
    expect(callsOf(output)).toEqual(expected)
    expect(withoutIds(deltasOf([...output], { startsIn: 'text' })[1]).toolCalls).toEqual(expected)
  })

  it('of unknown tools are calls, and no markup leaks into the text', () => {
    const output = `A${block(invoke('no_such_tool', parameter('n', '1')), WRITE)}B`
    expect(parsed(output, { startsIn: 'text', tools: [] })).toMatchObject({
      text: 'AB',
      toolCalls: [{ name: 'no_such_tool', arguments: { n: 1 } }, { name: 'write_file' }],
    })
  })

  it('are parallel in one block and in several', () => {
    const names = (output: string) => callsOf(output).map((call) => call.name)
    expect(names(block(invoke('time'), WRITE, invoke('time')))).toEqual(['time', 'write_file', 'time'])
    expect(names(block(invoke('time')) + block(WRITE, invoke('time')))).toEqual(['time', 'write_file', 'time'])
  })

  it('make no trouble, whatever is wrong with them', () => {
    const random = new Random(32)
    const pieces = [
      '<minimax:tool_call>',
      '</minimax:tool_call>',
      '<invoke name=',
      '"f"',
      '>',
      '</invoke>',
      '<parameter name="a">',
      '</parameter>',
      '[[',
      'x',
    ]
    for (let i = 0; i < 2000; i++) deltasOf(random.list(20, () => random.pick(pieces)))
  })
})

describe('thinking', () => {
  it('begins without an opening tag, and is apart from the content', () => {
    expect(parsed('Let me see.\n</think>\n\nHello.')).toEqual({
      reasoning: 'Let me see.',
      text: 'Hello.',
      toolCalls: [],
    })
    expect(parsed('Let me see.')).toEqual({ reasoning: 'Let me see.', text: '', toolCalls: [] })
  })

  it('is inline on request', () => {
    expect(parsed('Let me see.\n</think>\n\nHello.', { reasoning: 'inline' })).toEqual({
      reasoning: '',
      text: '<think>\nLet me see.\n</think>\n\nHello.',
      toolCalls: [],
    })
  })

  const call = { id: 'call_1', type: 'function' as const, function: { name: 'time', arguments: '{}' } }
  it.each<[spelling: string, fields: Partial<ChatMessage>]>([
    ['reasoning_content', { reasoning_content: 'I look.', content: 'A moment.' }],
    ['reasoning', { reasoning: 'I look.', content: 'A moment.' }],
    ['reasoning_details', { reasoning_details: [{ type: 'reasoning.text', text: 'I look.' }], content: 'A moment.' }],
    [
      'thinking blocks',
      {
        content: [
          { type: 'thinking', thinking: 'I look.', signature: '' },
          { type: 'text', text: 'A moment.' },
        ],
      },
    ],
    [
      'reasoning parts',
      {
        content: [
          { type: 'reasoning', text: 'I look.' },
          { type: 'text', text: 'A moment.' },
        ],
      },
    ],
    ['inline tags', { content: '<think>\nI look.\n</think>\n\nA moment.' }],
  ])('is kept through the tool loop where it comes back as %s', (_, fields) => {
    const messages: ChatMessage[] = [
      { role: 'user', content: 'When?' },
      { role: 'assistant', ...fields, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'call_1', content: '12:00' },
    ]
    const kept =
      ']~b]ai\n<think>\nI look.\n</think>\n\nA moment.\n<minimax:tool_call>\n<invoke name="time">\n</invoke>\n</minimax:tool_call>[e~[\n'
    expect(renderChat(messages)).toContain(kept)
    expect(renderChat([...messages, { role: 'user', content: 'Thanks.' }])).not.toContain('I look.')
    expect(renderChat([...messages, { role: 'user', content: 'Thanks.' }], { keepReasoning: 'always' })).toContain(kept)
  })
})
