import { describe, expect, it } from 'vitest'
import { choice, jsonSchema, literal, sequence, toolCalls } from '../../lib/grammar'
import { automatonOf } from '../../lib/grammar/automaton'

const inX = (schema: unknown) => ({ type: 'object', properties: { x: schema } })
const nested = (depth: number): object => (depth === 0 ? {} : { items: nested(depth - 1) })
const chain = (length: number, of: (i: number) => object) =>
  Object.fromEntries(Array.from({ length }, (_, i) => [`d${i}`, of(i)]))

describe('schemas that are refused', () => {
  it.each(
    Object.entries({
      not: {},
      if: {},
      patternProperties: {},
      propertyNames: {},
      contains: {},
      uniqueItems: true,
      dependentRequired: {},
      unevaluatedProperties: false,
      minProperties: 1,
      maxProperties: 2,
      $anchor: 'a',
      nullable: true,
      whatever: 1,
    }),
  )('%s, by its path', (keyword, value) => {
    const message = `schema.properties.x.${keyword}: expected a supported keyword, found ${JSON.stringify(keyword)}`
    expect(() => jsonSchema(inX({ [keyword]: value }), 'schema')).toThrow(message)
  })

  it.each<[schema: unknown, message: string | RegExp]>([
    [{ type: 'text' }, '.type: expected names of JSON types, such as "string", found "text"'],
    [{ type: [] }, '.type: expected names of JSON types'],
    [5, ': expected a JSON schema: an object, true or false, found 5'],
    [{ enum: [] }, '.enum: expected an array with at least one value, found an empty array'],
    [{ type: 'string', enum: [1] }, '.enum: expected a value that fits the other keywords'],
    [{ enum: ['a'], minLength: 1 }, '.minLength: expected no keyword but type beside listed values, found 1'],
    [
      { type: 'integer', minimum: 2, maximum: 1 },
      '.minimum: expected bounds that some integer of 15 digits fits, found none',
    ],
    [
      { type: 'integer', exclusiveMinimum: 1, exclusiveMaximum: 2 },
      '.exclusiveMinimum: expected bounds that some integer',
    ],
    [{ type: 'number', minimum: 1e300 }, '.minimum: expected bounds that some number of 15 digits fits, found none'],
    [{ type: 'number', exclusiveMinimum: true }, '.exclusiveMinimum: expected a number, found true'],
    [
      { type: 'number', multipleOf: 0.3 },
      '.multipleOf: expected an integer from 1 to 1000, or 0.1, 0.01, ... to 1e-9, found 0.3',
    ],
    [{ type: 'string', minLength: 3, maxLength: 2 }, '.minLength: expected at most maxLength (2), found 3'],
    [{ type: 'string', maxLength: -1 }, '.maxLength: expected a whole number of 0 or more, found -1'],
    [
      { type: 'string', pattern: '^a$', minLength: 2 },
      ': expected a pattern, a format and lengths that some text fits, found none',
    ],
    [{ type: 'string', pattern: 'a(?!b)' }, '.pattern: expected a pattern without lookaround, found "(?!"'],
    [
      { type: 'string', pattern: 'a', maxLength: 1e6 },
      ': expected a length below 40000 beside other bounds, found 1000000',
    ],
    [{ type: 'string', format: 'regex' }, /\.format: expected date, time, .*, found "regex"/],
    [{ type: 'array', items: [{}] }, '.items: expected a JSON schema: an object, true or false, found an array'],
    [
      { type: 'array', items: false, minItems: 1 },
      '.minItems: expected at most 0, as there are no more items, found 1',
    ],
    [{ type: 'array', items: { not: {} } }, '.items.not: expected a supported keyword'],
    [{ properties: { 'a b': { not: {} } } }, '.properties["a b"].not: expected a supported keyword'],
    [{ required: 'a' }, '.required: expected an array of names, found "a"'],
    [{ required: ['a'], additionalProperties: false }, '.required: expected names of properties, found "a"'],
    [
      { properties: { a: false }, required: ['a'] },
      '.properties.a: expected a schema that something fits, found false',
    ],
    [{ anyOf: [] }, '.anyOf: expected an array of schemas with at least one, found an empty array'],
    [{ anyOf: [{}, { contains: {} }] }, '.anyOf[1].contains: expected a supported keyword'],
    [
      { oneOf: [{ type: 'integer' }, { type: 'number' }] },
      ".oneOf: expected branches that differ in type or in a required property's const (else use anyOf)",
    ],
    [{ allOf: [{ type: 'string' }, { type: 'null' }] }, '.type: expected types that both schemas allow'],
    [{ allOf: [{ pattern: 'a' }, { pattern: 'b' }] }, '.pattern: expected keywords that can be merged into one schema'],
    [
      { $ref: 'other.json' },
      '.$ref: expected a reference within the schema, such as "#/$defs/name", found "other.json"',
    ],
    [{ $ref: '#/$defs/none' }, '.$ref: expected a part of schema, found "#/$defs/none"'],
  ])('%j', (schema, message) => {
    const expected = typeof message === 'string' ? `schema.properties.x${message}` : message
    expect(() => jsonSchema(inX(schema), 'schema')).toThrow(expected)
  })

  it.each<[name: string, schema: object, message: RegExp]>([
    [
      'recursion without end',
      { type: 'object', properties: { next: { $ref: '#' } }, required: ['next'] },
      /recursion without end/,
    ],
    [
      'a reference to itself',
      { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } },
      /recursion without end/,
    ],
    [
      'a reference to itself with more',
      { $ref: '#', type: 'object' },
      /\$ref: expected at most 50 references in a row/,
    ],
    ['deep nesting', nested(5000), /expected at most 100 schemas within each other/],
    [
      'exponential allOf',
      {
        $ref: '#/$defs/d0',
        $defs: chain(40, (i) => ({
          allOf: Array(2).fill({ properties: { a: { $ref: `#/$defs/d${i + 1}` } } }),
          ...(i === 39 ? { not: {} } : {}),
        })),
      },
      /expected/,
    ],
    [
      'exponential anyOf',
      {
        $defs: chain(60, (i) =>
          i < 59
            ? {
                type: 'object',
                anyOf: [
                  {
                    properties: {
                      a: {
                        anyOf: [
                          { $ref: `#/$defs/d${i + 1}`, title: 'x' },
                          { allOf: [{ $ref: `#/$defs/d${i + 1}` }, {}] },
                        ],
                      },
                    },
                  },
                  { required: [] },
                ],
              }
            : { enum: [] },
        ),
        $ref: '#/$defs/d0',
      },
      /expected/,
    ],
    [
      'a huge enum',
      { enum: Array.from({ length: 100_000 }, (_, i) => `value ${i * 7919}`) },
      /^schema\.enum: expected at most 100000 characters of values in all/,
    ],
  ])('%s', (_, schema, message) => {
    expect(() => jsonSchema(schema, 'schema')).toThrow(message)
    expect(() => jsonSchema(schema, 'schema')).toThrow(/^schema/)
  })

  it('not for chains of references, annotations or large but sound lists', () => {
    const defs = chain(5000, (i) =>
      i < 4999 ? { $ref: `#/$defs/d${i + 1}` } : { type: 'null', title: 'x', default: 1, deprecated: true },
    )
    automatonOf(jsonSchema({ $ref: '#/$defs/d0', $defs: defs, $schema: 'x', $id: 'y', strict: true }, 'schema'))
    automatonOf(
      jsonSchema({ enum: Array.from({ length: 5000 }, (_, i) => `value ${i}`), uniqueItems: false }, 'schema'),
    )
  })

  it('not for what generators of schemas write everywhere', () => {
    const plain = { type: 'object', additionalProperties: { type: 'number' } }
    const noisy = { ...plain, propertyNames: { type: 'string' }, discriminator: { propertyName: 'x' }, 'x-order': 1 }
    expect(jsonSchema(noisy, 'schema')).toEqual(jsonSchema(plain, 'schema'))
    const names = { ...plain, propertyNames: { type: 'string', minLength: 1 } }
    expect(() => jsonSchema(names, 'schema')).toThrow('schema.propertyNames: expected a supported keyword')
  })

  it('grammars that admit nothing', () => {
    expect(() => automatonOf(sequence(literal('a'), choice()))).toThrow(
      'grammar: expected something that can be written in full',
    )
    expect(() => toolCalls([], { open: literal('a'), close: literal('b') })).toThrow(
      'tools: expected at least one function',
    )
  })
})
