import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PartialFile, partialBytes } from '../../lib/hub/partial-file'

let dir: string
let base: string
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-partial-'))
  base = path.join(dir, 'blob')
})
afterEach(() => rmSync(dir, { recursive: true }))

const names = () => readdirSync(dir).sort()
const age = (name: string, seconds: number) => {
  const time = Date.now() / 1000 - seconds
  utimesSync(path.join(dir, name), time, time)
}
const claimed = async () => (await PartialFile.claim(base))!

describe('a partial file', () => {
  it('is held by one', async () => {
    const first = await claimed()
    expect(await PartialFile.claim(base)).toBeNull()
    await first.append(Buffer.from('abc'))
    expect(await first.finish(base)).toBe(true)
    expect(names()).toEqual(['blob'])
    expect(readFileSync(base, 'utf8')).toBe('abc')
  })

  it('is held by one of many that come at once, or by none for a moment', async () => {
    for (let round = 0; round < 20; round++) {
      const claims = (await Promise.all(Array.from({ length: 8 }, () => PartialFile.claim(base)))).filter((it) => it)
      expect(claims.length).toBeLessThanOrEqual(1)
      await claims[0]?.release()
    }
    expect(names()).toEqual([])
  })

  it('that was given up is gone on with at once', async () => {
    const first = await claimed()
    await first.append(Buffer.from('abc'))
    await first.release()
    expect(names()).toEqual(['blob.incomplete'])
    const { ino } = statSync(`${base}.incomplete`)
    const second = await claimed()
    expect(second.size).toBe(3)
    expect(statSync(path.join(dir, names()[0]!)).ino).toBe(ino) // the file itself: nobody else has it open
    await second.append(Buffer.from('def'))
    await second.finish(base)
    expect(readFileSync(base, 'utf8')).toBe('abcdef')
  })

  it('of a process that only slept is copied, so that its late bytes hurt nobody', async () => {
    const sleeper = await claimed()
    await sleeper.append(Buffer.from('abc'))
    age(names()[0]!, 60)
    const other = await claimed()
    expect(other.size).toBe(3)
    await sleeper.append(Buffer.from('late'))
    expect(await sleeper.finish(base)).toBe(false)
    expect(names().filter((name) => name === 'blob')).toEqual([])
    await other.append(Buffer.from('def'))
    expect(await other.finish(base)).toBe(true)
    expect(readFileSync(base, 'utf8')).toBe('abcdef')
    expect(names()).toEqual(['blob'])
  })

  it('of another tool is waited for while it grows, then copied', async () => {
    writeFileSync(`${base}.incomplete`, 'abc')
    expect(await PartialFile.claim(base)).toBeNull()
    age('blob.incomplete', 60)
    expect(await partialBytes(base)).toBe(3)
    const partial = await claimed()
    expect(partial.size).toBe(3)
    await partial.release()
  })

  it('of another blob is not touched', async () => {
    writeFileSync(`${base}2.incomplete`, 'abc')
    const partial = await claimed()
    expect(partial.size).toBe(0)
    await partial.release()
    expect(names()).toEqual(['blob2.incomplete'])
  })

  it('that was cleared is empty and is not kept', async () => {
    const partial = await claimed()
    await partial.append(Buffer.from('abc'))
    await partial.clear()
    expect(partial.size).toBe(0)
    await partial.release()
    expect(names()).toEqual([])
  })
})
