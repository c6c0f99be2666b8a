import { beforeAll, describe, expect, it } from 'vitest'
import { CompiledGrammar, regex } from '../../lib/grammar'
import { Random } from '../text/random'
import { type Nano, nano } from './nano'
import { expectMaskIsExact, idsOf, walk } from './walks'

let model: Nano
beforeAll(async () => {
  model = await nano()
})
const compiled = (pattern: string) => new CompiledGrammar(regex(pattern, 'pattern'), model.vocabulary, [model.endId])
const allows = (grammar: CompiledGrammar, text: string) => model.allows(grammar, text)

const PATTERNS = [
  'abc',
  'a*b+c?',
  '(a|b)*abb',
  '[a-c]{2,4}',
  'a{3}|b{2,}',
  '(?:ab|a)(?:c|bc)',
  '^a|b$',
  '^(?:a|^b|c$)*$',
  'a$|b',
  '(a?){3}b',
  '[^a]b',
  '[\\d\\-]+',
  '\\w\\s\\w',
  '.\\.',
  'é+|日本?',
  '[à-ÿ€-₭😀-😎]{1,3}',
  '(?<name>a)\\x62\\u0063\\u{64}?',
  'a+?b*?',
  '[]|[^]c',
  '\\p{Lu}\\P{L}',
  'x\\-y',
  '(a*)*b',
  '',
]
const LETTERS = [...'aaabbbccd01-. \n', 'é', 'à', '日', '本', '€', '😀', 'A', 'x', 'y']

describe('regex', () => {
  it.each(PATTERNS)('%j allows what JavaScript matches as a whole', (pattern) => {
    const grammar = compiled(pattern)
    const flags = pattern.includes('\\-y') ? '' : 'u'
    const whole = new RegExp(`^(?:${pattern})$`, flags)
    const random = new Random(7)
    for (let i = 0; i < 300; i++) {
      const text = random.list(5, () => random.pick(LETTERS)).join('')
      expect([text, allows(grammar, text)]).toEqual([text, whole.test(text)])
    }
    for (let i = 0; i < 20; i++) {
      const text = model.tokenizer.decode(walk(grammar, random, 6))
      expect(text).toMatch(whole)
      expect(allows(grammar, text)).toBe(true)
    }
  })

  it.each(PATTERNS)('%j: masks are what accept allows', (pattern) => {
    const random = new Random(11)
    const matcher = compiled(pattern).start()
    for (let step = 0; step < 3; step++) {
      expectMaskIsExact(matcher, model.vocabulary.size)
      const texts = idsOf(matcher.mask()).filter((id) => id !== model.endId)
      if (texts.length > 0) matcher.accept(random.pick(texts))
    }
  })

  it.each([
    ['a(?=b)', 'pattern: expected a pattern without lookaround, found "(?="'],
    ['(?<!a)b', 'pattern: expected a pattern without lookaround, found "(?<!"'],
    ['\\bfoo', 'pattern: expected a pattern without word boundaries, found "\\\\b"'],
    ['(a)\\1', 'pattern: expected a pattern without references to groups, found "\\\\1"'],
    ['(?<x>a)\\k<x>', 'pattern: expected a pattern without references to groups, found "\\\\k<x>"'],
    ['a$b', 'pattern: expected a pattern that some text matches, found one that none does'],
    ['a(', /^pattern: expected a regular expression, found .*Unterminated group/],
    ['\\-\\p{Foo}', /^pattern: expected a pattern that is sound with the flag u.*\\\\p\{/],
    ['\\-\\p{L}', /sound with the flag u/],
    ['\\-\\u{110000}', /sound with the flag u/],
    ['\\-[\\07]', /sound with the flag u/],
    ['[\\c]', /sound with the flag u/],
    ['a{1,1000000}', /^pattern: expected a pattern of at most \d+ characters/],
    ['((){30000}){30000}', /^pattern: expected a pattern of at most \d+ characters/],
    ['((((a{99}){99}){99}){99}){99}', /^pattern: expected a pattern of at most \d+ characters/],
    [`${'('.repeat(2000)}${')'.repeat(2000)}`, /^pattern: expected at most 100 groups within each other/],
  ])('%j is refused by name', (pattern, message) => {
    expect(() => regex(pattern, 'pattern')).toThrow(message)
  })

  it('counts to some thousands', () => {
    const grammar = compiled('[a-z]{3000}')
    expect(allows(grammar, 'x'.repeat(3000))).toBe(true)
    expect(allows(grammar, 'x'.repeat(2999))).toBe(false)
    expect(allows(grammar, 'x'.repeat(3001))).toBe(false)
  })
})
