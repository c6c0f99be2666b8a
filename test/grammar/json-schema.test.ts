import { Ajv2020 } from 'ajv/dist/2020'
import { beforeAll, describe, expect, it } from 'vitest'
import { CompiledGrammar, jsonObject, jsonSchema } from '../../lib/grammar'
import { Random } from '../text/random'
import { type Nano, nano } from './nano'
import { DEFINITIONS, randomSchema } from './random-schema'
import { expectMaskIsExact, idsOf, walk } from './walks'

let model: Nano
beforeAll(async () => {
  model = await nano()
})
const compiled = (schema: object) => new CompiledGrammar(jsonSchema(schema, 'schema'), model.vocabulary, [model.endId])
const allows = (schema: object, value: unknown) => model.allows(compiled(schema), JSON.stringify(value))
const ajv = new Ajv2020({ strict: false, validateFormats: false, ownProperties: true })

/** A text of the grammar, and its value. */
function sample(grammar: CompiledGrammar, random: Random, length = 15): { text: string; value: unknown } {
  const text = model.tokenizer.decode(walk(grammar, random, length))
  return { text, value: JSON.parse(text) }
}

const SCHEMAS = Array.from({ length: 60 }, (_, seed) => {
  const schema = randomSchema(new Random(seed), 3)
  return typeof schema === 'boolean' ? {} : { ...schema, $defs: DEFINITIONS }
})

describe('random schemas', () => {
  it('are kept by random walks, which always find an end', () => {
    for (const [seed, schema] of SCHEMAS.entries()) {
      const random = new Random(seed)
      const grammar = compiled(schema)
      const validate = ajv.compile(schema)
      for (let i = 0; i < 3; i++) {
        const { text, value } = sample(grammar, random)
        expect(validate(value), `${text} of ${JSON.stringify(schema)}`).toBe(true)
        expect(model.allows(grammar, text)).toBe(true)
      }
    }
  })

  it('refuse texts that do not fit', () => {
    let refused = 0
    for (const [seed, schema] of SCHEMAS.entries()) {
      const random = new Random(seed)
      const grammar = compiled(schema)
      const validate = ajv.compile(schema)
      for (const other of [SCHEMAS[(seed + 1) % SCHEMAS.length]!, { type: 'string' }, { type: 'integer' }]) {
        const { text, value } = sample(compiled(other), random, 6)
        if (validate(value)) continue
        refused++
        expect(model.allows(grammar, text), `${text} of ${JSON.stringify(schema)}`).toBe(false)
      }
    }
    expect(refused).toBeGreaterThan(60)
  })

  it('have masks that are what accept allows', () => {
    for (const [seed, schema] of SCHEMAS.slice(0, 20).entries()) {
      const random = new Random(seed)
      const matcher = compiled(schema).start()
      for (let step = 0; step < 6; step++) {
        if (step % 2 === 0) expectMaskIsExact(matcher, model.vocabulary.size)
        const texts = idsOf(matcher.mask()).filter((id) => id !== model.endId)
        if (texts.length > 0) matcher.accept(random.pick(texts))
      }
    }
  })
})

describe('JSON schemas', () => {
  const numberBounds = [
    { minimum: 0, maximum: 10 },
    { minimum: -17, maximum: 123 },
    { exclusiveMinimum: 99, exclusiveMaximum: 1001 },
    { exclusiveMinimum: -1, exclusiveMaximum: 1 },
    { minimum: -105, maximum: -9 },
    { minimum: 0.5, maximum: 2.25 },
    { exclusiveMinimum: -0.001, maximum: 0.01 },
    { minimum: 1e-7, exclusiveMaximum: 1.5e-6 },
    { minimum: 7, multipleOf: 7, maximum: 700 },
    { minimum: 0, multipleOf: 0.01, maximum: 1 },
  ]

  it.each(numberBounds)('keep numbers within %j exactly', (bounds) => {
    const { multipleOf, ...others } = bounds as Partial<Record<string, number>>
    const validate = ajv.compile(others)
    const near = Object.values(others).flatMap((bound = 0) =>
      [-10, -1, -0.1, -0.01, -1e-7, 0, 1e-7, 0.01, 0.1, 1, 9, 10].map((step) => bound + step),
    )
    for (const type of ['integer', 'number']) {
      const grammar =
        type === 'number' || Number.isInteger(others.minimum ?? 0) ? compiled({ type, ...bounds }) : undefined
      for (const value of near) {
        const text = Number(value.toFixed(9)).toString()
        if (!grammar || text.includes('e') || text === '-0') continue
        const isStep = !multipleOf || Math.abs(Number(text) / multipleOf - Math.round(Number(text) / multipleOf)) < 1e-9
        const fits = validate(Number(text)) && isStep && (type === 'number' || Number.isInteger(Number(text)))
        expect([type, text, model.allows(grammar, text)]).toEqual([type, text, fits])
      }
    }
  })

  it('write numbers in one way, with 15 digits at most', () => {
    const grammar = compiled({ type: 'number' })
    const good = ['0', '-1', '0.5', '-0.05', '999999999999999', '1.10', '12345678901234.5']
    const bad = ['-0', '-0.0', '01', '1.', '.5', '+1', '1e5', '1000000000000000', '12345678901234.56', 'NaN', '']
    expect(good.filter((text) => !model.allows(grammar, text))).toEqual([])
    expect(bad.filter((text) => model.allows(grammar, text))).toEqual([])
  })

  it('count code points, not bytes or escapes', () => {
    const schema = { type: 'string', minLength: 2, maxLength: 3 }
    const grammar = compiled(schema)
    const good = ['"ab"', '"😀😀😀"', '"\\u00e9\\n\\""', '"\\ud83d\\ude00a"', '"日本"']
    const bad = ['"a"', '"😀"', '"abcd"', '"\\ud83dab"', '"\\ude00ab"', '"a\nb"', '"\\x41b"', 'ab']
    expect(good.filter((text) => !model.allows(grammar, text))).toEqual([])
    expect(bad.filter((text) => model.allows(grammar, text))).toEqual([])
    const broken = grammar.start()
    for (const byte of [0x22, 0xed]) expect(broken.accept(model.byteIds[byte]!)).toBe(true)
    expect(broken.accept(model.byteIds[0xa0]!)).toBe(false) // would be half a surrogate pair
    expect(broken.accept(model.byteIds[0x9f]!)).toBe(true)
  })

  it('know long strings and arrays without being large', () => {
    const schema = { type: 'array', items: { type: 'string', maxLength: 1_000_000 }, minItems: 3000, maxItems: 4000 }
    const grammar = compiled(schema)
    expect(model.allows(grammar, JSON.stringify(Array(3000).fill('x')))).toBe(true)
    expect(model.allows(grammar, JSON.stringify(Array(2999).fill('x')))).toBe(false)
    expect(model.allows(grammar, JSON.stringify(Array(4001).fill('x')))).toBe(false)
  })

  it('search patterns in decoded strings', () => {
    const schema = { type: 'string', pattern: '"\\n$' }
    expect([allows(schema, 'say "\n'), allows(schema, '"\n.'), allows(schema, 'n')]).toEqual([true, false, false])
  })

  it.each([
    ['date', ['2024-02-29', '2023-12-31', '2000-02-29'], ['2023-02-29', '1900-02-29', '2023-13-01', '2023-1-1']],
    ['time', ['23:59:59Z', '00:00:00.123+05:30'], ['24:00:00Z', '10:00:00']],
    ['date-time', ['2024-05-06T07:08:09Z'], ['2024-05-06 07:08:09Z']],
    ['duration', ['P1Y2M3DT4H5M6S', 'PT1S', 'P2W'], ['P', 'PT', '1Y', 'P1Y2D']],
    ['uuid', ['123e4567-e89b-12d3-a456-426614174000'], ['123e4567e89b12d3a456426614174000']],
    ['ipv4', ['0.0.0.0', '255.249.100.9'], ['256.0.0.1', '1.2.3', '01.2.3.4']],
    [
      'ipv6',
      ['::', '::1', '1::', 'fe80::1:2', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::'],
      [':::', '1:2', '1:2:3:4:5:6:7:8:9', '1::2::3'],
    ],
    ['email', ['a.b+c@example.com'], ['a@b', '@example.com', 'a b@example.com']],
    ['hostname', ['localhost', 'a-1.example.org'], ['-a.b', 'a..b', 'a_b']],
    ['uri', ['https://example.com/a?b=%20c#d', 'mailto:a@b'], ['/relative', 'http://a b']],
  ])('format %s', (format, good, bad) => {
    const schema = { type: 'string', format }
    expect(good.filter((text) => !allows(schema, text))).toEqual([])
    expect(bad.filter((text) => allows(schema, text))).toEqual([])
  })

  it('do not let additional properties repeat declared ones', () => {
    const schema = {
      type: 'object',
      properties: { ab: { type: 'integer' }, a: true },
      additionalProperties: { type: 'integer' },
    }
    const grammar = compiled(schema)
    const good = ['{}', '{"ab":1}', '{"abc":1}', '{"ab":1,"a":"x","b":2,"":3}', '{"b":1,"é":2}']
    const bad = [
      '{"b":1,"ab":2}',
      '{"ab":1,"ab":2}',
      '{"a":1,"ab":2}',
      '{"b":1,"\\u0061":2}',
      '{"b":"x"}',
      '{,}',
      '{"ab":1,}',
    ]
    expect(good.filter((text) => !model.allows(grammar, text))).toEqual([])
    expect(bad.filter((text) => model.allows(grammar, text))).toEqual([])
  })

  it('take names of prototypes as any other', () => {
    const schema = JSON.parse(
      '{"type":"object","properties":{"__proto__":{"type":"integer"},"constructor":{"const":1}},"required":["__proto__"]}',
    )
    const grammar = compiled(schema)
    expect(model.allows(grammar, '{"__proto__":5,"constructor":1}')).toBe(true)
    expect(model.allows(grammar, '{"__proto__":"x"}')).toBe(false)
    expect(model.allows(grammar, '{"constructor":1}')).toBe(false)
  })

  it('refer to themselves', () => {
    const schema = { anyOf: [{ $ref: '#' }, { type: 'integer' }, { type: 'array', items: { $ref: '#' } }] }
    expect([[], [[[]], 1, [2, [3]]], 7].map((value) => allows(schema, value))).toEqual([true, true, true])
    const deep = JSON.parse(`${'['.repeat(2000)}1${']'.repeat(2000)}`)
    expect(allows(schema, deep)).toBe(true)
  })

  it('of an object are those of any object', () => {
    const grammar = new CompiledGrammar(jsonObject(), model.vocabulary, [model.endId])
    expect(model.allows(grammar, '{"a":[1,{"b":null}],"c":"d"}')).toBe(true)
    for (const text of ['[]', '1', '{"a":1', '{ "a":1}', '{"a" :1}'])
      expect([text, model.allows(grammar, text)]).toEqual([text, false])
    const random = new Random(5)
    for (let i = 0; i < 30; i++) expect(typeof sample(grammar, random).value).toBe('object')
  })
})

describe('branches that begin alike, one within the other', () => {
  const schema = {
    anyOf: [
      { type: 'null' },
      { type: 'array', items: { $ref: '#' } },
      { type: 'array', items: { $ref: '#' }, minItems: 1 },
    ],
  }

  it('do not double the places of a text with every level', () => {
    const { states } = compiled(schema)
    let state = states.start
    const places = Array.from({ length: 14 }, () => {
      state = states.step(state, '['.charCodeAt(0))!
      return state.places.length
    })
    expect(Math.max(...places)).toBeLessThan(256 * 10)
  })

  it('still lead to an end, however deep, by the tokens of their masks', () => {
    const matcher = compiled(schema).start()
    for (let depth = 0; depth < 30; depth++) {
      expect(matcher.accept(model.tokenizer.encode('[')[0]!)).toBe(true)
      if (depth % 10 === 9) expectMaskIsExact(matcher, model.vocabulary.size)
    }
    for (const byte of Buffer.from(`null${']'.repeat(30)}`)) expect(matcher.accept(model.byteIds[byte]!)).toBe(true)
    expect(matcher.canEnd).toBe(true)
  })
})
