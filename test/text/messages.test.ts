import { describe, expect, it } from 'vitest'
import { M2Error } from '../../lib/errors'
import { checkMessages } from '../../lib/text/messages'
import { checkTools } from '../../lib/text/tools'

const user = { role: 'user', content: 'Hi' }
const assistant = (fields: object) => ({ role: 'assistant', content: '', ...fields })
const call = (fields: object) => assistant({ tool_calls: [{ function: { name: 'f', arguments: {}, ...fields } }] })

function errorOf(run: () => unknown): M2Error {
  try {
    run()
  } catch (error) {
    if (error instanceof M2Error) return error
    throw error
  }
  throw new Error('expected an M2Error')
}

it('20,000 results are of 20,000 calls, and an error names few of them', { timeout: 20_000 }, () => {
  const ids = Array.from({ length: 20_000 }, (_, i) => `c${i}`)
  const calls = assistant({ tool_calls: ids.map((id) => ({ id, name: 'f', arguments: {} })) })
  const results = ids.map((id) => ({ role: 'tool', tool_call_id: id, content: '' }))
  expect(checkMessages([calls, ...results])).toHaveLength(20_001)
  const stranger = { role: 'tool', tool_call_id: 'x', content: '' }
  expect(errorOf(() => checkMessages([calls, stranger])).message.length).toBeLessThan(200)
})

describe('checkMessages behind checked turns', () => {
  const before = checkMessages([user, assistant({ tool_calls: [{ id: 'a', name: 'f', arguments: {} }] })])

  it('gives the turns of the messages alone', () => {
    expect(checkMessages([{ role: 'tool', tool_call_id: 'a', content: 'x' }], before)).toEqual([
      { role: 'tool', toolCallId: 'a', content: 'x' },
    ])
    expect(checkMessages([], before)).toEqual([])
  })

  it('counts them, and knows their calls', () => {
    expect(errorOf(() => checkMessages([{ role: 'tool', tool_call_id: 'b' }], before)).message).toBe(
      'messages[2].tool_call_id: expected the id of a preceding call (a), found "b"',
    )
    expect(errorOf(() => checkMessages([user, { role: 'system' }], before)).message).toBe(
      'messages[3]: a system message must be the first message',
    )
  })
})

const text = (given: unknown) => ({ type: 'reasoning.text', text: given })
const summary = (given: string) => ({ type: 'reasoning.summary', summary: given })
const ENCRYPTED = { type: 'reasoning.encrypted', data: 'x' }
const thinking = (given: string) => ({ type: 'thinking', thinking: given, signature: 's' })
const part = (given: string) => ({ type: 'text', text: given })

describe('checkMessages', () => {
  const circular: Record<string, unknown> = {}
  circular.self = circular

  it.each([
    ['nothing', undefined, 'messages: expected a non-empty array, found nothing'],
    ['an empty list', [], 'messages: expected a non-empty array, found an empty array'],
    ['a string', 'Hi', 'messages: expected a non-empty array, found "Hi"'],
    ['a message that is no object', [user, 'Hi'], 'messages[1]: expected a message object, found "Hi"'],
    [
      'a missing role',
      [{ content: 'Hi' }],
      'messages[0].role: expected system, user, assistant or tool, found nothing',
    ],
    ['an unknown role', [{ role: 'bot' }], 'messages[0].role: expected system, user, assistant or tool, found "bot"'],
    [
      'a later system message',
      [user, { role: 'system', content: 'x' }],
      'messages[1]: a system message must be the first',
    ],
    [
      'a later developer message',
      [user, user, { role: 'developer' }],
      'messages[2]: a developer message must be the first',
    ],
    [
      'an aside that is none',
      [{ role: 'user', content: 'x', aside: 'yes' }],
      'messages[0].aside: expected true or false, found "yes"',
    ],
    [
      'content of a wrong type',
      [{ role: 'user', content: 7 }],
      'messages[0].content: expected a string or an array of text parts, found 7',
    ],
    ['an image', [{ role: 'user', content: [{ type: 'image_url' }] }], 'messages[0].content[0].type: expected "text"'],
    [
      'a part without text',
      [{ role: 'user', content: [{ type: 'text' }] }],
      'messages[0].content[0].text: expected a string, found nothing',
    ],
    [
      'a part that is no object',
      [{ role: 'user', content: ['x'] }],
      'messages[0].content[0]: expected a text part, found "x"',
    ],
    [
      'reasoning of a wrong type',
      [assistant({ reasoning_content: {} })],
      'messages[0].reasoning_content: expected a string, found an object',
    ],
    [
      'other reasoning of a wrong type',
      [assistant({ reasoning: 1 })],
      'messages[0].reasoning: expected a string, found 1',
    ],
    [
      'details of a wrong type',
      [user, assistant({ reasoning_details: 'R' })],
      'messages[1].reasoning_details: expected an array, found "R"',
    ],
    [
      'a detail of a wrong type',
      [assistant({ reasoning_details: ['R'] })],
      'messages[0].reasoning_details[0]: expected a piece of reasoning, found "R"',
    ],
    [
      'an unknown detail',
      [assistant({ reasoning_details: [{ type: 'reasoning.text' }, { type: 'reasoning.image' }] })],
      'messages[0].reasoning_details[1].type: expected "reasoning.text", "reasoning.summary" or "reasoning.encrypted", found "reasoning.image"',
    ],
    [
      'a detail with a wrong text',
      [assistant({ reasoning_details: [{ type: 'reasoning.text', text: 7 }] })],
      'messages[0].reasoning_details[0].text: expected a string, found 7',
    ],
    [
      'a detail without its summary',
      [assistant({ reasoning_details: [{ type: 'reasoning.summary', text: 'R' }] })],
      'messages[0].reasoning_details[0].summary: expected a string, found nothing',
    ],
    [
      'a thinking part without thinking',
      [
        assistant({
          content: [
            { type: 'text', text: 'C' },
            { type: 'thinking', text: 'R' },
          ],
        }),
      ],
      'messages[0].content[1].thinking: expected a string, found nothing',
    ],
    [
      'a reasoning part without text',
      [assistant({ content: [{ type: 'reasoning' }] })],
      'messages[0].content[0].text: expected a string, found nothing',
    ],
    [
      'thinking of a user',
      [{ role: 'user', content: [{ type: 'thinking', thinking: 'R' }] }],
      'messages[0].content[0].type: expected "text" (this model reads nothing else), found "thinking"',
    ],
    [
      'a date of a wrong type',
      [{ role: 'system', current_date: 2026 }],
      'messages[0].current_date: expected a string, found 2026',
    ],
    [
      'calls of a wrong type',
      [assistant({ tool_calls: {} })],
      'messages[0].tool_calls: expected an array, found an object',
    ],
    [
      'a call of a wrong type',
      [assistant({ tool_calls: [1] })],
      'messages[0].tool_calls[0]: expected a tool call, found 1',
    ],
    [
      'a call without a name',
      [call({ name: '' })],
      'messages[0].tool_calls[0].function.name: expected a non-empty string, found ""',
    ],
    [
      'arguments that are not JSON',
      [user, call({ arguments: '{"a":\n1' })],
      'messages[1].tool_calls[0].function.arguments: expected an object or its JSON',
    ],
    [
      'arguments that are no object',
      [call({ arguments: '[1]' })],
      'messages[0].tool_calls[0].function.arguments: expected an object',
    ],
    [
      'missing arguments',
      [call({ arguments: undefined })],
      'messages[0].tool_calls[0].function.arguments: expected an object',
    ],
    [
      'circular arguments',
      [call({ arguments: circular })],
      'messages[0].tool_calls[0].function.arguments: expected JSON data, found a circular',
    ],
    [
      'arguments with NaN',
      [call({ arguments: { x: [Number.NaN] } })],
      'messages[0].tool_calls[0].function.arguments: expected JSON data, found NaN',
    ],
    ['arguments with a function', [call({ arguments: { x: () => 1 } })], 'expected JSON data, found a function'],
    [
      'a tool message first',
      [{ role: 'tool', content: 'x' }],
      'messages[0]: a tool message needs an assistant message with tool_calls',
    ],
    ['a result after an answer', [call({}), assistant({}), { role: 'tool' }], 'messages[2]: a tool message needs'],
    [
      'a result of another call',
      [
        assistant({ tool_calls: [{ id: 'a', function: { name: 'f', arguments: {} } }] }),
        { role: 'tool', tool_call_id: 'b' },
      ],
      'messages[1].tool_call_id: expected the id of a preceding call (a), found "b"',
    ],
  ])('refuses %s in one clear line', (_, messages, start) => {
    const error = errorOf(() => checkMessages(messages))
    expect(error.code).toBe('BAD_INPUT')
    expect(error.message).toContain(start)
    expect(error.message).not.toContain('\n')
  })

  it('puts results in the order of their calls, where all of them have ids', () => {
    const calls = (...ids: string[]) => assistant({ tool_calls: ids.map((id) => ({ id, name: 'f', arguments: {} })) })
    const result = (content: string, id?: string) => ({ role: 'tool', content, ...(id && { tool_call_id: id }) })
    const order = (...results: object[]) =>
      checkMessages([user, calls('a', 'b', 'c'), ...results, user]).flatMap((turn) => {
        return turn.role === 'tool' ? [turn.content] : []
      })
    expect(order(result('2', 'b'), result('3', 'c'), result('1', 'a'))).toEqual(['1', '2', '3'])
    expect(order(result('3', 'c'), result('1', 'a'), result('again', 'a'))).toEqual(['1', 'again', '3'])
    expect(order(result('2', 'b'), result('1'))).toEqual(['2', '1'])
    const before = checkMessages([user, calls('a', 'b')])
    expect(checkMessages([result('2', 'b'), result('1', 'a')], before)).toMatchObject([
      { content: '1' },
      { content: '2' },
    ])
  })

  it('takes null and missing contents as empty and joins text parts', () => {
    const parts = [
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b' },
    ]
    expect(
      checkMessages([{ role: 'user', content: null }, { role: 'user' }, { role: 'user', content: parts }]),
    ).toEqual([
      { role: 'user', content: '' },
      { role: 'user', content: '' },
      { role: 'user', content: 'ab' },
    ])
  })

  it('takes a leading developer message as the system message', () => {
    expect(checkMessages([{ role: 'developer', content: 'x' }])).toEqual([{ role: 'system', content: 'x' }])
  })

  it('takes arguments as an object or as JSON, and calls with or without the wrapper', () => {
    const turns = checkMessages([
      assistant({
        tool_calls: [
          { id: '1', type: 'function', function: { name: 'f', arguments: '{"a": [1]}' } },
          { name: 'g', arguments: { b: null } },
          { name: 'h', arguments: '' },
        ],
      }),
    ])
    expect(turns).toMatchObject([
      {
        toolCalls: [
          { id: '1', name: 'f', arguments: { a: [1] } },
          { name: 'g', arguments: { b: null } },
          { name: 'h', arguments: {} },
        ],
      },
    ])
  })

  it('keeps a key named __proto__ in arguments', () => {
    const [turn] = checkMessages([call({ arguments: '{"__proto__": 1}' })])
    expect(JSON.stringify(turn)).toContain('{"__proto__":1}')
  })

  it.each([
    ['reasoning_content', { reasoning_content: 'R', reasoning: 'no', content: 'C' }, 'R', 'C'],
    ['reasoning', { reasoning: 'R', content: 'C' }, 'R', 'C'],
    [
      'reasoning_content beside its equals',
      { reasoning_content: 'R', reasoning: 'R', reasoning_details: [text('R')] },
      'R',
      '',
    ],
    ['reasoning, where reasoning_content is empty', { reasoning_content: '', reasoning: 'R' }, 'R', ''],
    ['reasoning_details', { reasoning_details: [text('R'), text('S')], content: 'C' }, 'RS', 'C'],
    ['those without their ends', { reasoning_details: [text('R'), { ...text(null), signature: 's' }] }, 'R', ''],
    ['those, and not their summary', { reasoning_details: [summary('no'), text('R')] }, 'R', ''],
    ['their summary alone', { reasoning_details: [summary('R'), summary('S'), ENCRYPTED] }, 'RS', ''],
    ['nothing where all is encrypted', { reasoning_details: [ENCRYPTED], content: 'R</think>C' }, '', 'R</think>C'],
    ['reasoning before reasoning_details', { reasoning: 'R', reasoning_details: [text('no')] }, 'R', ''],
    [
      'reasoning_details before parts',
      { reasoning_details: [text('R')], content: [thinking('no'), part('C')] },
      'R',
      'C',
    ],
    ['no details', { reasoning_details: [], content: 'R</think>C' }, 'R', 'C'],
    ['thinking blocks', { content: [thinking('R'), part('C'), thinking('S'), part('D')] }, 'RS', 'CD'],
    ['reasoning parts', { content: [{ type: 'reasoning', text: 'R' }, part('C')] }, 'R', 'C'],
    ['blocks, where the text has tags', { content: [thinking('R'), part('no</think>C')] }, 'R', 'no</think>C'],
    [
      'nothing where it is redacted',
      { content: [{ type: 'redacted_thinking', data: 'x' }, part('R</think>C')] },
      '',
      'R</think>C',
    ],
    ['null, then reasoning', { reasoning_content: null, reasoning: 'R', content: 'C' }, 'R', 'C'],
    ['what stands before </think>', { content: '<think>\nR\n\nR2\n</think>\n\nC' }, 'R\n\nR2', 'C'],
    ['that without an opening tag', { content: 'R</think>C' }, 'R', 'C'],
    ['that up to the first </think>', { content: '<think>R</think>C </think> D' }, 'R', 'C </think> D'],
    ['nothing when reasoning_content is empty', { reasoning_content: '', content: 'R</think>C' }, '', 'R</think>C'],
    ['nothing without a tag', { content: '<think>C' }, '', '<think>C'],
  ])('takes thinking from %s', (_, fields, reasoning, content) => {
    expect(checkMessages([assistant(fields)])).toMatchObject([{ reasoning, content }])
  })
})

describe('checkTools', () => {
  it.each([
    ['no list', {}, 'tools: expected an array, found an object'],
    ['no object', [null], 'tools[0]: expected a function tool, found null'],
    ['another type', [{ type: 'web_search', name: 'x' }], 'tools[0].type: expected "function", found "web_search"'],
    [
      'no name',
      [{ type: 'function', function: {} }],
      'tools[0].function.name: expected a non-empty string, found nothing',
    ],
    ['a bare one without a name', [{ name: 'f' }, {}], 'tools[1].name: expected a non-empty string, found nothing'],
    ['a wrong description', [{ name: 'f', description: 1 }], 'tools[0].description: expected a string, found 1'],
    [
      'wrong parameters',
      [{ name: 'f', parameters: [] }],
      'tools[0].parameters: expected a JSON schema object, found an empty array',
    ],
    [
      'a function inside',
      [{ name: 'f', parameters: { type: String } }],
      'tools[0]: expected JSON data, found a function',
    ],
  ])('refuses %s in one clear line', (_, tools, start) => {
    const error = errorOf(() => checkTools(tools))
    expect(error.code).toBe('BAD_INPUT')
    expect(error.message).toContain(start)
  })

  it('takes wrapped and bare functions', () => {
    expect(
      checkTools([
        { type: 'function', function: { name: 'f' } },
        { name: 'g', parameters: {} },
      ]),
    ).toEqual([{ name: 'f' }, { name: 'g', parameters: {} }])
    expect(checkTools(undefined)).toEqual([])
  })
})
