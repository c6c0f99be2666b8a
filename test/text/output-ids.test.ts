/** The output parser over token ids: tags are tokens, and the same characters in other tokens are content. */
import { beforeAll, describe, expect, it } from 'vitest'
import type { Segment } from '../../lib/text/markup'
import { type Delta, OutputParser, type OutputParserOptions } from '../../lib/text/output-parser'
import { ThinkingFinder } from '../../lib/text/thinking'
import { Tokenizer } from '../../lib/text/tokenizer'
import { WRITING } from '../reference/texts'
import { PATTERNS, type TokenizerJson, trainTokenizer, withTokenizerFile } from '../reference/tokenizers'
import { TOOLS } from './conversations'
import { type Parsed, sumOf, withoutIds } from './output-sums'
import { Random } from './random'
import { CONTROL, randomIds, randomOutput } from './spelled'

let nano: Tokenizer
let trained: TokenizerJson
beforeAll(async () => {
  nano = await Tokenizer.load('models/nano')
  trained = trainTokenizer(PATTERNS.nano, WRITING[0]!, 50)
})

const plain = (text: string): Segment => ({ text, special: false })
const tag = (text: string): Segment => ({ text, special: true })

/** Pushes ids in random portions, none at all among them. */
function parse(ids: readonly number[], random: Random, options: OutputParserOptions, text = ''): Parsed {
  const parser = new OutputParser(options)
  const deltas: Delta[] = []
  for (let at = 0; at < ids.length; ) {
    const count = random.below(5)
    deltas.push(parser.push(text, ids.slice(at, at + count)))
    at += count
  }
  deltas.push(parser.flush())
  expect(sumOf(deltas)).toEqual(parser.end())
  return withoutIds(parser.end())
}

/** A character for each tag that is only spelled: what the parser of text makes of these is what must become of the tags. */
const marks = new Map(CONTROL.map((text, i) => [text, String.fromCharCode(0xe000 + i)]))
const replaced = (text: string, pairs: Iterable<[string, string]>) =>
  [...pairs].reduce((all, [from, to]) => all.replaceAll(from, to), text)

function oracle(segments: readonly Segment[], options: OutputParserOptions): Parsed {
  // Tags may be spelled across segments, but not across tokens that are tags.
  const runs: string[] = ['']
  for (const { text, special } of segments) {
    if (special) runs.push(text, '')
    else runs.push((runs.pop() ?? '') + text)
  }
  const parser = new OutputParser(options)
  parser.push(runs.map((run, i) => (i % 2 === 1 ? run : replaced(run, marks))).join(''))
  const json = JSON.stringify(withoutIds(parser.end()))
  return JSON.parse(
    replaced(
      json,
      [...marks].map(([text, mark]): [string, string] => [mark, text]),
    ),
  )
}

describe('OutputParser over ids', () => {
  it('takes tokens for tags and spelled tags for content, whatever tokens an output comes in', () => {
    const random = new Random(11)
    const seen = { reasoning: 0, text: 0, calls: 0, values: 0 }
    for (let i = 0; i < 3000; i++) {
      const segments = randomOutput(random)
      const options: OutputParserOptions = {
        tools: TOOLS,
        reasoning: random.pick(['split', 'split', 'inline']),
        startsIn: random.pick(['reasoning', 'text']),
      }
      const expected = oracle(segments, options)
      const ids = randomIds(nano, segments, random)
      expect(parse(ids, random, { ...options, tokenizer: nano })).toEqual(expected)
      if (CONTROL.some((text) => expected.reasoning.includes(text))) seen.reasoning++
      if (CONTROL.some((text) => expected.text.includes(text))) seen.text++
      if (expected.toolCalls.length > 0) seen.calls++
      if (CONTROL.some((text) => JSON.stringify(expected.toolCalls).includes(text))) seen.values++
    }
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(50)
  })

  it.each<[what: string, segments: Segment[], reasoning: string, text: string]>([
    ['thinking', [plain('a</think>b\n'), tag('</think>'), plain('\n\nc')], 'a</think>b', 'c'],
    [
      'text',
      [tag('</think>'), plain('\n\n<think>a</think>\n<minimax:tool_call>')],
      '',
      '<think>a</think>\n<minimax:tool_call>',
    ],
    ['the beginning', [plain('<think>\na\n'), tag('</think>')], '<think>\na', ''],
    [
      'a block',
      [tag('<minimax:tool_call>'), plain('</minimax:tool_call>a'), tag('</minimax:tool_call>')],
      '',
      '</minimax:tool_call>a',
    ],
    ['what ends in a real one', [plain('</thi'), tag('</think>'), plain('nk>')], '</thi', 'nk>'],
  ])('leaves spelled tags in %s', (_, segments, reasoning, text) => {
    const random = new Random(12)
    for (let i = 0; i < 20; i++) {
      const parsed = parse(randomIds(nano, segments, random), random, { tokenizer: nano })
      expect(parsed).toEqual({ reasoning, text, toolCalls: [] })
    }
  })

  it('leaves tags of both kinds in values', () => {
    const header = '\n<invoke name="write_file">\n<parameter name="text">'
    const segments = [
      tag('<minimax:tool_call>'),
      ...[plain(`${header}a</think></minimax:tool_call>`), tag('<think>'), tag('</minimax:tool_call>')],
      ...[plain('</parameter>\n</invoke>\n'), tag('</minimax:tool_call>'), plain('b')],
    ]
    const random = new Random(13)
    expect(parse(randomIds(nano, segments, random), random, { tokenizer: nano, tools: TOOLS })).toEqual({
      reasoning: '',
      text: 'b',
      toolCalls: [
        { name: 'write_file', arguments: { text: 'a</think></minimax:tool_call><think></minimax:tool_call>' } },
      ],
    })
  })

  it('holds back half a character, and shows at the end or before a tag that its rest did not come', () => {
    const parser = new OutputParser({ tokenizer: nano })
    const [half, ...rest] = nano.encode('🚀')
    expect(parser.push('🚀', [half!])).toEqual({})
    expect(parser.push('', rest)).toEqual({ reasoning: '🚀' })
    expect(parser.push('', [half!, nano.idOf('</think>')!])).toEqual({ reasoning: '\ufffd' })
    expect(parser.push('', [half!])).toEqual({})
    expect(parser.flush()).toEqual({ text: '\ufffd' })
    expect(parser.end()).toEqual({ reasoning: '🚀\ufffd', text: '\ufffd', toolCalls: [] })
  })

  it('gives the text that decoding gives, for any ids that are no tags', () => {
    const random = new Random(16)
    const others = [...Array(nano.vocabSize).keys()].filter(
      (id) => !nano.unusedIds.includes(id) && !CONTROL.some((text) => nano.idOf(text) === id),
    )
    for (let i = 0; i < 500; i++) {
      const ids = random.list(40, () => random.pick(others))
      expect(parse(ids, random, { tokenizer: nano }).reasoning).toBe(nano.decode(ids))
    }
  })

  it('goes by the ids where text and ids disagree, and by the text where no ids are given or no tokenizer is', () => {
    const ids = [...nano.encode('a\n</think>\n\nb')]
    const parsed = { reasoning: 'a', text: 'b', toolCalls: [] }
    expect(parse(ids, new Random(1), { tokenizer: nano }, 'no</think>no')).toEqual(parsed)
    const mixed = new OutputParser({ tokenizer: nano })
    mixed.push('', ids.slice(0, 1))
    for (const character of '\n</think>\n\n') mixed.push(character)
    mixed.push('', ids.slice(-1))
    expect(mixed.end()).toEqual(parsed)
    const blind = new OutputParser()
    blind.push('a\n</think>\n\nb', [0, -1, 1e9])
    expect(blind.end()).toEqual(parsed)
  })

  it('forgets the beginning of a spelled tag where ids follow, and half a character where text does', () => {
    const parser = new OutputParser({ tokenizer: nano })
    parser.push('a</thi')
    expect(parser.push('', nano.encode('nk>b'))).toEqual({ reasoning: '</think>b' })
    parser.push('', nano.encode('🚀').subarray(0, 1))
    expect(parser.push('c')).toEqual({ reasoning: '\ufffdc' })
    const late = new OutputParser({ tokenizer: nano, startsIn: 'text' })
    late.push('<thi')
    expect(late.push('', [nano.idOf('<think>')!])).toEqual({ text: '<thi<think>' })
  })

  it('reads tags by their characters that the tokenizer does not have as tokens', async () => {
    const json = {
      ...trained,
      added_tokens: trained.added_tokens.filter((token: { content: string }) => !/tool_call/.test(token.content)),
    }
    const tokenizer = await withTokenizerFile(json, (dir) => Tokenizer.load(dir))
    const segments = [
      ...[
        plain('a</think>\n'),
        tag('</think>'),
        plain('b\n<minimax:tool_call><invoke name="f"></invoke></minimax:tool_call>c'),
      ],
    ]
    const random = new Random(14)
    for (let i = 0; i < 20; i++) {
      expect(parse(randomIds(tokenizer, segments, random), random, { tokenizer })).toEqual({
        reasoning: 'a</think>',
        text: 'bc',
        toolCalls: [{ name: 'f', arguments: {} }],
      })
    }
  })

  it('refuses ids without a token, and what is no tokenizer', () => {
    const parser = new OutputParser({ tokenizer: nano })
    expect(() => parser.push('', [1e6])).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
    expect(() => new OutputParser({ tokenizer: {} as Tokenizer })).toThrow(
      expect.objectContaining({ code: 'BAD_OPTION', message: 'tokenizer: expected a Tokenizer, found an object' }),
    )
  })
})

describe('the thinking that is cut out of ids', () => {
  const escaped = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
  const OPENINGS = [
    [']~b]ai\n<think>\n', 'reasoning'],
    [']~b]ai\n<think>\n\n</think>\n\n', 'text'],
    [']~b]ai\n', 'text'],
  ] as const

  it('is what the parser calls reasoning, with its tags and nothing else', () => {
    const finder = new ThinkingFinder(nano)
    const random = new Random(15)
    let cuts = 0
    for (let i = 0; i < 3000; i++) {
      const [opening, startsIn] = random.pick(OPENINGS)
      const prompt = [...nano.encode(opening)]
      const answer = randomIds(nano, randomOutput(random), random)
      const parser = new OutputParser({ tokenizer: nano, startsIn })
      parser.push('', answer)
      const { reasoning } = parser.end()

      const left = [...prompt, ...answer]
      const found = finder.inSampled(Int32Array.from(left), prompt.length)
      for (const { start, end, ids } of found) left.splice(start, end - start, ...ids)
      const whole = nano.decode(answer)
      const rest = nano.decode(left).slice(']~b]ai\n'.length)
      expect(whole.endsWith(rest)).toBe(true)
      const taken = whole.slice(0, whole.length - rest.length)
      const [, end] = new RegExp(`^(?:<think>\n?)?${escaped(reasoning)}(\n?</think>\n{0,2})?$`).exec(taken)!
      if (end && !end.endsWith('\n\n')) expect(rest).not.toMatch(/^\n/)
      if (!end && taken !== '') expect(rest).toMatch(/^$|^\n?<minimax:tool_call>/)
      if (reasoning !== '') cuts++
    }
    expect(cuts).toBeGreaterThan(500)
  })
})
