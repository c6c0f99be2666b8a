/** Tool calls while they are written: fragments of JSON, their escapes, what is cut off, and how much work it is. */
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Delta, OutputParser } from '../../lib/text/output-parser'
import { Tokenizer } from '../../lib/text/tokenizer'
import type { ToolDefinition } from '../../lib/text/tools'
import { sumOf } from './output-sums'
import { Random } from './random'

const write: ToolDefinition = {
  name: 'write',
  parameters: {
    $defs: { Text: { type: 'string' } },
    properties: {
      text: { type: 'string' },
      long: { allOf: [{ $ref: '#/$defs/Text' }, { minLength: 1 }] },
      mode: { type: 'string', enum: ['a', '1'] },
      maybe: { type: ['string', 'null'] },
      lines: { type: 'integer' },
      any: {},
    },
  },
}
const OPEN = '<minimax:tool_call>\n<invoke name="write">\n'
const CLOSE = '</invoke>\n</minimax:tool_call>'
const parameter = (name: string, text: string) => `<parameter name="${name}">${text}</parameter>\n`

/** The fragments of the arguments, one for each push; '' where there is none. */
function fragments(...pieces: string[]): string[] {
  const parser = new OutputParser({ tools: [write], startsIn: 'text' })
  const deltas = [...pieces.map((piece) => parser.push(piece)), parser.flush()]
  expect(sumOf(deltas)).toEqual(parser.end())
  return deltas.map((delta) => (delta.toolCalls ?? []).map((call) => call.arguments).join('|'))
}

function argumentsOf(output: string): object {
  const parser = new OutputParser({ tools: [write], startsIn: 'text' })
  const deltas = [...[...output].map((character) => parser.push(character)), parser.flush()]
  expect(sumOf(deltas)).toEqual(parser.end())
  return parser.end().toolCalls[0]!.arguments
}

describe('arguments of a tool call', () => {
  it('come as they are written where they can only be strings', () => {
    for (const name of ['text', 'long']) {
      expect(
        fragments(
          OPEN,
          `<parameter name="${name}"`,
          '>',
          'Hel',
          'lo',
          '\n',
          '</par',
          'x',
          '</parameter>',
          '\n</inv',
          'oke>',
        ),
      ).toEqual(['', '', `{"${name}":"`, 'Hel', 'lo', '\\n', '', '</parx', '', '', '"}', ''])
    }
  })

  it('hold back a closing tag until what follows says whether it closes', () => {
    expect(
      fragments(`${OPEN}<parameter name="text">a</parameter>`, ' \n', 'b</parameter>', '<', '/invoke', '>'),
    ).toEqual(['{"text":"a', '', '</parameter> \\nb', '', '', '"}', ''])
  })

  it.each(['mode', 'maybe', 'lines', 'any', 'unknown'])(
    'come when they are complete where they need not be strings: %s',
    (name) => {
      expect(fragments(OPEN, `<parameter name="${name}">`, '1', '</parameter>\n', CLOSE)).toEqual([
        ...['', '', '', ''],
        `{"${name}":${name === 'maybe' || name === 'mode' ? '"1"' : '1'}}`,
        '',
      ])
    },
  )

  it('are {} where there are none', () => {
    expect(fragments(OPEN, CLOSE)).toEqual(['', '{}', ''])
  })

  it('are escaped as JSON, and characters are not cut', () => {
    const text = 'quote " backslash \\ \u0000\u0007\b\f\n\r\t\u001f \u2028\u2029 \ud800 \udc00 🚀 </text> \ud83d'
    const pieces = [...Array(text.length)].map((_, i) => text[i]!)
    const given = fragments(OPEN, '<parameter name="text">', ...pieces, `</parameter>\n${CLOSE}`)
    for (const fragment of given) expect(fragment).not.toMatch(/[\ud800-\udbff]$|^[\udc00-\udfff]/)
    const json = given.join('')
    expect(JSON.parse(json)).toEqual({ text })
    expect(json).toContain('\\u0000\\u0007\\b\\f\\n\\r\\t\\u001f')
    expect(json).toContain('\\ud800 \\udc00 🚀')
    expect(json).toMatch(/\\ud83d"}$/)
  })

  it('are those that came first of one name, in both', () => {
    const given = parameter('text', 'a') + parameter('text', 'b') + parameter('lines', '1') + parameter('lines', '2')
    expect(argumentsOf(OPEN + given + CLOSE)).toEqual({ text: 'a', lines: 1 })
    expect(fragments(OPEN, given, CLOSE).join('')).toBe('{"text":"a","lines":1}')
    expect(fragments(`${OPEN}${parameter('text', 'a')}<parameter name="text">b`).join('')).toBe('{"text":"a"}')
  })

  it('may have any name', () => {
    const given = parameter('a"\n\\b', '1') + parameter('', '2')
    expect(argumentsOf(OPEN + given + CLOSE)).toEqual({ 'a"\n\\b': 1, '': 2 })
  })

  it('have half characters to themselves', () => {
    const given = parameter('text', 'a\ud83d') + parameter('long', '\ude80')
    expect(argumentsOf(OPEN + given + CLOSE)).toEqual({ text: 'a\ud83d', long: '\ude80' })
  })

  it('may be called __proto__, or a number', () => {
    const given = argumentsOf(OPEN + parameter('__proto__', '{"a": {"__proto__": 1}}') + parameter('1', 'x') + CLOSE)
    expect(Object.getPrototypeOf(given)).toBe(Object.prototype)
    expect(Object.keys(given)).toEqual(['1', '__proto__'])
    expect(JSON.stringify(given)).toBe('{"1":"x","__proto__":{"a":{"__proto__":1}}}')
    expect(({} as { a?: unknown }).a).toBeUndefined()
  })

  it.each<[what: string, cut: string, given: object]>([
    ['in a string', `<parameter name="text">Hel`, { text: 'Hel' }],
    ['at the beginning of one', `<parameter name="text">`, { text: '' }],
    ['in its closing tag', `<parameter name="text">Hel</para`, { text: 'Hel' }],
    ['behind that', `<parameter name="text">Hel</parameter>\n`, { text: 'Hel' }],
    ['in a tag behind that', `<parameter name="text">Hel</parameter>\n</inv`, { text: 'Hel' }],
    ['in half a character', `<parameter name="text">Hel\ud83d`, { text: 'Hel\ud83d' }],
    ['in a second string', `${parameter('lines', '1')}<parameter name="text">Hel`, { lines: 1, text: 'Hel' }],
    ['in what need not be a string', `${parameter('text', 'a')}<parameter name="lines">12`, { text: 'a' }],
    ['in a name', `${parameter('text', 'a')}<parameter name="lin`, { text: 'a' }],
    ['behind the header', '', {}],
  ])('are whole where a call is cut off %s', (_, cut, given) => {
    expect(argumentsOf(OPEN + cut)).toEqual(given)
  })

  it.each([
    ['a number beyond all numbers', '1e400'],
    ['one within', '[1, -1e999]'],
    ['bottomless nesting', `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ])('are text where JSON could not say them: %s', (_, text) => {
    expect(argumentsOf(OPEN + parameter('any', text) + CLOSE)).toEqual({ any: text })
  })

  it('are the same in the fragments and at the end to the last bit', () => {
    expect(argumentsOf(OPEN + parameter('any', '[-0, 1E2, 0.1e-6]') + CLOSE)).toEqual({ any: [0, 100, 1e-7] })
  })
})

describe('a call that is not sound', () => {
  it.each<[what: string, output: string, text: string, calls: object[]]>([
    ['whose name does not end', `A<minimax:tool_call><invoke name="f</minimax:tool_call>B`, 'AB', []],
    [
      'that does not end',
      `A<minimax:tool_call><invoke name="f"></minimax:tool_call>B`,
      'AB',
      [{ name: 'f', arguments: {} }],
    ],
    [
      'whose parameter has a name that does not end',
      `A<minimax:tool_call><invoke name="f"><parameter name="a</minimax:tool_call>B`,
      'AB',
      [{ name: 'f', arguments: {} }],
    ],
    [
      'that ends twice',
      `A<minimax:tool_call><invoke name="f"></invoke></invoke></minimax:tool_call>B`,
      'AB',
      [{ name: 'f', arguments: {} }],
    ],
    ['that is nowhere', `A<minimax:tool_call></minimax:tool_call>B`, 'AB', []],
    ['outside of a block', `A<invoke name="f"></invoke>B`, 'A<invoke name="f"></invoke>B', []],
  ])('loses no text: one %s', async (_, output, text, calls) => {
    const tokenizer = await Tokenizer.load('models/nano')
    const byText = new OutputParser({ startsIn: 'text' })
    const byIds = new OutputParser({ startsIn: 'text', tokenizer })
    const deltas: [OutputParser, Delta[]][] = [
      [byText, [...output].map((character) => byText.push(character))],
      [byIds, [...tokenizer.encode(output)].map((id) => byIds.push('', [id]))],
    ]
    for (const [parser, pushed] of deltas) {
      expect(sumOf([...pushed, parser.flush()])).toEqual(parser.end())
      expect(parser.end()).toMatchObject({ text, toolCalls: calls })
    }
  })
})

describe('the work', () => {
  afterEach(() => vi.restoreAllMocks())
  const N = 100_000
  const times = (text: string) => text.repeat(N / text.length)

  /** Characters that patterns have looked at. */
  function looked(pieces: readonly string[]): number {
    let count = 0
    const exec = RegExp.prototype.exec
    vi.spyOn(RegExp.prototype, 'exec').mockImplementation(function (this: RegExp, text: string) {
      const found = exec.call(this, text)
      count += found ? found.index + found[0].length : text.length
      return found
    })
    const parser = new OutputParser({ tools: [write], startsIn: 'text' })
    for (const piece of pieces) parser.push(piece)
    parser.end()
    return count
  }

  it.each<[what: string, output: string]>([
    ['a string', `${OPEN}<parameter name="text">${times('abcd ')}`],
    ['another value', `${OPEN}<parameter name="any">${times('abcd ')}`],
    ['closing tags in a value', `${OPEN}<parameter name="text">${times('</parameter>  \n ')}`],
    ['whitespace behind a closing tag', `${OPEN}<parameter name="text"></parameter>${times(' \n')}`],
    ['whitespace between calls', `${OPEN}</invoke>${times(' \n')}`],
    ['prose between calls', `${OPEN}</invoke>${times('a \n ')}`],
    ['prose between parameters', `${OPEN}${times('a < ')}`],
    ['a name', `<minimax:tool_call><invoke name="${times('name')}`],
    ['a parameter name', `${OPEN}<parameter name="${times('na"e')}`],
    ['many calls', times(`${OPEN}${parameter('text', 'a')}${CLOSE}`)],
    ['many parameters', `${OPEN}${times(parameter('any', '1'))}`],
    ['newlines', times('\n')],
    ['beginnings of tags', times('\n<minimax:tool')],
  ])('grows as the output does: %s', (_, output) => {
    const random = new Random(1)
    expect(looked([output])).toBeLessThan(8 * N)
    vi.restoreAllMocks()
    expect(looked([...Array(Math.ceil(output.length / 4))].map((_, i) => output.slice(4 * i, 4 * i + 4)))).toBeLessThan(
      16 * N,
    )
    vi.restoreAllMocks()
    expect(looked(random.chunks(output, 1000))).toBeLessThan(8 * N)
  })
})
