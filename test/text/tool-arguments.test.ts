import { describe, expect, it } from 'vitest'
import { argumentValue } from '../../lib/text/tool-arguments'

const PARAMETERS = {
  $defs: {
    Point: { type: 'object', properties: { x: { type: 'number' } } },
    Colour: { enum: ['red', 'green'] },
    Tree: { anyOf: [{ $ref: '#/$defs/Tree' }, { type: 'array', items: { $ref: '#/$defs/Tree' } }] },
  },
}

describe('argumentValue', () => {
  it.each<[schema: unknown, text: string, value: unknown]>([
    // one type
    [{ type: 'string' }, 'hello', 'hello'],
    [{ type: 'string' }, '42', '42'],
    [{ type: 'string' }, 'null', 'null'],
    [{ type: 'string' }, '"quoted"', '"quoted"'],
    [{ type: 'string' }, ' a\n<b>&amp;</b>\n', ' a\n<b>&amp;</b>\n'],
    [{ type: 'string' }, '', ''],
    [{ type: 'string' }, '{"a": 1}', '{"a": 1}'],
    [{ type: 'number' }, '42', 42],
    [{ type: 'number' }, '-1.5e3', -1500],
    [{ type: 'number' }, ' 7 ', 7],
    [{ type: 'number' }, 'many', 'many'],
    [{ type: 'integer' }, '42', 42],
    [{ type: 'integer' }, '42.0', 42],
    [{ type: 'integer' }, '007', '007'],
    [{ type: 'boolean' }, 'true', true],
    [{ type: 'boolean' }, 'false', false],
    [{ type: 'boolean' }, 'yes', 'yes'],
    [{ type: 'null' }, 'null', null],
    [{ type: 'object' }, '{"a": [1, {"b": null}]}', { a: [1, { b: null }] }],
    [{ type: 'object' }, '{"a": ', '{"a": '],
    [{ type: 'array' }, '[1, "2", null]', [1, '2', null]],
    // only `null` means null
    [{ type: ['string', 'null'] }, 'null', null],
    [{ type: ['string', 'null'] }, 'None', 'None'],
    [{ type: ['string', 'null'] }, 'nil', 'nil'],
    [{ type: ['string', 'null'] }, '', ''],
    [{ type: ['integer', 'null'] }, 'null', null],
    // several types: a string is the last resort
    [{ type: ['string', 'integer'] }, '42', 42],
    [{ type: ['string', 'integer'] }, '4.5', '4.5'],
    [{ type: ['string', 'boolean'] }, 'true', true],
    [{ type: ['string', 'boolean'] }, '1', '1'],
    [{ anyOf: [{ type: 'integer' }, { type: 'string' }] }, '42', 42],
    [{ anyOf: [{ type: 'string' }, { type: 'null' }] }, 'null', null],
    [{ oneOf: [{ type: 'string' }, { type: 'array', items: {} }] }, '["a"]', ['a']],
    [{ oneOf: [{ type: 'string' }, { type: 'array' }] }, '["a"', '["a"'],
    [{ anyOf: [{ type: 'string' }, {}] }, '42', 42],
    [{ allOf: [{ type: ['string', 'integer'] }, { type: ['integer', 'null'] }] }, 'null', null],
    [{ allOf: [{ type: 'string' }, { minLength: 1 }] }, '42', '42'],
    [{ type: 'string', anyOf: [{ type: 'string' }, { type: 'integer' }] }, '42', '42'],
    // listed values
    [{ enum: ['1', '2'] }, '1', '1'],
    [{ enum: [1, 2, 'auto'] }, '1', 1],
    [{ enum: [1, 2, 'auto'] }, 'auto', 'auto'],
    [{ enum: ['1', 2] }, '1', '1'],
    [{ enum: ['a', null] }, 'null', null],
    [{ enum: ['a'] }, '"a"', 'a'],
    [{ enum: ['true', 'false'] }, 'true', 'true'],
    [{ type: 'string', enum: ['on', 'off'] }, 'other', 'other'],
    [{ const: 5 }, '5', 5],
    // references and types that are only implied
    [{ $ref: '#/$defs/Point' }, '{"x": 1}', { x: 1 }],
    [{ $ref: '#/$defs/Colour' }, 'red', 'red'],
    [{ anyOf: [{ $ref: '#/$defs/Colour' }, { type: 'null' }] }, 'null', null],
    [{ $ref: '#/$defs/Tree' }, '[[]]', [[]]],
    [{ $ref: '#/$defs/Missing' }, '42', 42],
    [{ properties: {} }, '{}', {}],
    [{ items: { type: 'string' } }, '[]', []],
    // no type: JSON if it is JSON
    [{}, '42', 42],
    [{}, '"quoted"', 'quoted'],
    [{}, 'plain', 'plain'],
    [undefined, 'null', null],
    [true, '[1]', [1]],
  ])('%j reads %j as %j', (schema, text, value) => {
    const fn = {
      name: 'f',
      parameters: { ...PARAMETERS, type: 'object', properties: schema === undefined ? {} : { p: schema } },
    }
    expect(argumentValue(fn, 'p', text)).toEqual(value)
  })

  it('reads the arguments of unknown functions as JSON where they are', () => {
    expect(argumentValue(undefined, 'p', '42')).toBe(42)
    expect(argumentValue(undefined, 'p', 'word')).toBe('word')
    expect(argumentValue({ name: 'f' }, 'toString', 'word')).toBe('word')
  })
})

describe('references', () => {
  const $defs = { 'a b': { type: 'string' }, either: { anyOf: [{ type: 'string' }, { type: 'null' }] } }
  it.each(['#/$defs/a%20b', '#/$defs/either/anyOf/0'])('%s is found as it is where answers are constrained', ($ref) => {
    const fn = { name: 'f', parameters: { properties: { x: { $ref } }, $defs } }
    expect(argumentValue(fn, 'x', '42')).toBe('42')
  })

  it('that lead on and on do not exhaust the stack: of such a schema nothing is known', () => {
    const links = Array.from({ length: 20_000 }, (_, i) => [`r${i}`, { $ref: `#/$defs/r${i + 1}` }])
    const fn = {
      name: 'f',
      parameters: { properties: { x: { $ref: '#/$defs/r0' } }, $defs: Object.fromEntries(links) },
    }
    expect(argumentValue(fn, 'x', '42')).toBe(42)
  })
})
