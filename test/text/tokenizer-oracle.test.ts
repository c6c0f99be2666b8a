import { readFileSync } from 'node:fs'
import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { Tokenizer } from '../../lib/text/tokenizer'
import { Random } from '../reference/random'
import { CORNERS, randomText, WRITING } from '../reference/texts'
import { oracleOf, PATTERNS, type TokenizerJson, trainTokenizer, withTokenizerFile } from '../reference/tokenizers'

const NANO = path.join(__dirname, '..', '..', 'models', 'nano')
const TRAINING = WRITING.join('\n')

const withModel = (json: TokenizerJson, model: object): TokenizerJson => ({
  ...json,
  model: { ...json.model, ...model },
})
const withSteps = (json: TokenizerJson, ...pretokenizers: object[]): TokenizerJson => ({
  ...json,
  pre_tokenizer: { type: 'Sequence', pretokenizers },
})

function variants(): [name: string, json: () => TokenizerJson][] {
  const o200k = () => trainTokenizer(PATTERNS.o200k, TRAINING, 3000)
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: false }
  const gpt2 = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return [
    ['the embedded model', () => JSON.parse(readFileSync(path.join(NANO, 'tokenizer.json'), 'utf8'))],
    ['an o200k-style tokenizer', o200k],
    ['a cl100k-style tokenizer', () => trainTokenizer(PATTERNS.cl100k, TRAINING, 1500)],
    ["cl100k's possessive pattern", () => trainTokenizer(PATTERNS.possessive, TRAINING, 500)],
    ["GPT-2's own ByteLevel", () => ({ ...trainTokenizer(PATTERNS.nano, TRAINING, 800), pre_tokenizer: gpt2 })],
    [
      'merges as pairs, whole tokens before merges',
      () => {
        const json = o200k()
        const merges = json.model.merges.map((merge: string) => merge.split(' '))
        return withModel(json, { ignore_merges: true, merges: merges.filter((_: string[], i: number) => i % 3 > 0) })
      },
    ],
    [
      'a Split that removes what is no match',
      () => {
        const json = o200k()
        const pattern = { Regex: String.raw`\p{L}+|\p{N}{2,3}+|[!-/]` }
        return withSteps(json, { type: 'Split', pattern, behavior: 'Removed', invert: true }, byteLevel)
      },
    ],
    [
      'a Split that keeps what is no match',
      () => {
        const json = o200k()
        const pattern = { Regex: String.raw`(?:\p{Lu}|\p{P}){2,4}(?=\s)|[a-f\-]{,3}x|[^\P{Nd}5]+\.` }
        return withSteps(json, { type: 'Split', pattern, behavior: 'Isolated', invert: false }, byteLevel)
      },
    ],
  ]
}

describe.each(variants())('%s: the ids of @huggingface/tokenizers', (_, makeJson) => {
  let ours: Tokenizer
  let oracle: ReturnType<typeof oracleOf>
  let plainOracle: ReturnType<typeof oracleOf> // knows no added tokens
  beforeAll(async () => {
    const json = makeJson()
    ours = await withTokenizerFile(json, (dir) => Tokenizer.load(dir))
    oracle = oracleOf(json)
    plainOracle = oracleOf({ ...json, added_tokens: [] })
  })

  function check(text: string): void {
    expect([...ours.encode(text)], JSON.stringify(text)).toEqual(oracle.encode(text))
    expect([...ours.encode(text, { special: false })], JSON.stringify(text)).toEqual(plainOracle.encode(text))
  }

  it('for writing in many scripts, and code', () => {
    for (const text of [...WRITING, TRAINING]) check(text)
  })

  it.each(CORNERS)('for the corner %j', (text) => {
    check(text)
    for (const neighbour of ['a', ' ', '\n', '9', 'é']) check(neighbour + text + neighbour)
  })

  it('for random texts', () => {
    const random = new Random(20)
    for (let i = 0; i < 800; i++) check(randomText(random, 30))
  })

  it('for random texts again, now that pieces are remembered', () => {
    const random = new Random(20)
    for (let i = 0; i < 300; i++) check(randomText(random, 30))
  })
})

describe('a piece longer than what is merged at once', () => {
  const pattern = { Regex: '[\\s\\S]+' } // all of a text is one piece
  const split = { type: 'Split', pattern, behavior: 'Isolated', invert: false }
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: false }
  const json = withSteps(trainTokenizer(PATTERNS.o200k, TRAINING, 3000), split, byteLevel)
  const sparse = withModel(json, { merges: json.model.merges.filter((_: string[], i: number) => i % 3 > 0) })

  it.each([
    ['all merges', json],
    ['two of three', sparse],
  ])('has the ids of @huggingface/tokenizers, with %s', async (_, file) => {
    const ours = await withTokenizerFile(file, (dir) => Tokenizer.load(dir))
    const oracle = oracleOf(file)
    const random = new Random(23)
    const mixed = Array.from({ length: 6000 }, () => randomText(random, 30)).join('')
    for (const text of [mixed, TRAINING.repeat(Math.ceil(150_000 / TRAINING.length)), 'a'.repeat(140_001)]) {
      expect([...ours.encode(text)]).toEqual(oracle.encode(text))
    }
  })
})

describe.each(variants().slice(0, 4))('%s: text and back', (_, makeJson) => {
  let ours: Tokenizer
  let oracle: ReturnType<typeof oracleOf>
  beforeAll(async () => {
    const json = makeJson()
    ours = await withTokenizerFile(json, (dir) => Tokenizer.load(dir))
    oracle = oracleOf(json)
  })

  it('decode gives the text that was encoded', () => {
    const random = new Random(21)
    const texts = [...CORNERS, ...WRITING, ...Array.from({ length: 1000 }, () => randomText(random, 40))]
    for (const text of texts) {
      for (const special of [true, false])
        expect(ours.decode(ours.encode(text, { special }))).toBe(Buffer.from(text).toString())
    }
  })

  it('decode gives the text of @huggingface/tokenizers for any ids', () => {
    const random = new Random(22)
    const unused = new Set(ours.unusedIds)
    for (let i = 0; i < 2000; i++) {
      const bytes = random.integer(2) // ids of single bytes, so that broken UTF-8 is common; else any
      const ids = Array.from({ length: random.integer(12) }, () => random.integer(bytes ? 280 : ours.vocabSize))
      const known = ids.filter((id) => !unused.has(id))
      for (const special of [true, false]) expect(ours.decode(known, { special })).toBe(oracle.decode(known, special))
    }
  })
})
