import { Ajv2020 } from 'ajv/dist/2020'
import { beforeAll, describe, expect, it } from 'vitest'
import { CompiledGrammar, literal, sequence, token, toolCalls } from '../../lib/grammar'
import { CALLS, CALLS_END } from '../../lib/text/markup'
import { OutputParser } from '../../lib/text/output-parser'
import type { FunctionDefinition } from '../../lib/text/tools'
import { Random } from '../text/random'
import { type Nano, nano } from './nano'
import { DEFINITIONS, randomSchema } from './random-schema'
import { expectMaskIsExact, walk } from './walks'

let model: Nano
beforeAll(async () => {
  model = await nano()
})
const ajv = new Ajv2020({ strict: false, validateFormats: false, ownProperties: true })

const inText = { open: literal(CALLS), close: literal(CALLS_END) }
const compiled = (functions: FunctionDefinition[], parallel = true) =>
  new CompiledGrammar(toolCalls(functions, inText, { parallel }), model.vocabulary, [model.endId])

function parsed(functions: FunctionDefinition[], text: string) {
  const parser = new OutputParser({ tools: functions, startsIn: 'text' })
  parser.push(text)
  return parser.end()
}

const object = (properties: object, required: string[] = []) => ({ type: 'object', properties, required })
const call = (name: string, ...parameters: [name: string, text: string][]) =>
  `${CALLS}\n<invoke name="${name}">\n${parameters.map(([key, text]) => `<parameter name="${key}">${text}</parameter>\n`).join('')}</invoke>\n${CALLS_END}`

const SEARCH: FunctionDefinition = {
  name: 'search',
  parameters: object(
    { query: { type: 'string' }, limit: { type: 'integer', minimum: 1, maximum: 9 }, exact: { type: 'boolean' } },
    ['query'],
  ),
}
const NOW: FunctionDefinition = { name: 'now' }

describe('tool calls', () => {
  it('read back as arguments that fit their schemas', () => {
    const ends = [
      `</parameter>\n</invoke>\n${CALLS_END}`,
      `</invoke>\n${CALLS_END}`,
      '</parameter>\n<parameter name="path">',
    ]
    const closers = ends.map((text) => Array.from(Buffer.from(text), (byte) => model.byteIds[byte]!))
    for (let seed = 0; seed < 25; seed++) {
      const random = new Random(seed)
      const properties = Object.fromEntries(['a', 'é x', 'path'].map((name) => [name, randomSchema(random, 2)]))
      const parameters = { ...object(properties, ['path']), $defs: DEFINITIONS }
      const functions = [{ name: 'f', parameters }, NOW]
      const grammar = compiled(functions)
      const validate = ajv.compile(parameters)
      for (let i = 0; i < 3; i++) {
        const text = model.tokenizer.decode(walk(grammar, random, 30, closers))
        const output = parsed(functions, text)
        expect(output.text, text).toBe('')
        expect(output.toolCalls.length).toBeGreaterThan(0)
        for (const { name, arguments: values } of output.toolCalls) {
          expect(
            name === 'f' ? validate(values) : Object.keys(values).length === 0,
            `${text} ${JSON.stringify(properties)}`,
          ).toBe(true)
        }
      }
    }
  })

  it('are in the order of the schema, one or more', () => {
    const grammar = compiled([SEARCH, NOW])
    const good = [
      call('now'),
      call('search', ['query', 'a "b" <c>\n']),
      call('search', ['query', ''], ['limit', '9'], ['exact', 'true']),
      call('search', ['query', 'x'], ['exact', 'false']).replace(
        '</invoke>\n',
        '</invoke>\n<invoke name="now">\n</invoke>\n',
      ),
    ]
    const bad = [
      call('search'),
      call('other'),
      call('search', ['limit', '3'], ['query', 'x']),
      call('search', ['query', 'x'], ['limit', '10']),
      call('search', ['query', 'x'], ['limit', '"3"']),
      call('search', ['query', 'x'], ['query', 'x']),
      `${CALLS}\n${CALLS_END}`,
    ]
    expect(good.filter((text) => !model.allows(grammar, text))).toEqual([])
    expect(bad.filter((text) => model.allows(grammar, text))).toEqual([])
    const single = compiled([SEARCH, NOW], false)
    expect(good.map((text) => model.allows(single, text))).toEqual([true, true, true, false])
  })

  it('may have the closing tag in a text where the scanner does not close', () => {
    const grammar = compiled([SEARCH])
    const texts = [
      '</parameter>',
      '</parameter> \u2003\n<x',
      '</parameter></parameter>',
      '</parameter>\n<parameter nam',
      '</invoke>',
      '</parameter>\n</inv',
    ]
    for (const query of texts) {
      const text = call('search', ['query', query])
      expect([query, model.allows(grammar, text)]).toEqual([query, true])
      expect(parsed([SEARCH], text).toolCalls[0]?.arguments).toEqual({ query })
    }
    for (const query of [
      '</parameter></invoke>',
      'a</parameter>\u00a0\n</invoke>b',
      '</parameter>\n<parameter name="x">',
    ]) {
      expect([query, model.allows(grammar, call('search', ['query', query]))]).toEqual([query, false])
    }
  })

  it('bound raw strings by code points, patterns and lists', () => {
    const properties = {
      short: { type: 'string', minLength: 2, maxLength: 3 },
      code: { type: 'string', pattern: '^[<a]/' },
      unit: { enum: ['C', 'F', 3] },
    }
    const grammar = compiled([{ name: 'f', parameters: object(properties) }])
    const good = [
      ['short', '😀"'],
      ['short', '</a'],
      ['code', '</anything'],
      ['unit', 'C'],
      ['unit', '3'],
    ]
    const bad = [
      ['short', 'a'],
      ['short', 'abcd'],
      ['code', '</parameter></invoke>'],
      ['code', 'b/'],
      ['unit', '"C"'],
    ]
    expect(good.filter(([key, text]) => !model.allows(grammar, call('f', [key!, text!])))).toEqual([])
    expect(bad.filter(([key, text]) => model.allows(grammar, call('f', [key!, text!])))).toEqual([])
  })

  it('leave to other types what would be read as one of their values', () => {
    const of = (schema: object) => compiled([{ name: 'f', parameters: object({ a: schema }) }])
    const mixed = of({
      anyOf: [{ type: 'string' }, { type: 'integer', minimum: 10 }, { type: 'array', items: { type: 'null' } }],
    })
    const good = ['12', 'x', '5 apples', '-', '1e', '1.', '01', '[null]', '{"a":1}', '']
    const bad = ['5', ' 5', '5\n', '-3', '1e5', '[1]', ' [x', '0.5']
    expect(good.filter((text) => !model.allows(mixed, call('f', ['a', text])))).toEqual([])
    expect(bad.filter((text) => model.allows(mixed, call('f', ['a', text])))).toEqual([])
    const nullable = of({ type: ['string', 'null'] })
    expect(model.allows(nullable, call('f', ['a', '5']))).toBe(true)
  })

  it('stand between tokens where the tokenizer has them', () => {
    const [open, close] = [1534, 1535]
    const tags = { open: token(open), close: token(close) }
    const matcher = new CompiledGrammar(toolCalls([NOW], tags), model.vocabulary, [model.endId]).start()
    expect(matcher.accept(model.byteIds['<'.charCodeAt(0)]!)).toBe(false)
    expectMaskIsExact(matcher, model.vocabulary.size)
    expect(matcher.accept(open)).toBe(true)
    for (const byte of Buffer.from('\n<invoke name="now">\n</invoke>\n'))
      expect(matcher.accept(model.byteIds[byte]!)).toBe(true)
    expectMaskIsExact(matcher, model.vocabulary.size)
    expect([matcher.canEnd, matcher.accept(close), matcher.canEnd, matcher.isDone]).toEqual([false, true, true, true])
  })

  it('can be a part of more', () => {
    const grammar = new CompiledGrammar(sequence(literal('Ok.'), toolCalls([NOW], inText)), model.vocabulary, [
      model.endId,
    ])
    expect(model.allows(grammar, `Ok.${call('now')}`)).toBe(true)
  })

  it.each([
    [{ type: 'array' }, 'tools[0].parameters.type: expected "object", found "array"'],
    [{ anyOf: [{ type: 'object' }] }, /^tools\[0\]\.parameters\.anyOf: expected none but type/],
    [object({ 'a">': true }, []), /^tools\[0\]\.parameters\.properties\["a\\">"\]: expected a name without ">/],
    [
      object({ a: { type: 'array', uniqueItems: true } }),
      /^tools\[0\]\.parameters\.properties\.a\.uniqueItems: expected a supported keyword/,
    ],
  ])('%j is refused by name', (parameters, message) => {
    expect(() => toolCalls([{ name: 'f', parameters }], inText)).toThrow(message)
  })
})
