/** Cached pages of the embedded model on their way from one engine to the next. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Engine, type EngineOptions } from '../../lib/index'

const PROMPT = Array.from({ length: 200 }, (_, i) => 8 + ((i * 37) % 1400))

async function load(options: EngineOptions = {}): Promise<Engine> {
  const engine = await Engine.load(undefined, { kvMemory: '16MiB', pageSize: 16, ...options })
  onTestFinished(() => engine.close())
  return engine
}

function folder(): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'm2-prefixes-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  return dir
}

const generate = (engine: Engine, cacheSalt?: string) =>
  engine.generate(PROMPT, { maxTokens: 20, temperature: 0, ignoreEos: true, logprobs: 5, cacheSalt }).result()

describe('saved prefixes', () => {
  it('are there in the next engine, with the same bits', async () => {
    const file = path.join(folder(), 'prefixes')
    const first = await load()
    const { tokenIds, logprobs } = await generate(first)
    await generate(first, 'salt')
    const saved = await first.savePrefixes(file)
    // 219 tokens with K and V, the last one without: 13 full pages of 16, once for each salt.
    expect(saved).toEqual({ pages: 26, tokens: 416 })

    const second = await load()
    expect(await second.loadPrefixes(file)).toEqual(saved)
    expect(await second.loadPrefixes(file)).toEqual({ pages: 0, tokens: 0 })
    for (const salt of [undefined, 'salt']) {
      const again = await generate(second, salt)
      expect(again.usage.cachedTokens).toBe(192)
      expect([again.tokenIds, again.logprobs]).toEqual([tokenIds, logprobs])
    }
    expect((await generate(second, 'other')).usage.cachedTokens).toBe(0)
  })

  it('are saved and loaded while others generate', async () => {
    const file = path.join(folder(), 'prefixes')
    const first = await load({ kvMemory: '1MiB' }) // pages go while they are saved
    const alone = await generate(await load())
    const traffic = (engine: Engine) =>
      Promise.all(Array.from({ length: 12 }, (_, i) => engine.generate([9 + i, ...PROMPT], { maxTokens: 9 }).result()))
    await generate(first)
    await Promise.all([first.savePrefixes(file), traffic(first)])
    const second = await load()
    await Promise.all([traffic(second), second.loadPrefixes(file)])
    expect((await generate(second)).logprobs).toEqual(alone.logprobs)
    expect(second.stats().pages.private).toBe(0)
  })

  it.each<[string, EngineOptions, RegExp]>([
    ['page size', { pageSize: 32 }, /expected .*32.*found .*16/],
    ['KV type', { kvDtype: 'f32' }, /expected .*f32.*found .*bf16/],
  ])('are refused where the %s differs', async (_, options, message) => {
    const file = path.join(folder(), 'prefixes')
    const first = await load()
    await generate(first)
    await first.savePrefixes(file)
    const other = await load(options)
    await expect(other.loadPrefixes(file)).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringMatching(message),
    })
    expect(other.stats().pages.cached).toBe(0)
  })

  it('are refused when the file was cut short, and the engine goes on', async () => {
    const file = path.join(folder(), 'prefixes')
    const first = await load()
    const { tokenIds } = await generate(first)
    await first.savePrefixes(file)
    truncateSync(file, 50_000)
    const second = await load()
    await expect(second.loadPrefixes(file)).rejects.toMatchObject({ code: 'BAD_CHECKPOINT' })
    writeFileSync(file, 'something else')
    await expect(second.loadPrefixes(file)).rejects.toMatchObject({ code: 'BAD_CHECKPOINT' })
    expect((await generate(second)).tokenIds).toEqual(tokenIds)
  })

  it('are none where the prefix cache is off, and none of a closed engine', async () => {
    const file = path.join(folder(), 'prefixes')
    const off = await load({ prefixCache: false })
    await generate(off)
    expect(await off.savePrefixes(file)).toEqual({ pages: 0, tokens: 0 })
    expect(await off.loadPrefixes(file)).toEqual({ pages: 0, tokens: 0 })
    await off.close()
    await expect(off.savePrefixes(file)).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(off.loadPrefixes(file)).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
