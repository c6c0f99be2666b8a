import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type PageFormat, pageBytesOf } from '../../lib/prefixes/file-format'
import { loadPrefixes, savePrefixes } from '../../lib/prefixes/prefixes'
import { failure, modelFolder, temporaryFolder } from '../model/folder'
import { LARGE, MemoryCache, SMALL, VOCAB } from './memory-cache'

const save = (file: string, cache: MemoryCache) => savePrefixes(file, cache.format, cache, cache)
const load = (file: string, cache: MemoryCache, format = cache.format) =>
  loadPrefixes(file, format, VOCAB, cache, cache)

const target = () => path.join(temporaryFolder(), 'prefixes.safetensors')

/** Three prompts, two of them with a common beginning; the one with the salt was used last. */
function filled(capacity = 20): MemoryCache {
  const cache = new MemoryCache(SMALL, capacity)
  cache.add([1, 2, 3, 4, 5, 6])
  cache.add([1, 2, 3, 4, 7, 8, 9, 10])
  cache.add([1, 2, 3, 4], 'alice')
  return cache
}

/** The contents of `filled`, in the order of their use. */
const FILLED = ['alice/1,2', 'alice/1,2/3,4', '/1,2', '/1,2/3,4', '/1,2/3,4/7,8', '/1,2/3,4/7,8/9,10', '/1,2/3,4/5,6']
const sound = (paths: string[]) => paths.map((name) => [name, true])

/** A prompt of n large pages, each of its own token. */
const prompt = (n: number) => Array.from({ length: n * LARGE.pageSize }, (_, i) => Math.floor(i / LARGE.pageSize))

describe('saved prefixes', () => {
  it('come back with their KV, their salts and their order', async () => {
    const file = target()
    const cache = filled()
    expect(await save(file, cache)).toEqual({ pages: 7, tokens: 14 })
    const next = new MemoryCache(SMALL, 20)
    expect(await load(file, next)).toEqual({ pages: 7, tokens: 14 })
    expect(next.contents()).toEqual(sound(FILLED))
    expect(next.exposed).toEqual([])

    const again = target()
    await save(again, next)
    expect(readFileSync(again).equals(readFileSync(file))).toBe(true)
  })

  it('are a safetensors file that says what it holds', async () => {
    const file = target()
    const cache = filled()
    await save(file, cache)
    const bytes = readFileSync(file)
    const start = 8 + Number(bytes.readBigUInt64LE(0))
    const header = JSON.parse(bytes.toString('utf8', 8, start))
    expect(header.__metadata__).toEqual({
      format: 'm2-engine prefixes',
      version: '2',
      model: 'abc',
      kvDtype: 'f32',
      kvScales: 'none',
      pageSize: '2',
      layers: '1',
      kvHeads: '1',
      headDim: '4',
      numerics: 'cpu test',
    })
    const tensor = (name: string) => {
      const { dtype, shape, data_offsets: range } = header[name]
      return { dtype, shape, data: bytes.subarray(start + range[0], start + range[1]) }
    }
    const kv = Buffer.concat(cache.nodes.map(({ page }) => cache.memory[page]!))
    expect(tensor('kv')).toEqual({ dtype: 'F32', shape: [7, 1, 2, 1, 2, 4], data: kv })
    const ints = (...values: number[]) => Buffer.from(Int32Array.from(values).buffer)
    const tokens = ints(1, 2, 3, 4, 1, 2, 3, 4, 7, 8, 9, 10, 5, 6)
    expect(tensor('tokens')).toEqual({ dtype: 'I32', shape: [7, 2], data: tokens })
    expect(tensor('parents')).toEqual({ dtype: 'I32', shape: [7], data: ints(-1, 0, -1, 2, 3, 4, 3) })
    expect(JSON.parse(tensor('salts').data.toString())).toEqual([[0, 'alice']])
    expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it('keep any salt apart from any other', async () => {
    const cache = new MemoryCache(SMALL, 20)
    const salts = ['', ' ', '"', 'é\u0000\n', '日本', '\ud800', '[0,"x"]', 'x'.repeat(10_000)]
    for (const salt of salts) cache.add([1, 2], salt)
    const file = target()
    await save(file, cache)
    const next = new MemoryCache(SMALL, 20)
    expect(await load(file, next)).toEqual({ pages: 8, tokens: 16 })
    expect(next.contents()).toEqual(sound(salts.map((salt) => `${salt}/1,2`).reverse()))
  })

  it('may be none', async () => {
    const file = target()
    expect(await save(file, new MemoryCache(SMALL, 4))).toEqual({ pages: 0, tokens: 0 })
    const next = new MemoryCache(SMALL, 4)
    expect(await load(file, next)).toEqual({ pages: 0, tokens: 0 })
    expect(next.contents()).toEqual([])
  })

  it.each([
    ['bf16', 96],
    ['fp8', 48],
  ] as const)('are the same in %s', async (kvDtype, bytes) => {
    const format: PageFormat = { ...SMALL, kvDtype, layers: 3 }
    expect(pageBytesOf(format)).toBe(bytes)
    const cache = new MemoryCache(format, 4)
    cache.add([1, 2, 3, 4])
    const file = target()
    await save(file, cache)
    const next = new MemoryCache(format, 4)
    await load(file, next)
    expect(next.contents()).toEqual(sound(['/1,2', '/1,2/3,4']))
  })
})

describe('loading takes', () => {
  it('what was used most recently, as far as pages are free, and evicts nothing', async () => {
    const file = target()
    await save(file, filled())
    const next = new MemoryCache(SMALL, 5)
    next.add([50, 51, 52, 53])
    expect(await load(file, next)).toEqual({ pages: 3, tokens: 6 })
    expect(next.contents()).toEqual(sound(['/50,51', '/50,51/52,53', ...FILLED.slice(0, 3)]))
    expect(await load(file, next)).toEqual({ pages: 0, tokens: 0 })
    expect(next.exposed).toEqual([])
  })

  it('only what is not there yet', async () => {
    const file = target()
    await save(file, filled())
    const next = new MemoryCache(SMALL, 20)
    next.add([1, 2, 3, 4, 5, 6])
    expect(await load(file, next)).toEqual({ pages: 4, tokens: 8 })
    expect(new Set(next.contents().map(([name]) => name))).toEqual(new Set(FILLED))
    expect(next.contents().every(([, isRight]) => isRight)).toBe(true)
    const writes = next.writes.length
    expect(await load(file, next)).toEqual({ pages: 0, tokens: 0 })
    expect(next.writes.length).toBe(writes)
  })

  it('nothing below a page that the engine has evicted meanwhile', async () => {
    const cache = new MemoryCache(LARGE, 6)
    cache.add(prompt(6))
    const file = target()
    await save(file, cache)
    const next = new MemoryCache(LARGE, 6)
    next.onCall = () => next.evict() // of the two pages just written, the second
    expect(await load(file, next)).toEqual({ pages: 2, tokens: 128 })
    expect(next.contents().map(([, isRight]) => isRight)).toEqual([true])
    expect(next.exposed).toEqual([])
  })

  it('a few MiB at a time', async () => {
    const cache = new MemoryCache(LARGE, 5)
    cache.add(prompt(5))
    const file = target()
    expect(await save(file, cache)).toEqual({ pages: 5, tokens: 320 })
    expect(cache.reads.map((pages) => pages.length)).toEqual([2, 2, 1])
    const next = new MemoryCache(LARGE, 5)
    expect(await load(file, next)).toEqual({ pages: 5, tokens: 320 })
    expect(next.writes.map((pages) => pages.length)).toEqual([2, 2, 1])
    expect([cache.mostCalls, next.mostCalls]).toEqual([1, 1])
    expect(next.contents().map(([, isRight]) => isRight)).toEqual([true, true, true, true, true])
    expect(next.exposed).toEqual([])
  })

  it('sound pages before a broken one, and says what is broken', async () => {
    const cache = new MemoryCache(LARGE, 5)
    cache.add(prompt(5))
    const file = target()
    await save(file, cache)
    const bytes = readFileSync(file)
    bytes[4096 + 3.5 * cache.pageBytes]! ^= 1
    writeFileSync(file, bytes)
    const next = new MemoryCache(LARGE, 5)
    expect(await failure(() => load(file, next))).toMatch(
      /^BAD_CHECKPOINT \S+prefixes\.safetensors: kv of page 3: expected the CRC-32 [0-9a-f]{8}, found [0-9a-f]{8}$/,
    )
    expect(next.contents().map(([, isRight]) => isRight)).toEqual([true, true])
  })
})

describe('saving', () => {
  it('leaves out what is evicted meanwhile', async () => {
    const cache = new MemoryCache(LARGE, 8)
    cache.add([...prompt(2), ...new Array(64).fill(90)])
    cache.add([...prompt(2), ...new Array(64).fill(91), ...new Array(64).fill(92), ...new Array(64).fill(93)])
    cache.onCall = () => cache.evict() // after pages 0 and 1: page 5; after 2 and 3: page 4, whose turn has not come
    const file = target()
    expect(await save(file, cache)).toEqual({ pages: 4, tokens: 256 })
    const next = new MemoryCache(LARGE, 8)
    await load(file, next)
    const tokensOf = (token: number) => `/${new Array(64).fill(token)}`
    const whole = [0, 1, 91, 92].map(tokensOf)
    expect(next.contents()).toEqual(sound(whole.map((_, i) => whole.slice(0, i + 1).join(''))))
  })

  it('reads a page before whoever takes it over can write to it', async () => {
    const cache = filled()
    const file = target()
    const saving = save(file, cache)
    while (cache.reads.length === 0) await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 7; i++) cache.evict()
    expect(await saving).toEqual({ pages: 7, tokens: 14 })
    const next = new MemoryCache(SMALL, 20)
    await load(file, next)
    expect(next.contents()).toEqual(sound(FILLED))
  })

  it('that fails on the way leaves the file as it was, and nothing beside it', async () => {
    const file = target()
    const cache = new MemoryCache(LARGE, 5)
    cache.add(prompt(5))
    await save(file, filled())
    const before = readFileSync(file)
    const broken = {
      ...cache,
      writePages: cache.writePages,
      readPages: async (pages: Int32Array) => {
        if (cache.reads.length === 2) throw new Error('the device is gone')
        return cache.readPages(pages)
      },
    }
    await expect(savePrefixes(file, LARGE, cache, broken)).rejects.toThrow('the device is gone')
    expect(readFileSync(file).equals(before)).toBe(true)
    expect(readdirSync(path.dirname(file))).toEqual(['prefixes.safetensors'])
  })

  it('that never ends leaves the file as it was, and one beside it that no one takes for whole', async () => {
    const file = target()
    const cache = new MemoryCache(LARGE, 5)
    cache.add(prompt(5))
    await save(file, filled())
    const before = readFileSync(file)
    let hangs = () => {}
    const hanging = new Promise<void>((resolve) => {
      hangs = resolve
    })
    let kill = (_: Error) => {}
    const killed = new Promise<never>((_, reject) => {
      kill = reject
    })
    const door = {
      writePages: async () => {},
      readPages: (pages: Int32Array) => {
        if (cache.reads.length < 2) return cache.readPages(pages)
        hangs()
        return killed
      },
    }
    const saving = failure(() => savePrefixes(file, LARGE, cache, door))
    await hanging
    expect(readFileSync(file).equals(before)).toBe(true)
    const [torn] = readdirSync(path.dirname(file)).filter((name) => name !== 'prefixes.safetensors')
    const next = new MemoryCache(LARGE, 5)
    expect(await failure(() => load(path.join(path.dirname(file), torn!), next))).toMatch(/^BAD_CHECKPOINT /)
    expect(next.contents()).toEqual([])
    kill(new Error('killed'))
    await saving
  })

  it('several times at once into one file leaves one of them, whole', async () => {
    const file = target()
    const caches = [1, 2, 3, 4].map((token) => {
      const cache = new MemoryCache(SMALL, 8)
      cache.add([token, token, token, token])
      return cache
    })
    await Promise.all(caches.map((cache) => save(file, cache)))
    expect(readdirSync(path.dirname(file))).toEqual(['prefixes.safetensors'])
    const next = new MemoryCache(SMALL, 8)
    await load(file, next)
    const [first] = next.contents()[0]!
    expect(['/1,1', '/2,2', '/3,3', '/4,4']).toContain(first)
    expect(next.contents()).toEqual(sound([first, `${first}${first}`]))
  })

  it('while another call loads the same file disturbs neither', async () => {
    const file = target()
    await save(file, filled())
    const next = new MemoryCache(SMALL, 20)
    const other = new MemoryCache(SMALL, 20)
    other.add([30, 31])
    await Promise.all([load(file, next), save(file, other)])
    expect([sound(FILLED), sound(['/30,31'])]).toContainEqual(next.contents())
  })
})

describe('refused are', () => {
  it.each<[keyof PageFormat, PageFormat[keyof PageFormat], string]>([
    ['model', 'abd', 'model: expected "abd", found "abc"'],
    ['kvDtype', 'bf16', 'kvDtype: expected "bf16", found "f32"'],
    ['kvScales', 'def', 'kvScales: expected "def", found "none"'],
    ['pageSize', 4, 'pageSize: expected "4", found "2"'],
    ['layers', 2, 'layers: expected "2", found "1"'],
    ['kvHeads', 2, 'kvHeads: expected "2", found "1"'],
    ['headDim', 8, 'headDim: expected "8", found "4"'],
    ['numerics', 'cpu other', 'numerics: expected "cpu other", found "cpu test"'],
  ])('pages of another %s', async (name, value, message) => {
    const file = target()
    await save(file, filled())
    const next = new MemoryCache({ ...SMALL, [name]: value }, 20)
    expect(await failure(() => load(file, next))).toBe(`BAD_INPUT ${file}: ${message}`)
    expect(next.contents()).toEqual([])
  })

  it('a file that is not there, a folder, and a file of something else', async () => {
    const next = new MemoryCache(SMALL, 20)
    const folder = modelFolder()
    const absent = path.join(folder, 'absent')
    expect(await failure(() => load(absent, next))).toBe(
      `BAD_INPUT ${absent}: expected a file of saved prefixes, found no such file`,
    )
    expect(await failure(() => load(folder, next))).toMatch(/^BAD_CHECKPOINT .*: cannot be read: EISDIR/)
    const model = path.join(folder, 'model.safetensors')
    expect(await failure(() => load(model, next))).toBe(
      `BAD_INPUT ${model}: format: expected "m2-engine prefixes", found "pt"`,
    )
  })

  it('what is no path', async () => {
    const cache = filled()
    for (const found of [undefined, null, 7, '', 'a\0b', Symbol('x'), 10n, {}]) {
      const line = /^BAD_INPUT path: expected the path of a file, found /
      expect(await failure(() => save(found as string, cache))).toMatch(line)
      expect(await failure(() => load(found as string, cache))).toMatch(line)
    }
  })

  it('places where no file can be', async () => {
    const folder = temporaryFolder()
    const absent = path.join(folder, 'absent', 'file')
    expect(await failure(() => save(absent, filled()))).toBe(
      `BAD_INPUT ${absent}: expected a place to write a file, found ENOENT`,
    )
    const taken = path.join(folder, 'taken')
    mkdirSync(taken)
    expect(await failure(() => save(taken, filled()))).toBe(
      `BAD_INPUT ${taken}: expected a place to write a file, found EISDIR`,
    )
    expect(readdirSync(folder)).toEqual(['taken'])
  })
})
