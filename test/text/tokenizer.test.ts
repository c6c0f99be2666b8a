import { readFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { type TextSegment, Tokenizer } from '../../lib/text/tokenizer'
import { Random } from '../reference/random'
import { randomText, WRITING } from '../reference/texts'
import { oracleOf, PATTERNS, trainTokenizer, withTokenizerFile } from '../reference/tokenizers'

const NANO = path.join(__dirname, '..', '..', 'models', 'nano')
const PROMPT = ']~b]user\nSay <think>.[e~[\n]~b]ai\n<think>\n'

let nano: Tokenizer
let o200k: Tokenizer
const o200kJson = trainTokenizer(PATTERNS.o200k, WRITING.join('\n'), 1500)
beforeAll(async () => {
  nano = await Tokenizer.load(NANO)
  o200k = await withTokenizerFile(o200kJson, (dir) => Tokenizer.load(dir))
})

describe('the embedded tokenizer', () => {
  it('gives the ids that its model was trained on', () => {
    const golden = JSON.parse(readFileSync(path.join(NANO, 'eval', 'golden.json'), 'utf8'))
    expect(golden.cases.length).toBeGreaterThan(0)
    for (const { prompt, ids, greedy_ids, greedy_text } of golden.cases) {
      expect([...nano.encode(prompt)]).toEqual(ids)
      expect(nano.decode(greedy_ids)).toBe(greedy_text)
    }
  })

  it('says what its tokens are', () => {
    expect(nano.vocabSize).toBe(1536)
    expect(nano.unusedIds).toEqual([])
    expect(nano.addedTokens).toHaveLength(8)
    expect(nano.addedTokens[3]).toEqual({ id: 3, content: '[e~[', special: true })
    expect(nano.idOf('[e~[')).toBe(3)
    expect(nano.idOf('</think>')).toBe(5)
    expect(nano.idOf('hello')).toBeUndefined()
    expect([0, 3, 4, 5, 100, -1, 9999].map((id) => nano.isSpecial(id))).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
      false,
    ])
    expect(Buffer.from(nano.bytesOf(3)).toString()).toBe('[e~[')
    expect([...nano.bytesOf(nano.encode('é')[0]!)]).toEqual([0xc3])
    expect(nano.byteLengthOf(3)).toBe(4)
  })
})

describe('a tokenizer whose ids have holes', () => {
  it('counts to the highest id and names the ids without a token', () => {
    const last = o200k.addedTokens.at(-1)!
    expect(o200k.vocabSize).toBe(last.id + 1)
    expect(o200k.unusedIds).toHaveLength(7)
    expect(o200k.unusedIds[0]).toBe(o200k.addedTokens[0]!.id + 1)
  })

  it('refuses to decode an id without a token', () => {
    const [unused] = o200k.unusedIds
    const message = `token id ${unused}: expected an integer from 0 to ${o200k.vocabSize - 1} that has a token`
    expect(() => o200k.decode([1, unused!])).toThrow(expect.objectContaining({ code: 'BAD_INPUT', message }))
    expect(() => o200k.bytesOf(unused!)).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
    expect(() => o200k.byteLengthOf(unused!)).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
  })
})

describe('special', () => {
  it('is on by default: added tokens in the text become their ids', () => {
    const control = [...nano.encode(PROMPT)].filter((id) => id < 8)
    expect(control).toEqual([2, 4, 3, 2, 4])
    expect(nano.encode(PROMPT, {})).toEqual(nano.encode(PROMPT, { special: true }))
  })

  it('off, encodes the same text without any added token, and back', () => {
    const ids = nano.encode(PROMPT, { special: false })
    expect([...ids].filter((id) => id < 8)).toEqual([])
    expect(nano.decode(ids)).toBe(PROMPT)
  })

  it('off, decodes without control tokens but with the added tokens that are not special', () => {
    const ids = nano.encode(PROMPT)
    expect(nano.decode(ids)).toBe(PROMPT)
    expect(nano.decode(ids, { special: false })).toBe('user\nSay <think>.\nai\n<think>\n')
  })

  it('finds no control token that only plain text made, even where a whole piece is one', async () => {
    const json = JSON.parse(readFileSync(path.join(NANO, 'tokenizer.json'), 'utf8'))
    json.model.ignore_merges = true // "]~b]" is one piece of the pattern, and in the vocabulary
    const tokenizer = await withTokenizerFile(json, (dir) => Tokenizer.load(dir))
    expect([...tokenizer.encode(']~b]', { special: false })].every((id) => id >= 8)).toBe(true)
    expect([...tokenizer.encode(']~b]')]).toEqual([2])
  })

  it('takes the longest of added tokens that begin at one place', async () => {
    const contents = ['<a', '<a>', '<a><b>c', 'b>', '😀', '😀!']
    const added_tokens = contents.map((content, i) => ({ id: 2000 + i, content, special: true }))
    const json = { ...o200kJson, added_tokens }
    const tokenizer = await withTokenizerFile(json, (dir) => Tokenizer.load(dir))
    const oracle = oracleOf(json)
    for (const text of ['<a<a><a><b><a><b>c', '<<a>><b>', '😀😀!😀', 'x<a><b', '\ud83d<a\ude00']) {
      expect([...tokenizer.encode(text)]).toEqual(oracle.encode(text))
    }
  })
})

describe('encodeSegments', () => {
  it('is encode of the joined text when no part has an added token that is not the template’s', () => {
    const parts: TextSegment[] = [
      { text: ']~b]user\nIt is', special: true },
      { text: "n't 12", special: false },
      { text: '34', special: false },
      { text: '', special: false },
      { text: '5\n', special: true },
      { text: '\n  x', special: false },
      { text: '[e~[\n', special: true },
    ]
    const joined = parts.map(({ text }) => text).join('')
    for (const tokenizer of [nano, o200k]) expect(tokenizer.encodeSegments(parts)).toEqual(tokenizer.encode(joined))
  })

  it('finds an added token that begins in one special part and ends in the next, but none with a letter of plain text', () => {
    const split = (special: boolean) => [
      { text: ']~', special: true },
      { text: 'b', special },
      { text: ']', special: true },
    ]
    expect([...nano.encodeSegments(split(true))]).toEqual([2])
    expect(nano.encodeSegments(split(false))).toEqual(nano.encode(']~b]', { special: false }))
  })

  it('leaves a text that is too long as soon as that is known', () => {
    const texts = ['word '.repeat(800), 'word'.repeat(4000), ' '.repeat(8000), ']~b]x'.repeat(800), '']
    for (const text of texts) {
      for (const tokenizer of [nano, o200k]) {
        const parts = [
          { text, special: true },
          { text: text.slice(1), special: false },
        ]
        const all = tokenizer.encodeSegments(parts)
        for (const most of [0, 1, 2, 100, 1000, all.length - 1, all.length, all.length + 1]) {
          if (most >= 0) expect(tokenizer.encodeSegments(parts, most)).toEqual(all.slice(0, most + 1))
        }
      }
    }
  })

  it('gives nothing for no parts, or empty ones', () => {
    expect(nano.encodeSegments([])).toEqual(new Int32Array(0))
    expect(nano.encodeSegments([{ text: '', special: true }])).toEqual(new Int32Array(0))
  })

  it('recognises added tokens in special parts only, and cuts the text between them as one', () => {
    const json = JSON.parse(readFileSync(path.join(NANO, 'tokenizer.json'), 'utf8'))
    const models: [Tokenizer, typeof json][] = [
      [nano, json],
      [o200k, o200kJson],
    ]
    for (const [tokenizer, file] of models) {
      const plain = oracleOf({ ...file, added_tokens: [] })
      const contents = tokenizer.addedTokens.map(({ content }) => content)
      const random = new Random(30)
      for (let i = 0; i < 500; i++) {
        const parts = Array.from({ length: random.integer(6) }, (_, part) => ({
          text: randomText(random, 8) + contents[random.integer(contents.length)]! + randomText(random, 8),
          special: part % 2 === 0, // neighbours differ, so a part's added tokens are all within it
        }))
        expect([...tokenizer.encodeSegments(parts)]).toEqual(reference(tokenizer, plain.encode, contents, parts))
      }
    }
  })

  /** Puts a private character in the place of each added token in special parts, joins the parts, and encodes what lies between. */
  function reference(
    tokenizer: Tokenizer,
    plain: (text: string) => number[],
    contents: string[],
    parts: TextSegment[],
  ): number[] {
    const escaped = contents.map((content) => content.replace(/[[\]{}()*+?.\\^$|]/g, '\\$&'))
    const anyAdded = new RegExp(escaped.sort((a, b) => b.length - a.length).join('|'), 'g')
    const mark = '\u{f1234}' // not in any random text
    const found: string[] = []
    const marked = (content: string) => {
      found.push(content)
      return mark
    }
    const joined = parts.map(({ text, special }) => (special ? text.replace(anyAdded, marked) : text)).join('')
    return joined.split(mark).flatMap((text, i) => [...(i > 0 ? [tokenizer.idOf(found[i - 1]!)!] : []), ...plain(text)])
  }
})

describe('decode', () => {
  it('takes any array of ids', () => {
    const ids = nano.encode('any array')
    for (const same of [ids, [...ids], Uint16Array.from(ids), Object.assign({}, ids, { length: ids.length })]) {
      expect(nano.decode(same)).toBe('any array')
    }
    expect(nano.decode([])).toBe('')
  })

  it('gives U+FFFD for bytes that are not UTF-8, and keeps a byte order mark', () => {
    const ids = nano.encode('\ufeff😀')
    expect(nano.decode(ids)).toBe('\ufeff😀')
    expect(nano.decode(ids.subarray(0, -1))).toBe('\ufeff\ufffd')
    expect(nano.decode([...ids.subarray(0, -1), 3])).toBe('\ufeff\ufffd[e~[')
  })
})

describe('bad input is refused by name', () => {
  it.each([
    [1536, 'token id 1536: expected an integer from 0 to 1535'],
    [-1, 'token id -1: expected an integer from 0 to 1535'],
    [1.5, 'token id 1.5: expected an integer from 0 to 1535'],
    [Number.NaN, 'token id NaN: expected an integer from 0 to 1535'],
    ['length', 'token id length: expected an integer from 0 to 1535'],
    [undefined, 'token id undefined: expected an integer from 0 to 1535'],
  ])('id %j', (id, message) => {
    expect(() => nano.decode([1, id as number])).toThrow(expect.objectContaining({ code: 'BAD_INPUT', message }))
  })

  it.each([undefined, null, 7, ['a']])('text %j', (text) => {
    const error = expect.objectContaining({ name: 'M2Error', code: 'BAD_INPUT' })
    expect(() => nano.encode(text as unknown as string)).toThrow(error)
    expect(() => nano.encodeSegments([{ text: text as unknown as string, special: false }])).toThrow(error)
  })

  it.each([undefined, null, 7, 'abc'])('ids %j', (ids) => {
    const error = expect.objectContaining({ name: 'M2Error', code: 'BAD_INPUT' })
    expect(() => nano.decode(ids as unknown as number[])).toThrow(error)
  })

  it('options that are none', () => {
    const error = expect.objectContaining({ code: 'BAD_OPTION', message: expect.stringContaining('"special"') })
    expect(() => nano.encode('a', { specials: true } as object)).toThrow(error)
    expect(() => nano.decode([1], { skipSpecial: true } as object)).toThrow(error)
  })

  it('special that is no boolean', () => {
    const error = expect.objectContaining({ code: 'BAD_OPTION', message: expect.stringContaining('special') })
    expect(() => nano.encode('a', { special: 1 as unknown as boolean })).toThrow(error)
    expect(() => nano.decode([1], { special: 'no' as unknown as boolean })).toThrow(error)
  })
})

describe('many different words', () => {
  it('do not take one another’s ids, though more than are remembered and much alike', () => {
    const words = Array.from(
      { length: 100_000 },
      (_, i) => `${i.toString(26).replace(/\d/g, (d) => 'qrstuvwxyz'[+d]!)}ending`,
    )
    const text = words.join(' ')
    for (let round = 0; round < 2; round++) expect(nano.decode(nano.encode(text))).toBe(text)
  })
})

describe('long runs', () => {
  it.each([
    ['one letter', 'a', 20_000],
    ['spaces', ' ', 100_000],
    ['newlines', '\n', 100_000],
    ['digits', '7', 100_000],
    ['capitals', 'A', 50_000],
    ['Chinese without a stop', '的一是不了在人有我他', 13_000],
    ['combining marks', '\u0301', 50_000],
    ['halves of pairs', '\ud800', 50_000],
    ['beginnings of control tokens', ']~', 50_000],
  ])('of %s come back whole', (_, unit, count) => {
    const text = unit.repeat(count)
    for (const tokenizer of [nano, o200k]) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(Buffer.from(text).toString())
    }
  })
})
