import { describe, expect, it } from 'vitest'
import { renderChat } from '../../lib/text/chat'
import { OutputParser, type OutputParserOptions } from '../../lib/text/output-parser'
import { randomJson, randomText, TOOLS } from './conversations'
import { type Parsed, sumOf, withoutIds } from './output-sums'
import { Random } from './random'

/** Parses chunks, checks that the deltas add up to the end, and leaves out the ids. */
function parse(chunks: string | string[], options: OutputParserOptions = {}): Parsed {
  const parser = new OutputParser(options)
  const deltas = [chunks].flat().map((chunk) => parser.push(chunk))
  deltas.push(parser.flush())
  const end = parser.end()
  expect(sumOf(deltas)).toEqual(end)
  return withoutIds(end)
}

const call = (name: string, given: object = {}) => ({ name, arguments: given })
const block = (...invokes: string[]) => `<minimax:tool_call>\n${invokes.join('')}</minimax:tool_call>`
const invoke = (name: string, ...parameters: [string, string][]) =>
  `<invoke name="${name}">\n${parameters.map(([key, text]) => `<parameter name="${key}">${text}</parameter>\n`).join('')}</invoke>\n`

describe('OutputParser', () => {
  it.each<[what: string, output: string, reasoning: string, text: string, calls: object[]]>([
    ['nothing', '', '', '', []],
    ['thinking and text', 'R\n</think>\n\nT', 'R', 'T', []],
    ['tags without newlines', 'R</think>T', 'R', 'T', []],
    ['newlines beyond those of the markup', '\nR\n\n</think>\n\n\nT\n', '\nR\n', '\nT\n', []],
    ['thinking alone', 'R\n', 'R\n', '', []],
    ['empty thinking', '\n</think>\n\nT', '', 'T', []],
    ['a second opening tag', '<think>\nR\n</think>\n\nT', 'R', 'T', []],
    ['a third one, which is thinking', '<think>\n<think>\nR\n</think>\n\nT', '<think>\nR', 'T', []],
    ['an opening tag later on', 'R <think>\n</think>\n\n<think>T', 'R <think>', '<think>T', []],
    ['a closing tag in the text', 'R\n</think>\n\nT </think> T', 'R', 'T </think> T', []],
    [
      'tags that are not finished',
      'R <thi\n</thin\n</think>\n\n<minimax:tool_cal T',
      'R <thi\n</thin',
      '<minimax:tool_cal T',
      [],
    ],
    ['the beginning of a tag at the end', 'R\n</think>\n\nT\n<minimax:tool', 'R', 'T\n<minimax:tool', []],
    ['a call', `R\n</think>\n\nT\n${block(invoke('f', ['a', 'x']))}`, 'R', 'T', [call('f', { a: 'x' })]],
    ['a call and no text', `R\n</think>\n\n\n${block(invoke('f'))}`, 'R', '', [call('f')]],
    ['a call that ends the thinking', `R\n${block(invoke('f'))}`, 'R', '', [call('f')]],
    ['two calls', `</think>${block(invoke('f'), invoke('g', ['n', '1']))}`, '', '', [call('f'), call('g', { n: 1 })]],
    ['two blocks', `</think>A\n${block(invoke('f'))}\n${block(invoke('f'))}\nB`, '', 'A\nB', [call('f'), call('f')]],
    [
      'text between and after',
      `</think>A\n${block(invoke('f'))} B\n${block(invoke('g'))}C`,
      '',
      'A BC',
      [call('f'), call('g')],
    ],
    ['an empty block', `</think>A\n${block()}B`, '', 'AB', []],
    ['prose in a block', `</think>A <minimax:tool_call> B\n${invoke('f')} C`, '', 'A  B\n C', [call('f')]],
    ['a block opened twice', `</think><minimax:tool_call>\n${block(invoke('f'))}`, '', '', [call('f')]],
    [
      'markup on one line',
      `</think>${block(invoke('f', ['a', 'x'], ['b', 'y'])).replaceAll('\n', '')}`,
      '',
      '',
      [call('f', { a: 'x', b: 'y' })],
    ],
    ['newlines in a value', `</think>${block(invoke('f', ['a', '\n x\n']))}`, '', '', [call('f', { a: '\n x\n' })]],
    ['an empty value', `</think>${block(invoke('f', ['a', '']))}`, '', '', [call('f', { a: '' })]],
    [
      'closing tags in a value',
      `</think>${block(invoke('f', ['a', 'x</parameter> </minimax:tool_call></think>y']))}`,
      '',
      '',
      [call('f', { a: 'x</parameter> </minimax:tool_call></think>y' })],
    ],
    [
      'a closing tag at the end of a value',
      `</think>${block(invoke('f', ['a', 'x</parameter>']))}`,
      '',
      '',
      [call('f', { a: 'x</parameter>' })],
    ],
    [
      'an invoke in a value',
      `</think>${block(invoke('f', ['a', '<invoke name="g"></invoke>']))}`,
      '',
      '',
      [call('f', { a: '<invoke name="g"></invoke>' })],
    ],
    [
      'entities, which are not decoded',
      `</think>${block(invoke('f', ['a', '&lt;<b>']))}`,
      '',
      '',
      [call('f', { a: '&lt;<b>' })],
    ],
    ['a name with a bracket', `</think>${block(invoke('f', ['a>b', 'x']))}`, '', '', [call('f', { 'a>b': 'x' })]],
    [
      '__proto__ as a name',
      `</think>${block(invoke('f', ['__proto__', 'x']))}`,
      '',
      '',
      [call('f', JSON.parse('{"__proto__": "x"}'))],
    ],
    ['a block that does not close', `</think>${block(invoke('f')).slice(0, -9)}`, '', '', [call('f')]],
    [
      'a call cut off in a value',
      `</think><minimax:tool_call>\n<invoke name="f">\n<parameter name="a">1</parameter>\n<parameter name="b">hel`,
      '',
      '',
      [call('f', { a: 1 })],
    ],
    [
      'a call cut off after a value',
      `</think><minimax:tool_call>\n<invoke name="f">\n<parameter name="a">1</parameter>`,
      '',
      '',
      [call('f', { a: 1 })],
    ],
    [
      'a call cut off in a tag',
      `</think><minimax:tool_call>\n<invoke name="f">\n<parameter name="a">1</parameter>\n</inv`,
      '',
      '',
      [call('f', { a: 1 })],
    ],
    [
      'a call cut off in a name',
      `</think>T<minimax:tool_call>\n<invoke name="f">\n<parameter name="a`,
      '',
      'T',
      [call('f')],
    ],
    ['a call without a whole name', `</think>T<minimax:tool_call>\n<invoke name="f`, '', 'T', []],
    ['a block cut off at once', '</think>T\n<minimax:tool_call>\n<inv', '', 'T', []],
  ])('reads %s, however it is cut', (_, output, reasoning, text, toolCalls) => {
    const expected = { reasoning, text, toolCalls }
    expect(parse(output)).toEqual(expected)
    expect(parse([...output])).toEqual(expected)
    for (let at = 1; at < output.length; at++) expect(parse([output.slice(0, at), output.slice(at)])).toEqual(expected)
  })

  it('gives the same for any chunking of any output', () => {
    const random = new Random(2)
    for (let i = 0; i < 1000; i++) {
      const output = [randomText(random), randomText(random), randomText(random)].join(
        random.pick(['', '</think>', '\n</think>\n\n']),
      )
      const options: OutputParserOptions = {
        tools: TOOLS,
        reasoning: random.pick(['split', 'inline']),
        startsIn: random.pick(['reasoning', 'text']),
      }
      const whole = parse(output, options)
      expect(parse([...output], options)).toEqual(whole)
      expect(parse(random.chunks(output, 6), options)).toEqual(whole)
    }
  })

  it('is the inverse of rendering', () => {
    const random = new Random(3)
    for (let i = 0; i < 1000; i++) {
      const reasoning = randomText(random, ['</think>', '<minimax:tool_call>'])
      const text = randomText(random, ['<minimax:tool_call>', ...(reasoning ? [] : ['<think>'])])
      const toolCalls = random.list(3, () => randomCall(random))
      const [, turn] = renderChat(
        [
          { role: 'user', content: '' },
          { role: 'assistant', reasoning_content: reasoning, content: text, tool_calls: toolCalls },
        ],
        { addGenerationPrompt: false },
      ).split(/]~b]user\n\[e~\[\n]~b]ai\n/)
      const output = turn!.slice(0, -'[e~[\n'.length)
      const expected = { reasoning, text, toolCalls }
      expect(parse(random.chunks(output, 9), { tools: TOOLS, startsIn: 'text' })).toEqual(expected)
      if (/^(?!<think>)./s.test(reasoning))
        expect(parse(output.replace('<think>\n', ''), { tools: TOOLS })).toEqual(expected)
    }
  })

  it('streams thinking and text as they come and holds back only what may be a tag', () => {
    const parser = new OutputParser()
    expect(parser.push('I th')).toEqual({ reasoning: 'I th' })
    expect(parser.push('ink <')).toEqual({ reasoning: 'ink ' })
    expect(parser.push('b>\n')).toEqual({ reasoning: '<b>' })
    expect(parser.push('</think>')).toEqual({})
    expect(parser.push('\n\nHel')).toEqual({ text: 'Hel' })
    expect(parser.push('lo\n')).toEqual({ text: 'lo' })
    expect(parser.push('!')).toEqual({ text: '\n!' })
    expect(parser.flush()).toEqual({})
  })

  it('gives id and name once, when the header of a call is complete, and then its arguments', () => {
    const parser = new OutputParser({ startsIn: 'text' })
    expect(parser.push('<minimax:tool_call>\n<invoke name="f"')).toEqual({})
    expect(parser.push('>')).toEqual({ toolCalls: [{ index: 0, id: expect.any(String), name: 'f', arguments: '' }] })
    expect(parser.push('\n<parameter name="a">1</parameter>\n')).toEqual({})
    expect(parser.push('<parameter')).toEqual({})
    expect(parser.push(' name=')).toEqual({ toolCalls: [{ index: 0, arguments: '{"a":1' }] })
    expect(parser.push('"b">x</parameter>\n</invoke>')).toEqual({ toolCalls: [{ index: 0, arguments: ',"b":"x"}' }] })
    expect(parser.push('<invoke name="f"></invoke>')).toEqual({
      toolCalls: [{ index: 1, id: expect.any(String), name: 'f', arguments: '{}' }],
    })
    const { toolCalls } = parser.end()
    expect(new Set(toolCalls.map(({ id }) => id)).size).toBe(2)
    for (const { id } of toolCalls) expect(id).toMatch(/^call_\w+$/)
  })

  it('reads arguments by the schemas of the tools, each call by its own', () => {
    const tools = ['f', 'g'].map((name, i) => ({
      name,
      parameters: { properties: { a: { type: ['string', 'integer'][i] } } },
    }))
    const output = block(invoke('f', ['a', '1']), invoke('g', ['a', '1']), invoke('unknown', ['a', '1']))
    expect(parse(output, { tools, startsIn: 'text' }).toolCalls).toEqual([
      call('f', { a: '1' }),
      call('g', { a: 1 }),
      call('unknown', { a: 1 }),
    ])
  })

  it('begins in text on request, where a leading tag opens the thinking', () => {
    expect(parse('T</think>', { startsIn: 'text' })).toEqual({ reasoning: '', text: 'T</think>', toolCalls: [] })
    expect(parse('<think>\nR\n</think>\n\nT', { startsIn: 'text' })).toEqual({
      reasoning: 'R',
      text: 'T',
      toolCalls: [],
    })
  })

  it.each([
    ['R\n</think>\n\nT', '<think>\nR\n</think>\n\nT'],
    ['<think>R</think>T', '<think>\nR\n</think>\n\nT'],
    ['\n</think>\n\nT', 'T'],
    ['R', '<think>\nR'],
    [`R\n${block(invoke('f'))}`, '<think>\nR\n</think>\n\n'],
  ])('leaves the thinking of %j in the text when it is inline', (output, text) => {
    expect(parse([...output], { reasoning: 'inline' })).toMatchObject({ reasoning: '', text })
  })

  it('says where the output stands', () => {
    const parser = new OutputParser()
    const pieces = [
      'R',
      '\n',
      '</think>',
      '\n\n',
      'T',
      '\n',
      '<minimax:tool_call>',
      '\n',
      invoke('f'),
      '</minimax:tool_call>',
      'T',
    ]
    const states = pieces.map((piece) => {
      parser.push(piece)
      return parser.state
    })
    expect(states.join(' ')).toBe('reasoning reasoning text text text text tool tool tool text text')
  })

  it('ends once: the end can be asked for again, and nothing can follow', () => {
    const parser = new OutputParser({ startsIn: 'text' })
    parser.push('T\n')
    const end = parser.end()
    expect(end).toEqual({ reasoning: '', text: 'T\n', toolCalls: [] })
    expect(parser.end()).toEqual(end)
    expect(() => parser.push('more')).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })

  it.each([
    [{ reasoning: 'both' }, 'BAD_OPTION', 'reasoning: expected "split" or "inline", found "both"'],
    [{ startsIn: 'tool' }, 'BAD_OPTION', 'startsIn: expected "reasoning" or "text", found "tool"'],
    [{ tool: [] }, 'BAD_OPTION', 'OutputParser: unknown option "tool"; did you mean "tools"?'],
    [{ tools: [{}] }, 'BAD_INPUT', 'tools[0].name: expected a non-empty string, found nothing'],
  ])('refuses the options %j', (options, code, message) => {
    expect(() => new OutputParser(options as object)).toThrow(expect.objectContaining({ code, message }))
  })

  it('takes time in proportion to the output, whatever is held back', () => {
    const output = `</think>${block(invoke('f', ['a', '</parameter>\n'.repeat(20_000)]))}`
    expect(parse([...output]).toolCalls).toEqual([call('f', { a: '</parameter>\n'.repeat(20_000) })])
  })
})

/** A call of the typed tool, so that strings come back as strings. */
function randomCall(random: Random) {
  const given: Record<string, unknown> = {}
  if (random.next() < 0.7) given.path = randomText(random, ['</invoke>', '<parameter name='])
  if (random.next() < 0.7) given.text = randomText(random, ['</invoke>', '<parameter name='])
  if (random.next() < 0.7) given.more = jsonWithoutTags(random)
  return { name: 'write_file', arguments: given }
}

function jsonWithoutTags(random: Random): unknown {
  const value = randomJson(random)
  const isAmbiguous = typeof value === 'string' || /<\/invoke>|<parameter name=/.test(JSON.stringify(value))
  return isAmbiguous ? 0.5 : value
}
