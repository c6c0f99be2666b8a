import { beforeAll, describe, expect, it, vi } from 'vitest'
import { CompiledGrammar, choice, jsonSchema, literal, regex, Vocabulary } from '../../lib/grammar'
import { automatonOf } from '../../lib/grammar/automaton'
import { States } from '../../lib/grammar/states'
import { Random } from '../text/random'
import { type Nano, nano } from './nano'
import { expectMaskIsExact, idsOf } from './walks'

let model: Nano
beforeAll(async () => {
  model = await nano()
})
const compiled = (schema: object) => new CompiledGrammar(jsonSchema(schema, 'schema'), model.vocabulary, [model.endId])
const spell = (text: string) => Array.from(Buffer.from(text), (byte) => model.byteIds[byte]!)

describe('a matcher', () => {
  it('ends where the text may end, and there only', () => {
    const matcher = new CompiledGrammar(choice(literal('ab'), literal('abc')), model.vocabulary, [model.endId]).start()
    expect([matcher.canEnd, matcher.isDone, matcher.accept(model.endId)]).toEqual([false, false, false])
    for (const id of spell('ab')) expect(matcher.accept(id)).toBe(true)
    expect([matcher.canEnd, matcher.isDone]).toEqual([true, false])
    expect(idsOf(matcher.mask())).toEqual([...spell('c'), model.endId].sort((a, b) => a - b))
    const longer = matcher.clone()
    expect(longer.accept(spell('c')[0]!)).toBe(true)
    expect([longer.canEnd, longer.isDone, idsOf(longer.mask())]).toEqual([true, true, [model.endId]])
    expect([matcher.accept(model.endId), matcher.isDone, matcher.accept(spell('c')[0]!)]).toEqual([true, true, false])
    expect(idsOf(matcher.mask())).toEqual([model.endId])
  })

  it('is not changed by a token that is not allowed, nor by what becomes of its clone', () => {
    const matcher = compiled({ type: 'array', items: { type: 'integer' } }).start()
    for (const id of spell('[1')) matcher.accept(id)
    const before = idsOf(matcher.mask())
    const refused = [...spell('x"}'), -1, model.vocabulary.size, 1e9, 0.5]
    expect(refused.filter((id) => matcher.accept(id))).toEqual([])
    matcher.clone().accept(spell(']')[0]!)
    expect(idsOf(matcher.mask())).toEqual(before)
  })

  it('takes tokens that are cut within characters', () => {
    const matcher = new CompiledGrammar(regex('[日é😀]{2}', 'pattern'), model.vocabulary, [model.endId]).start()
    for (const id of spell('日😀')) {
      expectMaskIsExact(matcher, model.vocabulary.size)
      expect(matcher.canEnd).toBe(false)
      expect(matcher.accept(id)).toBe(true)
    }
    expect(matcher.isDone).toBe(true)
  })

  it('has exact masks near the bounds of counts', () => {
    const random = new Random(3)
    for (const [minLength, maxLength] of [
      [0, 5],
      [5, 14],
      [30, 40],
      [13, 2000],
    ]) {
      const matcher = compiled({ type: 'array', items: { type: 'string', minLength, maxLength } }).start()
      for (const id of spell('["')) matcher.accept(id)
      for (let step = 0; step < 14; step++) {
        expectMaskIsExact(matcher, model.vocabulary.size)
        matcher.accept(random.pick(idsOf(matcher.mask())))
      }
    }
  })
})

describe('states and masks', () => {
  it('are shared by texts that may go on alike', () => {
    const states = new States(automatonOf(jsonSchema({ type: 'array', items: { type: 'string' } }, 'schema')))
    const after = (text: string) =>
      [...Buffer.from(text)].reduce((state, byte) => states.step(state, byte)!, states.start)
    const pairs = [
      ['["a","b', '["é","c","\\n'],
      ['["a"', '["a","b"'],
      ['["a"', '["a'],
    ]
    expect(pairs.map(([one, other]) => after(one!) === after(other!))).toEqual([true, true, false])
  })

  it('of strings are made beforehand, and shared by grammars', async () => {
    const vocabulary = Vocabulary.of(model.tokenizer)
    const compile = (schema: object) => new CompiledGrammar(jsonSchema(schema, 'schema'), vocabulary, [model.endId])
    const bound = { type: 'string', minLength: 2, maxLength: 500 }
    await compile({ type: 'array', items: { anyOf: [{ type: 'string' }, bound] } }).prepare()
    const held = vocabulary.locals.bytes
    for (const text of ['{"a":"x', '{"a":"x","b":"abc']) {
      const properties = { a: { type: 'string' }, b: { ...bound, maxLength: 700 } }
      const matcher = compile({ type: 'object', properties }).start()
      for (const id of spell(text)) matcher.accept(id)
      expect(idsOf(matcher.mask()).length).toBeGreaterThan(1000)
      expectMaskIsExact(matcher, model.vocabulary.size)
    }
    expect(held).toBeGreaterThan(0)
    expect(vocabulary.locals.bytes).toBe(held)
  })

  it('do not pile up in a long text', () => {
    const grammar = compiled({ type: 'string', minLength: 60_000, maxLength: 70_000 })
    const [matcher, idle] = [grammar.start(), grammar.start()]
    const [quote, x] = spell('"x')
    for (const each of [matcher, idle]) each.accept(quote!)
    const first = grammar.states
    expect(Array.from({ length: 60_000 }, () => matcher.accept(x!)).every(Boolean)).toBe(true)
    expect(grammar.states).not.toBe(first)
    expect([matcher.accept(quote!), matcher.isDone, idle.accept(quote!), idle.accept(x!)]).toEqual([
      true,
      true,
      false,
      true,
    ])
    expectMaskIsExact(idle, model.vocabulary.size)
  })
})

describe('a text of thousands of levels', () => {
  const list = { $defs: { t: { type: 'array', items: { $ref: '#/$defs/t' }, maxItems: 7 } }, $ref: '#/$defs/t' }

  it('takes no more work for a token than one of few', () => {
    const matcher = compiled(list).start()
    const frames = vi.spyOn(States.prototype, 'frame')
    const work = Array.from({ length: 2000 }, () => {
      frames.mockClear()
      expect(matcher.accept(spell('[')[0]!)).toBe(true)
      matcher.mask()
      return frames.mock.calls.length
    })
    frames.mockRestore()
    expect(Math.max(...work.slice(1000))).toBeLessThanOrEqual(2 * Math.max(...work.slice(10, 100)))
  })

  it('does not begin anew with every token where the levels alone are more than are held', () => {
    const grammar = compiled(list)
    const matcher = grammar.start()
    const begun = new Set<object>()
    for (let i = 0; i < 31_500 && begun.size < 20; i++) {
      matcher.accept(spell('[')[0]!)
      begun.add(grammar.states)
    }
    expect(begun.size).toBeLessThan(20)
  })
})
