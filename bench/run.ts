/**
 * `npm run bench [-- ops engine tokenizer scheduler agents grammar loading --write]`: runs the named benches, or all but
 * `quality`, `soak`, `clients`, `thinking` and `kernels`, prints their tables, and with --write keeps them in
 * bench/results, as Markdown to read and as JSON to compare.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { benchAgents } from './agents'
import { benchClients } from './clients'
import { benchEngine } from './engine'
import { benchKernels } from './gpu/kernels'
import { benchGrammar } from './grammar'
import { header } from './header'
import { benchLoading } from './loading'
import { benchOps, describeCpu } from './ops'
import { benchQuality } from './quality'
import { benchScheduler } from './scheduler'
import { benchSoak } from './soak'
import { markdown, type Table } from './tables'
import { benchThinking } from './thinking'
import { benchTokenizer } from './tokenizer'

const BENCHES: Record<string, () => Promise<Table[]>> = {
  ops: benchOps,
  engine: async () => [await benchEngine()],
  tokenizer: benchTokenizer,
  scheduler: benchScheduler,
  agents: benchAgents,
  grammar: benchGrammar,
  loading: benchLoading,
}
/** These take long, or need the compiler of a GPU, and run only when they are named. */
const NAMED: Record<string, () => Promise<Table[]>> = {
  quality: benchQuality,
  soak: benchSoak,
  clients: benchClients,
  thinking: benchThinking,
  kernels: benchKernels,
}

async function main(args: string[]): Promise<void> {
  const write = args.includes('--write')
  const named = args.filter((arg) => arg !== '--write')
  const all = { ...BENCHES, ...NAMED }
  const unknown = named.find((name) => !(name in all))
  if (unknown !== undefined) throw new Error(`no bench is called ${unknown}; there are ${Object.keys(all).join(', ')}`)

  for (const name of named.length > 0 ? named : Object.keys(BENCHES)) {
    const about = header(describeCpu())
    const tables = await all[name]!()
    const facts = Object.entries(about).map(([key, value]) => `${key}: ${value}`)
    const page = [`# ${name}`, '', ...facts.map((fact) => `- ${fact}`), '', ...tables.map(markdown)].join('\n')
    console.log(page)
    if (write) keep(`${about.date}-${name}`, page, { ...about, tables })
  }
}

function keep(name: string, page: string, data: object): void {
  const folder = path.join(__dirname, 'results')
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, `${name}.md`), page)
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(data, null, 2)}\n`)
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error.message)
  process.exitCode = 1
})
