import { describe, expect, it } from 'vitest'
import { KvCache, type PageCopies, PageTable } from '../../lib/cache/kv-cache'

const noCopies = (): PageCopies => ({ from: [], to: [] })
const pagesOf = (table: PageTable) => [...table.pages.subarray(0, table.length)]

describe('the KV cache', () => {
  it('gives a table pages as it grows', () => {
    const cache = new KvCache(4, 16)
    const table = new PageTable()
    const lengths = [1, 16, 17, 64].map((tokens) => [cache.reserve(table, tokens), table.length])
    expect(lengths).toEqual([
      [true, 1],
      [true, 1],
      [true, 2],
      [true, 4],
    ])
    expect(cache.counts()).toEqual({ total: 4, free: 0, cached: 0, private: 4 })
    cache.check([table], [64])
  })

  it('changes nothing when too few pages are free', () => {
    const cache = new KvCache(4, 16)
    const first = new PageTable()
    const second = new PageTable()
    expect(cache.reserve(first, 40)).toBe(true)
    expect(cache.reserve(second, 17)).toBe(false)
    expect(second.length).toBe(0)
    expect(cache.freePages).toBe(1)
  })

  it('takes all pages back, and gives them out in the same order again', () => {
    const cache = new KvCache(40, 1)
    const table = new PageTable()
    cache.reserve(table, 40)
    const pages = pagesOf(table)
    cache.release(table)
    expect([table.length, cache.freePages]).toEqual([0, 40])
    cache.reserve(table, 40)
    expect(pagesOf(table)).toEqual(pages)
  })

  it('forks by sharing full pages and copying a partly filled one', () => {
    const cache = new KvCache(10, 4)
    const source = new PageTable()
    cache.reserve(source, 12)
    const copies = noCopies()
    const fork = cache.fork(source, 10, copies)!
    expect(pagesOf(fork).slice(0, 2)).toEqual(pagesOf(source).slice(0, 2))
    expect(copies).toEqual({ from: [source.pages[2]], to: [fork.pages[2]] })
    expect(cache.counts().private).toBe(4)
    cache.check([source, fork], [12, 10])
    cache.release(source)
    expect(cache.counts().private).toBe(3)
    cache.check([fork], [10])
  })

  it('forks at a page edge without a copy, even when no page is free', () => {
    const cache = new KvCache(2, 4)
    const source = new PageTable()
    cache.reserve(source, 8)
    const copies = noCopies()
    expect(cache.fork(source, 7, copies)).toBeUndefined()
    expect(pagesOf(cache.fork(source, 8, copies)!)).toEqual(pagesOf(source))
    expect(copies).toEqual(noCopies())
  })

  it('notices a table that still names a page it gave back', () => {
    const cache = new KvCache(4, 4)
    const table = new PageTable()
    cache.reserve(table, 8)
    const stale = Object.assign(new PageTable(), { pages: table.pages.slice(), length: 2 })
    cache.release(table)
    expect(() => cache.check([stale], [8])).toThrow(/0 references, 1 tables/)
  })

  it('notices a shared page that is not full', () => {
    const cache = new KvCache(4, 4)
    const table = new PageTable()
    cache.reserve(table, 8)
    const fork = cache.fork(table, 8, noCopies())!
    expect(() => cache.check([table, fork], [8, 7])).toThrow(/shared but not full/)
  })
})
