/** Encoding 400 KB of mixed text, ours beside @huggingface/tokenizers: source code and prose of this repository, and writing in many scripts. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Tokenizer } from '../lib/text/tokenizer'
import { Random } from '../test/reference/random'
import { WRITING } from '../test/reference/texts'
import { oracleOf, PATTERNS, type TokenizerJson, trainTokenizer, withTokenizerFile } from '../test/reference/tokenizers'
import { takeTurns } from './measure'
import { digits, type Table } from './tables'

const ROOT = path.join(__dirname, '..')
const BYTES = 400_000
const ROUNDS = 9

export async function benchTokenizer(): Promise<Table[]> {
  const text = mixedText()
  const nano = JSON.parse(readFileSync(path.join(ROOT, 'models', 'nano', 'tokenizer.json'), 'utf8'))
  const o200k = trainTokenizer(PATTERNS.o200k, text, 20_000)
  return [
    {
      title: 'Encoding 400 KB of mixed text',
      note: 'MB/s of UTF-8, one thread, median of rounds after a first; first: a new tokenizer that remembers no piece yet.',
      columns: ['tokenizer', 'tokens', 'MB/s', 'first', '@huggingface/tokenizers', 'ratio'],
      rows: [await row('embedded, 1536 ids', nano, text), await row('o200k-style, 20 000 merges', o200k, text)],
    },
  ]
}

async function row(name: string, json: TokenizerJson, text: string): Promise<string[]> {
  const [ours, fresh] = await withTokenizerFile(json, (dir) => Promise.all([Tokenizer.load(dir), Tokenizer.load(dir)]))
  const oracle = oracleOf(json)
  const ids = ours.encode(text)
  const theirs = oracle.encode(text)
  if (ids.length !== theirs.length || ids.some((id, i) => id !== theirs[i])) throw new Error(`${name}: other ids`)

  const first = microseconds(() => fresh.encode(text))
  const times = await takeTurns(
    { ours: () => microseconds(() => ours.encode(text)), theirs: () => microseconds(() => oracle.encode(text)) },
    ROUNDS,
  )
  const rate = (time: number) => digits(Buffer.byteLength(text) / time)
  const { median, spread } = times.ours
  return [
    name,
    ids.length.toString(),
    `${rate(median)} ±${spread.toFixed(0)} %`,
    rate(first),
    rate(times.theirs.median),
    digits(times.theirs.median / median),
  ]
}

/** Three quarters from this repository, one quarter sentences of the test texts in random order. */
function mixedText(): string {
  const files = ['README.md', 'ARCHITECTURE.md', ...tree('csrc'), ...tree('lib')]
  const sources = Buffer.concat(files.map((file) => readFileSync(path.join(ROOT, file)))).subarray(0, (3 * BYTES) / 4)
  const sentences = WRITING.flatMap((text) => text.split(/(?<=[.。!?\n])/))
  const random = new Random(400)
  let writing = ''
  while (Buffer.byteLength(writing) < BYTES - sources.length) writing += sentences[random.integer(sentences.length)]
  return sources.toString() + writing
}

function tree(folder: string): string[] {
  return readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|cc|h)$/.test(name))
    .sort()
    .map((name) => path.join(folder, name))
}

function microseconds(work: () => void): number {
  const start = performance.now()
  work()
  return 1000 * (performance.now() - start)
}
