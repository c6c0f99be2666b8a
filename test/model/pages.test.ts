/** KV pages as bytes: read, kept, and written to other places. */
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Random } from '../reference/random'
import { Driver, type Sample } from './driver'
import { failure, modelFolder, TINY } from './folder'

const NANO = path.join(__dirname, '../../models/nano')

const randomIds = (count: number, vocabSize: number, seed: number) => {
  const random = new Random(seed)
  return Array.from({ length: count }, () => random.integer(vocabSize))
}

describe.each(['bf16', 'f32', 'fp8'] as const)('pages of %s', (kvDtype) => {
  const ids = randomIds(40, 1536, 1) // two pages and a half

  it('that are written to other places give the sequence that they were read from', async () => {
    const driver = await Driver.load(NANO, { kvDtype, pageSize: 16 })
    await driver.step([{ row: 0, ids }])
    const kept = await driver.model.readPages(driver.pagesOf(0))
    expect(kept).toHaveLength(3 * driver.model.pageBytes)
    const next = (row: number) => driver.step([{ row, ids: [7, 8, 9] }], true)
    const expected = await next(0)

    await driver.step([{ row: 1, ids: randomIds(40, 1536, 2) }])
    expect(driver.pagesOf(1)).not.toEqual(driver.pagesOf(0))
    await driver.model.writePages(driver.pagesOf(1), kept)
    expect(await next(1)).toEqual(expected)
  })

  it('go to another model of the same weights', async () => {
    const first = await Driver.load(NANO, { kvDtype })
    await first.step([{ row: 0, ids }])
    const kept = await first.model.readPages(first.pagesOf(0))
    const expected = await first.step([{ row: 0, ids: [7] }], true)

    const second = await Driver.load(NANO, { kvDtype, threads: 1 })
    await second.step([{ row: 3, ids: randomIds(40, 1536, 2) }])
    await second.model.writePages(second.pagesOf(3), kept)
    expect(await second.step([{ row: 3, ids: [7] }], true)).toEqual(expected)
  })
})

it('pages are laid out [layer][K|V][head][slot][dim]', async () => {
  const dir = modelFolder()
  const { layers, kvHeads, headDim } = TINY
  const S = 8
  const ids = randomIds(S, TINY.vocabSize, 3)
  const read = async (pageSize: number) => {
    const driver = await Driver.load(dir, { kvDtype: 'f32', pageSize, maxContext: 16, maxSequences: 1 })
    await driver.step([{ row: 0, ids }])
    return new Float32Array((await driver.model.readPages(driver.pagesOf(0))).buffer)
  }
  const whole = await read(S) // one page of all tokens
  const single = await read(1) // a page of each token: [slot][layer][K|V][head][dim]
  const tiles = layers * 2 * kvHeads
  expect(whole).toHaveLength(S * tiles * headDim)
  const expected = whole.map((_, i) => {
    const [tile, slot, d] = [Math.floor(i / (S * headDim)), Math.floor(i / headDim) % S, i % headDim]
    return single[(slot * tiles + tile) * headDim + d]!
  })
  expect(whole).toEqual(expected)
  expect(new Set(whole).size).toBeGreaterThan(0.9 * whole.length)
})

describe('readPages and writePages', () => {
  const load = () => Driver.load(modelFolder(), { pageSize: 16, maxContext: 16, maxSequences: 2 }) // pages 0 and 1
  const page = async (driver: Driver) => (await driver.model.readPages(driver.pagesOf(0))).slice()

  it('run in order with the steps, and take their bytes at the call', async () => {
    const driver = await load()
    const first: Promise<Sample[][]> = driver.step([{ row: 0, ids: [1, 2, 3] }])
    const before = page(driver)
    const second = driver.step([{ row: 0, ids: [4] }])
    const after = page(driver)
    await Promise.all([first, second])
    const bytes = (await after).slice()
    expect(await before).not.toEqual(bytes)
    const written = driver.model.writePages(driver.pagesOf(0), bytes.fill(7))
    const between = page(driver)
    const again = driver.model.writePages(driver.pagesOf(0), await after)
    bytes.fill(9)
    await Promise.all([written, again])
    expect(await between).toEqual(new Uint8Array(driver.model.pageBytes).fill(7))
    expect(await page(driver)).toEqual(await after)
  })

  it('take no pages for nothing to do', async () => {
    const { model } = await load()
    expect(await model.readPages(new Int32Array())).toEqual(new Uint8Array())
    await model.writePages(new Int32Array(), new Uint8Array())
  })

  it('refuse pages that are not there and bytes that are not whole pages, before anything is written', async () => {
    const driver = await load()
    await driver.step([{ row: 0, ids: [1, 2, 3] }])
    const { model } = driver
    const kept = await page(driver)
    const P = model.pageBytes
    const write = (pages: number[], bytes: number) => model.writePages(Int32Array.from(pages), new Uint8Array(bytes))
    expect(P).toBe(2 * 2 * 2 * 16 * 32 * 2) // layers, K and V, heads, slots, dims, bytes
    for (const [call, message] of [
      [() => model.readPages(Int32Array.of(0, 2)), 'readPages: page is 2, expected 0 to 1'],
      [() => model.readPages(Int32Array.of(-1)), 'readPages: page is -1, expected 0 to 1'],
      [() => write([0, 2], 2 * P), 'writePages: page is 2, expected 0 to 1'],
      [() => write([0], P - 1), `writePages: ${P - 1} bytes for 1 pages, expected ${P}`],
      [() => write([0, 1], P), `writePages: ${P} bytes for 2 pages, expected ${2 * P}`],
      [() => write([], 1), 'writePages: 1 bytes for 0 pages, expected 0'],
      [() => model.readPages([0] as never), 'internal: pages must be a Int32Array'],
      [() => model.writePages(Int32Array.of(0), kept.buffer as never), 'internal: bytes must be a Uint8Array'],
    ] as const) {
      expect(await failure(call)).toBe(`DEVICE_ERROR ${message}`)
    }
    expect(await page(driver)).toEqual(kept)
    await model.close()
    expect(await failure(() => model.readPages(Int32Array.of(0)))).toBe('CLOSED the model is closed')
    expect(await failure(() => write([0], P))).toBe('CLOSED the model is closed')
  })
})

it('numerics say what decides the bits: not the number of threads', async () => {
  const dir = modelFolder()
  const [one, two] = [await Driver.load(dir, { threads: 1 }), await Driver.load(dir, { threads: 2 })]
  expect(one.model.numerics).toMatch(/^cpu \S+ (avx512|avx2|plain)$/)
  expect(two.model.numerics).toBe(one.model.numerics)
  process.env.M2_CPU_ISA = 'plain'
  try {
    const plain = await Driver.load(dir)
    expect(plain.model.numerics).toMatch(/ plain$/)
  } finally {
    delete process.env.M2_CPU_ISA
  }
})
