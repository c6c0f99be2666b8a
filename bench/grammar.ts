/** Masks and steps of grammars at 200 000 tokens: made-up ones, as long and as alike as those of byte-level BPE. */
import v8 from 'node:v8'
import vm from 'node:vm'
import {
  CompiledGrammar as Compiled,
  type CompiledGrammar,
  type Grammar,
  jsonObject,
  jsonSchema,
  literal,
  regex,
  toolCalls,
  Vocabulary,
} from '../lib/grammar'
import type { TokenTable } from '../lib/grammar/vocabulary'
import { CALLS, CALLS_END } from '../lib/text/markup'
import { Random } from '../test/reference/random'
import { WRITING } from '../test/reference/texts'
import { quantile } from './measure'
import { digits, type Table } from './tables'

const TOKENS = 200_000
const END = TOKENS
const ANSWERS = 40

const PERSON = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 80 },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    email: { type: 'string', format: 'email' },
    tags: { type: 'array', items: { type: 'string' }, maxItems: 20 },
    address: { anyOf: [{ $ref: '#/$defs/address' }, { type: 'null' }] },
    status: { enum: ['active', 'inactive', 'banned'] },
    score: { type: 'number', minimum: 0, maximum: 1 },
    notes: { type: 'string' },
  },
  required: ['name', 'age', 'tags', 'status', 'notes'],
  $defs: {
    address: {
      type: 'object',
      properties: {
        street: { type: 'string' },
        zip: { type: 'string', pattern: '^\\d{5}$' },
        country: { type: 'string', maxLength: 1000 },
      },
      required: ['street', 'zip'],
    },
  },
}

export async function benchGrammar(): Promise<Table[]> {
  const random = new Random(200)
  const tokens = madeUpTokens(random)
  const before = heap()
  const start = performance.now()
  const vocabulary = Vocabulary.of(tableOf(tokens))
  const made = performance.now() - start
  const memory = heap() - before
  const tags = { open: literal(CALLS), close: literal(CALLS_END) }
  const grammars: Record<string, () => Grammar> = {
    'JSON object': jsonObject,
    'schema, 8 properties': () => jsonSchema(PERSON, 'schema'),
    'tool call': () => toolCalls([{ name: 'save', parameters: PERSON }], tags, { parallel: false }),
    'regex, 20 words': () => regex('(?:[a-z]+ ){1,20}[a-z]+\\.', 'pattern'),
  }
  const rows: string[][] = []
  for (const [name, make] of Object.entries(grammars)) rows.push(await row(name, make, vocabulary, random))
  return [
    {
      title: `Masks at ${TOKENS} tokens`,
      note:
        `microseconds. The vocabulary: ${made.toFixed(0)} ms in pieces, ${megabytes(memory)} MB, once. Compiled: ms that a request waits. Prepared: ms of work in ` +
        `pieces afterwards, for the first time and again in the same vocabulary. First answer: masks of a fresh grammar in a vocabulary that knows its rules; then: ${ANSWERS} more. Tokens at random of those allowed.`,
      columns: [
        'grammar',
        'compiled',
        'prepared',
        'again',
        'first: median',
        'p99',
        'max',
        'then: median',
        'p99',
        'max',
        'accept: median',
        'p99',
        'MB',
      ],
      rows,
    },
  ]
}

async function row(name: string, make: () => Grammar, vocabulary: Vocabulary, random: Random): Promise<string[]> {
  const before = heap()
  const compile = async () => {
    const start = performance.now()
    const grammar = new Compiled(make(), vocabulary, [END])
    const compiled = performance.now()
    await grammar.prepare()
    return { grammar, time: compiled - start, prepared: performance.now() - compiled }
  }
  const first = await compile()
  const again = await compile()
  const cold = answer(again.grammar, random)
  const warm: Times = { masks: [], accepts: [] }
  for (let i = 0; i < ANSWERS; i++) {
    const { masks, accepts } = answer(again.grammar, random)
    warm.masks.push(...masks)
    warm.accepts.push(...accepts)
  }
  const used = heap() - before
  const accept = warm.accepts.toSorted((a, b) => a - b)
  return [
    name,
    digits(first.time),
    digits(first.prepared),
    digits(again.prepared),
    ...spread(cold.masks),
    ...spread(warm.masks),
    digits(quantile(accept, 0.5)),
    digits(quantile(accept, 0.99)),
    megabytes(used),
  ]
}

interface Times {
  masks: number[]
  accepts: number[]
}

/** A random answer of at most 200 tokens. */
function answer(grammar: CompiledGrammar, random: Random): Times {
  const times: Times = { masks: [], accepts: [] }
  const matcher = grammar.start()
  for (let step = 0; step < 200 && !matcher.isDone; step++) {
    const start = performance.now()
    const mask = matcher.mask()
    const masked = performance.now()
    const id = pick(mask, random)
    if (id === END) break
    const before = performance.now()
    matcher.accept(id)
    times.accepts.push(1000 * (performance.now() - before))
    times.masks.push(1000 * (masked - start))
  }
  return times
}

/** A bit that is set; short tokens and long ones are found alike. */
function pick(mask: Int32Array, random: Random): number {
  const from = random.integer(mask.length)
  for (let i = 0; i <= mask.length; i++) {
    const at = (from + i) % mask.length
    const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (mask[at]! >>> bit) & 1)
    if (bits.length > 0) return at * 32 + bits[random.integer(bits.length)]!
  }
  throw new Error('an empty mask')
}

const spread = (times: number[]) => {
  const sorted = times.toSorted((a, b) => a - b)
  return [0.5, 0.99, 1].map((q) => digits(quantile(sorted, q)))
}

v8.setFlagsFromString('--expose-gc')
const collectGarbage: () => void = vm.runInNewContext('gc')

function heap(): number {
  collectGarbage()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

const megabytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1)

/** All bytes, pieces of many scripts, words with and without a space before, code, runs of blanks and signs of up to 128 bytes. */
function madeUpTokens(random: Random): Buffer[] {
  const found = new Set<string>(Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)))
  const characters = [...new Set(WRITING.join(''))].filter((each) => each.codePointAt(0)! > 127)
  const letters = 'etaoinshrdlcumwfgypbvkjxqz'
  const signs = [
    '"',
    '":',
    '",',
    '","',
    '"}',
    '}',
    '{',
    '{"',
    '": ',
    '",\n',
    '\\',
    '\\n',
    '\\"',
    '(',
    ');',
    '</',
    '/>',
    '=',
    '==',
    '...',
    '//',
    '-',
    ' "',
    '[',
    ']',
    ',',
  ]
  const word = () => {
    const length = 2 + Math.floor(-4 * Math.log(1 - random.uniform()))
    return Array.from({ length }, () => letters[Math.floor(letters.length * random.uniform() ** 2)]).join('')
  }
  const add = (text: string) => found.add(Buffer.from(text).toString('latin1'))
  for (const sign of [' ', '-', '=', '*', '/', '\n', '\t', '#'])
    for (let length = 2; length <= 128; length += 2) add(sign.repeat(length))
  for (let number = 0; number < 1000; number++) add(`${number}`)
  while (found.size < TOKENS) {
    const kind = random.uniform()
    const text = word()
    if (kind < 0.4) add(` ${text}`)
    else if (kind < 0.6) add(text)
    else if (kind < 0.7) add(text[0]!.toUpperCase() + text.slice(1))
    else if (kind < 0.77) add(signs[random.integer(signs.length)]! + text)
    else if (kind < 0.8) add(text + signs[random.integer(signs.length)]!)
    else if (kind < 0.82)
      add(
        signs[random.integer(signs.length)]! +
          signs[random.integer(signs.length)]! +
          signs[random.integer(signs.length)]!,
      )
    else {
      const bytes = Buffer.from(
        Array.from({ length: 1 + random.integer(5) }, () => characters[random.integer(characters.length)]).join(''),
      )
      found.add(bytes.subarray(0, random.uniform() < 0.1 ? bytes.length - 1 : bytes.length).toString('latin1'))
    }
  }
  return Array.from(found, (text) => Buffer.from(text, 'latin1'))
}

function tableOf(tokens: readonly Buffer[]): TokenTable {
  return {
    vocabSize: TOKENS + 1,
    addedTokens: [{ id: END, content: '[e~[', special: true }],
    unusedIds: [],
    bytesOf: (id) => tokens[id]!,
  }
}
