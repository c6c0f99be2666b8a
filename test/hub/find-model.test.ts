import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findModel } from '../../lib/hub/find-model'
import { cacheFolder, tokenFile } from '../../lib/hub/places'
import { Engine } from '../../lib/index'

const COMMIT = 'a'.repeat(40)
const REPO = path.join(__dirname, '..', '..')

let dir: string
let env: { HF_HUB_CACHE: string }
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-find-'))
  env = { HF_HUB_CACHE: path.join(dir, 'cache') }
})
afterEach(() => rmSync(dir, { recursive: true }))

const root = () => path.join(env.HF_HUB_CACHE, 'models--owner--model')
const snapshot = () => path.join(root(), 'snapshots', COMMIT)

/** A model in the cache, as any of Hugging Face's tools leaves it. */
function cached(files: Record<string, string>, ref = COMMIT): void {
  mkdirSync(path.join(root(), 'blobs'), { recursive: true })
  mkdirSync(path.join(root(), 'refs'))
  mkdirSync(snapshot(), { recursive: true })
  writeFileSync(path.join(root(), 'refs', 'main'), ref)
  for (const [i, [name, text]] of Object.entries(files).entries()) {
    writeFileSync(path.join(root(), 'blobs', `blob${i}`), text)
    symlinkSync(`../../blobs/blob${i}`, path.join(snapshot(), name))
  }
}

const index = (...shards: string[]) =>
  JSON.stringify({ weight_map: Object.fromEntries(shards.map((shard, i) => [`tensor${i}`, shard])) })

describe('a model', () => {
  it.each(['some/dir/below', './owner/model', 'model', '/owner/model'])('called %s is a folder', async (model) => {
    cached({ 'config.json': '{}', 'model.safetensors': '' })
    expect(await findModel(model, env)).toBe(path.resolve(model))
  })

  it('called owner/name is what lies in the cache', async () => {
    cached({ 'config.json': '{}', 'model.safetensors': '' })
    expect(await findModel('owner/model', env)).toBe(snapshot())
  })

  it('of several shards is whole with all of them', async () => {
    cached({ 'config.json': '{}', 'model.safetensors.index.json': index('a.safetensors'), 'a.safetensors': '' })
    expect(await findModel('owner/model', env)).toBe(snapshot())
  })

  it('called as a folder that is there is that folder', async () => {
    env = { HF_HUB_CACHE: path.join(dir, 'cache') }
    expect(await findModel('models/nano', env)).toBe(path.resolve('models/nano'))
  })

  it('that nobody downloaded is refused with how to do it', async () => {
    await expect(findModel('owner/model', env)).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: `owner/model: expected a folder, or a model in ${root()}, found neither; to download it: m2 download owner/model`,
    })
  })

  it('that lacks shards is refused with what is missing', async () => {
    cached({
      'config.json': '{}',
      'model.safetensors.index.json': index('a.safetensors', 'b.safetensors', 'c.safetensors'),
      'b.safetensors': '',
    })
    symlinkSync('../../blobs/gone', path.join(snapshot(), 'a.safetensors'))
    await expect(findModel('owner/model', env)).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: `${snapshot()}: expected a whole model, found it without a.safetensors and 1 more; to complete it: m2 download owner/model`,
    })
  })

  it('that has no file at all yet is refused', async () => {
    cached({})
    await expect(findModel('owner/model', env)).rejects.toThrow(/without config\.json and 1 more/)
  })

  it('whose note leads out of the cache is not followed', async () => {
    cached({ 'config.json': '{}', 'model.safetensors': '' }, '../../../elsewhere')
    await expect(findModel('owner/model', env)).rejects.toThrow(/found neither/)
  })
})

describe('the cache', () => {
  it.each([
    [{}, `${homedir()}/.cache/huggingface/hub`, `${homedir()}/.cache/huggingface/token`],
    [{ XDG_CACHE_HOME: '/x' }, '/x/huggingface/hub', '/x/huggingface/token'],
    [{ HF_HOME: '~/hf', XDG_CACHE_HOME: '/x' }, `${homedir()}/hf/hub`, `${homedir()}/hf/token`],
    [{ HF_HOME: '/hf', HF_HUB_CACHE: '/c', HF_TOKEN_PATH: '/t' }, '/c', '/t'],
    [{ HF_HOME: '', HF_HUB_CACHE: '' }, `${homedir()}/.cache/huggingface/hub`, `${homedir()}/.cache/huggingface/token`],
  ])('is by %j at %s', (env, cache, token) => {
    expect([cacheFolder(env), tokenFile(env)]).toEqual([cache, token])
  })
})

describe('Engine.load', () => {
  it('runs a model of the cache by its name', async () => {
    const nano = path.join(REPO, 'models', 'nano')
    mkdirSync(path.join(root(), 'refs'), { recursive: true })
    mkdirSync(path.dirname(snapshot()))
    symlinkSync(nano, snapshot())
    writeFileSync(path.join(root(), 'refs', 'main'), COMMIT)
    const before = process.env.HF_HUB_CACHE
    process.env.HF_HUB_CACHE = env.HF_HUB_CACHE
    try {
      await using engine = await Engine.load('owner/model', { device: 'cpu' })
      expect(engine.model.directory).toBe(snapshot())
      expect((await engine.generate([1, 2, 50], { maxTokens: 2, ignoreEos: true }).result()).tokenIds).toHaveLength(2)
      await expect(Engine.load('owner/other')).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
    } finally {
      if (before === undefined) delete process.env.HF_HUB_CACHE
      else process.env.HF_HUB_CACHE = before
    }
  })
})
