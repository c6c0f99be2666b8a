import os from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Tokenizer } from '../../lib/text/tokenizer'
import { PATTERNS, type TokenizerJson, trainTokenizer, withTokenizerFile } from '../reference/tokenizers'

const make = () => trainTokenizer(PATTERNS.o200k, 'the cat sat on the mat, the hat on the cat', 20)
const load = (json: TokenizerJson) => withTokenizerFile(json, (dir) => Tokenizer.load(dir))

/** Loads a good file after `spoil`, and expects the error's code and that its message has the file and all of `words`. */
async function expectError(spoil: (json: TokenizerJson) => unknown, code: string, ...words: string[]) {
  const json = make()
  spoil(json)
  await expectFailure(json, code, ...words)
}

async function expectFailure(file: TokenizerJson | string, code: string, ...words: string[]) {
  const error = await load(file).then(
    () => undefined,
    (reason: Error & { code: string }) => reason,
  )
  expect(error, 'loads').toBeDefined()
  expect(error!.name).toBe('M2Error')
  for (const word of ['tokenizer.json: ', ...words]) expect(error!.message).toContain(word)
  expect(error!.message).not.toContain('\n')
  expect(error!.code).toBe(code)
}

const splitOf = (json: TokenizerJson) => json.pre_tokenizer.pretokenizers[0]

describe('a folder without tokenizer.json', () => {
  it.each([path.join(os.tmpdir(), 'no-such-folder'), path.join(__filename, 'below-a-file')])(
    'is MODEL_NOT_FOUND: %s',
    async (dir) => {
      const message = expect.stringContaining(path.join(dir, 'tokenizer.json'))
      await expect(Tokenizer.load(dir)).rejects.toThrow(expect.objectContaining({ code: 'MODEL_NOT_FOUND', message }))
    },
  )

  it('is BAD_INPUT when it is no path at all', async () => {
    const error = expect.objectContaining({ name: 'M2Error', code: 'BAD_INPUT' })
    await expect(Tokenizer.load(undefined as unknown as string)).rejects.toThrow(error)
  })
})

describe('a broken file is BAD_CHECKPOINT, by the name of what is broken', () => {
  it.each([
    ['cut off', JSON.stringify(make()).slice(0, 1000), 'not valid JSON'],
    ['empty', '', 'not valid JSON'],
    ['no object', '[]', 'the file is [], expected an object'],
  ])('%s', (_, text, words) => expectFailure(text, 'BAD_CHECKPOINT', words))

  it.each<[string, (json: TokenizerJson) => unknown, ...string[]]>([
    ['no model', (json) => delete json.model, 'model is missing'],
    ['no vocabulary', (json) => delete json.model.vocab, 'model.vocab is missing'],
    ['a vocabulary that is a list', (json) => (json.model.vocab = []), 'model.vocab is []'],
    ['an id that is none', (json) => (json.model.vocab.x = 1.5), 'model.vocab["x"] is 1.5'],
    ['a negative id', (json) => (json.model.vocab.x = -1), 'model.vocab["x"] is -1'],
    ['a wild id', (json) => (json.model.vocab.x = 4e9), 'model.vocab["x"] is 4000000000'],
    ['an id given twice', (json) => (json.model.vocab.th = 7), 'id 7', '"th"'],
    ['a NUL in a token', (json) => (json.model.vocab['a\0b'] = 2000), 'NUL'],
    ['no merges', (json) => delete json.model.merges, 'model.merges is missing'],
    ['a merge of one', (json) => (json.model.merges[3] = 'th'), 'model.merges[3]', '"th"'],
    ['a merge of three', (json) => (json.model.merges[3] = 't h e'), 'model.merges[3]', '"t h e"'],
    ['a merge that is a number', (json) => (json.model.merges[3] = 5), 'model.merges[3] is 5'],
    ['a merge of an unknown token', (json) => (json.model.merges[3] = 'qqq t'), 'model.merges[3]', 'left part'],
    ['a merge with an unknown token', (json) => (json.model.merges[3] = 't 你'), 'model.merges[3]', 'right part'],
    ['a merge into nothing', (json) => (json.model.merges[3] = 'q q'), 'model.merges[3]', 'what it makes'],
    ['no pre-tokenizer', (json) => delete json.pre_tokenizer, 'pre_tokenizer is missing'],
    ['an added token without content', (json) => delete json.added_tokens[2].content, 'added_tokens[2].content'],
    ['an added token without id', (json) => delete json.added_tokens[2].id, 'added_tokens[2].id is missing'],
    ['an added token twice', (json) => (json.added_tokens[2].content = '<think>'), 'added_tokens[4]', '<think>'],
    ['an id for two added tokens', (json) => (json.added_tokens[2].id = json.added_tokens[4].id), 'added_tokens[4]'],
    ['an added token on a plain id', (json) => (json.added_tokens[2].id = 65), 'added_tokens[2]', 'id 65'],
    ['an added token unlike the vocabulary', (json) => (json.model.vocab['[e~['] = 1999), 'added_tokens[2].id', '1999'],
  ])('%s', (_, spoil, ...words) => expectError(spoil, 'BAD_CHECKPOINT', ...words))
})

describe('a sound tokenizer of another kind is UNSUPPORTED_MODEL, by the name of what is not supported', () => {
  it.each<[string, (json: TokenizerJson) => unknown, ...string[]]>([
    ['Unigram', (json) => (json.model.type = 'Unigram'), 'model.type is "Unigram", expected "BPE"'],
    ['dropout', (json) => (json.model.dropout = 0.1), 'model.dropout is 0.1'],
    ['a word ending', (json) => (json.model.end_of_word_suffix = '</w>'), 'model.end_of_word_suffix'],
    ['byte fallback', (json) => (json.model.byte_fallback = true), 'model.byte_fallback'],
    ['a normalizer', (json) => (json.normalizer = { type: 'NFKC' }), 'normalizer is {"type":"NFKC"}'],
    ['no decoder', (json) => delete json.decoder, 'decoder is missing'],
    ['another decoder', (json) => (json.decoder = { type: 'Metaspace' }), 'Metaspace'],
    ['another pre-tokenizer', (json) => (json.pre_tokenizer = { type: 'Whitespace' }), 'Whitespace'],
    ['a prefix space', (json) => (json.pre_tokenizer.pretokenizers[1].add_prefix_space = true), 'add_prefix_space'],
    ['two cuts', (json) => (json.pre_tokenizer.pretokenizers[1].use_regex = true), 'use_regex'],
    ['a Split by text', (json) => (splitOf(json).pattern = { String: ' ' }), 'Split'],
    ['a Split that merges', (json) => (splitOf(json).behavior = 'MergedWithNext'), 'MergedWithNext'],
    ['stripping', (json) => (json.added_tokens[4].lstrip = true), 'added_tokens[4].lstrip', '<think>'],
    ['single words', (json) => (json.added_tokens[4].single_word = true), 'added_tokens[4].single_word'],
  ])('%s', (_, spoil, ...words) => expectError(spoil, 'UNSUPPORTED_MODEL', ...words))

  it.each([
    ['(?<=a)b', 'a group other than'],
    ['(?>a)b', 'a group other than'],
    ['(?=ab)c', 'a lookahead over anything but one character'],
    ['(?!a|b)c', 'a lookahead over anything but one character'],
    ['a+?', 'a second quantifier'],
    ['a**', 'a second quantifier'],
    ['*a', 'one of ^ . * + ? { } ]'],
    ['^a', 'one of ^ . * + ? { } ]'],
    ['a{x}', 'a brace that is not a quantifier'],
    ['a{3,2}', 'a repeat count out of range'],
    ['a{99999}', 'a repeat count out of range'],
    ['[a-z&&[^b]]', 'a class within a class'],
    ['[z-a]', 'a range out of order'],
    ['[abc', 'its end too early'],
    ['(abc', 'a group without its end'],
    ['abc)', 'an unmatched )'],
    [String.raw`\p{Han}+`, 'not a general category'],
    [String.raw`\w+`, 'an escape other than'],
    [String.raw`(a)\1`, 'an escape other than'],
    ['a*', 'matches the empty text'],
    ['(?:a|)', 'matches the empty text'],
    ['(?:(?:(?:a{99}b){99}c){99}d)', 'too large'],
    ['('.repeat(100_000), 'groups nested too deep'],
  ])('the pattern %s', (pattern, words) =>
    expectError((json) => (splitOf(json).pattern = { Regex: pattern }), 'UNSUPPORTED_MODEL', words),
  )
})

describe('what a file may leave out or say otherwise', () => {
  it.each<[string, (json: TokenizerJson) => unknown]>([
    [
      'absent fields',
      (json) => ['normalizer', 'post_processor', 'truncation', 'padding'].map((name) => delete json[name]),
    ],
    ['empty affixes', (json) => Object.assign(json.model, { continuing_subword_prefix: '', end_of_word_suffix: '' })],
    [
      'a post-processor, which is not applied',
      (json) => (json.post_processor = { type: 'ByteLevel', trim_offsets: false }),
    ],
    ['merges as pairs', (json) => (json.model.merges = json.model.merges.map((merge: string) => merge.split(' ')))],
    ['no added tokens', (json) => delete json.added_tokens],
  ])('%s', async (_, change) => {
    const json = make()
    const before = await load(json)
    change(json)
    const after = await load(json)
    const text = 'the cat sat on the mat é 😀'
    expect(after.encode(text)).toEqual(before.encode(text))
  })

  it('a vocabulary without all bytes: text that needs a missing one is BAD_INPUT', async () => {
    const json = make()
    delete json.model.vocab.z
    const tokenizer = await load(json)
    expect(tokenizer.decode(tokenizer.encode('the cat'))).toBe('the cat')
    const message = expect.stringContaining('byte 122')
    expect(() => tokenizer.encode('the zoo')).toThrow(expect.objectContaining({ code: 'BAD_INPUT', message }))
    expect(tokenizer.decode(tokenizer.encode('the cat'))).toBe('the cat')
  })

  it('a token that is not written as bytes: it is its own text', async () => {
    const json = make()
    json.model.vocab['你 好'] = 3000
    expect((await load(json)).decode([3000])).toBe('你 好')
  })
})
