import type { Random } from '../text/random'

type Schema = Record<string, unknown> | boolean

const NAMES = ['a', 'b', 'name', 'é"\\', 'constructor', 'a b', 'ab', '日本']
const PATTERNS = ['^[a-z]+$', 'a+', '^x|y$', '^(é|日)*$', '^[^a]{2,}', '^\\d{2}$', '\\d', '^"\\\\n?\n$']

/** A schema of the supported kind that something fits. */
export function randomSchema(random: Random, depth: number): Schema {
  const makers = [string, number, integer, listed, constant, simple]
  const nested = [array, tuple, object, object, union, all]
  return random.pick(depth > 0 ? [...makers, ...nested, ...nested] : makers)(random, depth)
}

const simple = (random: Random): Schema =>
  random.pick<Schema>([{ type: 'boolean' }, { type: 'null' }, { type: ['string', 'null'] }, {}, true])

const VALUES = ['', 'a', 'a"b', 'é', '日本', 0, -1, 1.5, true, null, [1, 'a'], { a: { b: [] } }]
const listed = (random: Random): Schema => ({ enum: [random.pick(VALUES), random.pick(VALUES), random.pick(VALUES)] })
const constant = (random: Random): Schema => ({ const: random.pick(VALUES) })

function string(random: Random): Schema {
  const length = random.below(4)
  const bounds = [
    {},
    { minLength: length },
    { maxLength: length },
    { minLength: length, maxLength: length + random.below(4) },
  ]
  const more = random.next() < 0.4 ? { pattern: random.pick(PATTERNS) } : random.pick(bounds)
  return { type: 'string', ...more }
}

function bounds(random: Random, value: () => number): Schema {
  const [low, high] = [value(), value()].sort((a, b) => a - b) as [number, number]
  return {
    ...random.pick<object>([{}, { minimum: low }, { exclusiveMinimum: low }]),
    ...random.pick<object>([{}, { maximum: high + 1 }, { exclusiveMaximum: high + 2 }]),
  }
}

const MAGNITUDES = [1, 10, 1000, 1e9, 1e14]
const number = (random: Random): Schema => {
  const value = () => Number(((random.next() - 0.5) * random.pick(MAGNITUDES)).toPrecision(1 + random.below(6)))
  return { type: 'number', ...(bounds(random, value) as object) }
}
const integer = (random: Random): Schema => ({
  type: 'integer',
  ...(bounds(random, () => Math.round((random.next() - 0.5) * random.pick(MAGNITUDES))) as object),
})

function array(random: Random, depth: number): Schema {
  const min = random.below(3)
  const counts = random.pick([
    {},
    { minItems: min },
    { maxItems: min },
    { minItems: min, maxItems: min + random.below(3) },
  ])
  return { type: 'array', items: randomSchema(random, depth - 1), ...counts }
}

const tuple = (random: Random, depth: number): Schema => ({
  type: 'array',
  prefixItems: [randomSchema(random, depth - 1), randomSchema(random, depth - 1)],
  ...random.pick([{}, { items: false }, { items: { type: 'null' }, minItems: 3 }, { minItems: 1 }, { maxItems: 1 }]),
})

function object(random: Random, depth: number): Schema {
  const names = NAMES.filter(() => random.next() < 0.4)
  const properties = Object.fromEntries(names.map((name) => [name, randomSchema(random, depth - 1)]))
  const additional = random.pick([
    {},
    { additionalProperties: false },
    { additionalProperties: true },
    { additionalProperties: { type: 'integer' } },
  ])
  return { type: 'object', properties, required: names.filter(() => random.next() < 0.5), ...additional }
}

const union = (random: Random, depth: number): Schema =>
  random.pick([
    { anyOf: [randomSchema(random, depth - 1), randomSchema(random, depth - 1)] },
    { oneOf: [string(random), object(random, depth - 1), { type: 'null' }] },
    { $ref: '#/$defs/tree' },
  ])

const all = (random: Random, depth: number): Schema => ({
  allOf: [
    { type: 'object', properties: { a: randomSchema(random, depth - 1) }, required: ['a'] },
    { properties: { b: randomSchema(random, depth - 1) }, type: 'object' },
  ],
})

/** What references of random schemas name; it contains itself. */
export const DEFINITIONS = {
  tree: {
    type: 'object',
    properties: { value: { type: 'integer' }, children: { type: 'array', items: { $ref: '#/$defs/tree' } } },
    required: ['value'],
  },
}
