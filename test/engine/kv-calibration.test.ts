/** The scales of an FP8 cache: found at the first load, kept beside the model, and part of what cached pages mean. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { CALIBRATION_CHAT } from '../../lib/calibration-text'
import { Engine, type EngineOptions, type LoadProgress } from '../../lib/index'
import { findKvScales } from '../../lib/kv-calibration'
import { DEVICES } from '../devices'
import { Driver } from '../model/driver'
import { failure, modelFolder, spoil, TINY } from '../model/folder'

const NANO = path.join(__dirname, '../../models/nano')
const fileOf = (dir: string) => path.join(dir, 'm2-kv-scales.json')
const read = (dir: string) => JSON.parse(readFileSync(fileOf(dir), 'utf8'))

/** Loads with an FP8 cache; whether scales were looked for. */
async function load(dir: string, options: EngineOptions = {}): Promise<{ engine: Engine; calibrated: boolean }> {
  const seen: LoadProgress[] = []
  const onProgress = (progress: LoadProgress) => seen.push(progress)
  const common = { device: 'cpu', kvMemory: '16MiB', maxContext: 512, pageSize: 16 } as const
  const engine = await Engine.load(dir, { ...common, kvDtype: 'fp8', onProgress, ...options })
  onTestFinished(() => engine.close())
  const calibration = seen.filter(({ phase }) => phase === 'calibration')
  expect(calibration.every(({ done }, i) => i === 0 || done >= calibration[i - 1]!.done)).toBe(true)
  expect(calibration.at(-1)?.done).toBe(calibration.at(-1)?.total)
  return { engine, calibrated: calibration.length > 0 }
}

describe.each(DEVICES)('a model that is loaded with an FP8 cache on %s', (device) => {
  it('gets scales, keeps them beside its files, and has them in the next load', async () => {
    const dir = modelFolder()
    const { engine, calibrated } = await load(dir, { device: device as 'cpu' })
    expect(calibrated).toBe(true)
    expect(engine.model.dtypes.kv).toBe('fp8')
    const kept = read(dir)
    expect(kept).toMatchObject({
      format: 'm2-engine KV scales',
      version: 1,
      layers: TINY.layers,
      kvHeads: TINY.kvHeads,
    })
    expect(kept.scales).toHaveLength(TINY.layers * 2 * TINY.kvHeads)
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([])
    const answer = (of: Engine) => of.generate([1, 2, 3], { maxTokens: 20, temperature: 0, logprobs: 2 }).result()
    const { tokenIds, logprobs } = await answer(engine)

    const again = await load(dir, { device: device as 'cpu' })
    expect(again.calibrated).toBe(false)
    expect(await answer(again.engine)).toMatchObject({ tokenIds, logprobs })
    expect(read(dir)).toEqual(kept)
  })
})

describe('scales', () => {
  it('are twice the largest K or V over 448, and hang on no option', async () => {
    const [one, other] = [modelFolder(), modelFolder()]
    await load(one, { threads: 1, maxStepTokens: 7, pageSize: 1 })
    await load(other, { threads: 2, maxContext: 300, maxSequences: 1 })
    expect(read(other)).toEqual(read(one))
    const driver = await Driver.load(one)
    const sizes = await driver.model.measureKv(Int32Array.from({ length: 256 }, (_, i) => i % TINY.vocabSize))
    for (const [i, scale] of read(one).scales.entries()) {
      expect(scale / ((2 * sizes[i]!) / 448)).toBeGreaterThan(0.5)
      expect(scale / ((2 * sizes[i]!) / 448)).toBeLessThan(2)
    }
  })

  it.each<[string, (file: Record<string, unknown>) => unknown]>([
    ['of another model', (file) => ({ ...file, model: 'f'.repeat(64) })],
    ['found in another way', (file) => ({ ...file, version: 0 })],
    ['of another kind', () => ['scales']],
    ['too few', (file) => ({ ...file, scales: [1, 1] })],
    ['that are no numbers', (file) => ({ ...file, scales: (file.scales as number[]).map(String) })],
    ['with a zero among them', (file) => ({ ...file, scales: (file.scales as number[]).with(1, 0) })],
    ['that are no JSON', (file) => JSON.stringify(file).slice(0, 100)],
  ])('%s are found anew', async (_, change) => {
    const dir = modelFolder()
    await load(dir)
    const kept = read(dir)
    const changed = change(kept)
    writeFileSync(fileOf(dir), typeof changed === 'string' ? changed : JSON.stringify(changed))
    expect((await load(dir)).calibrated).toBe(true)
    expect(read(dir)).toEqual(kept)
  })

  it('are found at each load where they cannot be written', async () => {
    const dir = modelFolder()
    mkdirSync(fileOf(dir)) // no file can take its place, whoever runs this
    writeFileSync(path.join(fileOf(dir), 'full'), '')
    for (let i = 0; i < 2; i++) expect((await load(dir)).calibrated).toBe(true)
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  it('of a context too short for the text are not kept', async () => {
    const dir = modelFolder()
    const { engine, calibrated } = await load(dir, { maxContext: 32 })
    expect(calibrated).toBe(true)
    expect(existsSync(fileOf(dir))).toBe(false)
    expect((await engine.generate([1], { maxTokens: 5 }).result()).tokenIds).toHaveLength(5)
  })

  it('are nothing for other caches', async () => {
    const dir = modelFolder()
    expect((await load(dir, { kvDtype: 'bf16' })).calibrated).toBe(false)
    expect(existsSync(fileOf(dir))).toBe(false)
  })

  it('are not to be had of a model whose values are not finite', async () => {
    const dir = modelFolder()
    spoil(dir, 'model.layers.1.self_attn.v_proj.weight', 5, 1)
    expect(await failure(() => load(dir))).toBe(
      `BAD_CHECKPOINT ${dir}: kvDtype "fp8": expected finite keys and values, found others in layer 1`,
    )
  })

  it('of the embedded model come with it, and are those that it would get', async () => {
    const { engine, calibrated } = await load(NANO)
    expect(calibrated).toBe(false)
    const driver = await Driver.load(NANO)
    const found = await findKvScales({
      ...{ core: driver.model, directory: modelFolder(), tokenizer: engine.tokenizer, geometry: engine.model.config },
      ...{ model: 'any', context: 1024, onProgress: () => {} },
    })
    const { scales } = read(NANO)
    for (const [i, scale] of found.entries()) expect(Math.abs(scale / scales[i] - 1)).toBeLessThan(0.02)
    const result = await engine.chat([{ role: 'user', content: 'What is 47 + 38?' }], { temperature: 0 }).result()
    expect(result.text).toBe('47 + 38 = 85.')
  })

  it('that differ make the pages of one engine useless to another', async () => {
    const dir = modelFolder()
    const { engine } = await load(dir)
    await engine
      .generate(
        Array.from({ length: 40 }, (_, i) => i),
        { maxTokens: 2 },
      )
      .result()
    const file = path.join(dir, 'prefixes')
    expect((await engine.savePrefixes(file)).pages).toBe(2)
    expect(await (await load(dir)).engine.loadPrefixes(file)).toMatchObject({ pages: 2 })

    const kept = read(dir)
    writeFileSync(fileOf(dir), JSON.stringify({ ...kept, scales: kept.scales.map((scale: number) => 2 * scale) }))
    const other = await load(dir)
    expect(other.calibrated).toBe(false)
    expect(await failure(() => other.engine.loadPrefixes(file))).toMatch(
      /^BAD_INPUT .*prefixes: kvScales: expected "[0-9a-f]+.*, found "[0-9a-f]+/,
    )
  })
})

it('the text has every kind of turn', () => {
  expect(new Set(CALIBRATION_CHAT.map(({ role }) => role))).toEqual(new Set(['system', 'user', 'assistant', 'tool']))
})
