/**
 * `npm run bench:gpu [-- --write]`: the ops of one layer and the whole model on the GPU of this machine, else on its CPU with the embedded model; with --write kept in
 * bench/results as JSON, and beside it as Markdown and as a roofline. `-- --render FILE.json` makes those two anew. M2_BENCH_DEVICE names another device.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { native } from '../../lib/native'
import { createOps } from '../../lib/ops'
import { header } from '../header'
import { judge, type Results } from './cells'
import { benchModels } from './model'
import { benchOps } from './ops'
import { chooseDevice, planFor } from './plan'
import { page } from './report'
import { roofline } from './roofline'

const FOLDER = path.join(__dirname, '..', 'results')

async function main(args: string[]): Promise<void> {
  const [first, file] = args
  if (first === '--render' && file && args.length === 2) return render(file)
  if (args.some((arg) => arg !== '--write'))
    throw new Error(`expected --write or --render FILE.json, found ${args.join(' ')}`)
  const results = await measure()
  const name = path.join(FOLDER, `${results.date}-gpu.json`)
  console.log(page(results, pictureOf(name)))
  if (args.length === 0) return
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(name, `${JSON.stringify(results, null, 2)}\n`)
  render(name)
}

async function measure(): Promise<Results> {
  const device = await chooseDevice()
  const plan = await planFor(device)
  const about = { ...header(createOps(device, 0).description), driver: await driver() }
  const models = await benchModels(plan) // before the ops, which leave memory to be collected
  const { peer, limits, cells } = await benchOps(plan)
  const judged = models.map((cell) => ('us' in cell ? judge(cell, cell.us, limits) : cell))
  return { ...about, peer, limits, cells: [...judged, ...cells] }
}

/** As its own tool has it, else the CUDA version that it supports. */
async function driver(): Promise<string> {
  const version = (await native().cudaProbe()).driver
  if (version === 0) return 'none'
  const cuda = `CUDA ${Math.floor(version / 1000)}.${(version % 1000) / 10}`
  try {
    const query = ['--query-gpu=driver_version', '--format=csv,noheader']
    const [first] = execFileSync('nvidia-smi', query, { encoding: 'utf8' }).split('\n')
    return `${first}, ${cuda}`
  } catch {
    return cuda
  }
}

/** Markdown and picture beside a file of results. */
function render(file: string): void {
  const results: Results = JSON.parse(readFileSync(file, 'utf8'))
  const picture = pictureOf(file)
  writeFileSync(path.join(path.dirname(file), picture), roofline(results))
  writeFileSync(file.replace(/\.json$/, '.md'), page(results, picture))
}

/** The name of the picture that belongs to a file of results. */
function pictureOf(file: string): string {
  if (!file.endsWith('.json')) throw new Error(`expected a file of results, FILE.json, found ${file}`)
  return `${path.basename(file, '.json')}.svg`
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error.message)
  process.exitCode = 1
})
