import { describe, expect, it } from 'vitest'
import { KvCache, type PageCopies, PageTable } from '../../lib/cache/kv-cache'

const noCopies = (): PageCopies => ({ from: [], to: [] })
const pagesOf = (table: PageTable) => [...table.pages.subarray(0, table.length)]
const cacheOf = (pages: number, pageSize: number, prefixCache = true) => new KvCache({ pages, pageSize, prefixCache })
const tokensOf = (length: number, from = 0) => Int32Array.from({ length }, (_, i) => from + i)

/** A table that has computed and published these tokens. */
function stored(cache: KvCache, tokens: Int32Array, salt = ''): PageTable {
  const table = new PageTable(salt)
  cache.reserve(table, tokens.length)
  cache.publish(table, tokens, tokens.length)
  return table
}

describe('page tables', () => {
  it('get pages as they grow', () => {
    const cache = cacheOf(4, 16)
    const table = new PageTable()
    const lengths = [1, 16, 17, 64].map((tokens) => [cache.reserve(table, tokens), table.length])
    expect(lengths).toEqual([
      [1, 1],
      [16, 1],
      [17, 2],
      [64, 4],
    ])
    expect(cache.counts()).toEqual({ total: 4, free: 0, cached: 0, private: 4 })
    cache.check([{ table, tokens: tokensOf(64), stored: 64 }])
  })

  it('get what there is when too few pages are free', () => {
    const cache = cacheOf(4, 16)
    const second = new PageTable()
    cache.reserve(new PageTable(), 40)
    expect([cache.reserve(second, 17), second.length, cache.availablePages]).toEqual([16, 1, 0])
  })

  it('give all pages back, and get them in the same order again', () => {
    const cache = cacheOf(40, 1)
    const table = new PageTable()
    cache.reserve(table, 40)
    const pages = pagesOf(table)
    cache.release(table)
    expect([table.length, cache.availablePages]).toEqual([0, 40])
    cache.reserve(table, 40)
    expect(pagesOf(table)).toEqual(pages)
  })

  it('fork by sharing full pages and copying a partly filled one', () => {
    const cache = cacheOf(10, 4)
    const [source, fork] = [new PageTable(), new PageTable()]
    const tokens = tokensOf(12)
    cache.reserve(source, 12)
    const copies = noCopies()
    expect(cache.fork(fork, source, 10, copies)).toBe(10)
    expect(pagesOf(fork).slice(0, 2)).toEqual(pagesOf(source).slice(0, 2))
    expect(copies).toEqual({ from: [source.pages[2]], to: [fork.pages[2]] })
    expect(cache.counts().private).toBe(4)
    const both = [source, fork].map((table) => ({ table, tokens, stored: 10 }))
    cache.check(both)
    cache.release(source)
    expect(cache.counts().private).toBe(3)
    cache.check(both.slice(1))
  })

  it('fork with their full pages alone when there is no page for the copy', () => {
    const cache = cacheOf(2, 4)
    const [source, fork] = [new PageTable(), new PageTable()]
    cache.reserve(source, 8)
    const copies = noCopies()
    expect(cache.fork(fork, source, 7, copies)).toBe(4)
    expect([pagesOf(fork), copies]).toEqual([pagesOf(source).slice(0, 1), noCopies()])
    cache.release(fork)
    expect(cache.fork(fork, source, 8, copies)).toBe(8)
    expect([pagesOf(fork), copies]).toEqual([pagesOf(source), noCopies()])
  })
})

describe('cached pages', () => {
  it('are adopted as far as the tokens are equal and pages full', () => {
    const cache = cacheOf(10, 4)
    const first = stored(cache, tokensOf(14))
    const tokens = tokensOf(14)
    tokens[9] = 99
    const second = new PageTable()
    cache.adopt(second, tokens, tokens.length)
    expect(pagesOf(second)).toEqual(pagesOf(first).slice(0, 2))
    const third = new PageTable()
    cache.adopt(third, tokensOf(7), 7)
    expect(pagesOf(third)).toEqual(pagesOf(first).slice(0, 1))
    expect(cache.counts()).toEqual({ total: 10, free: 6, cached: 3, private: 1 })
  })

  it('outlive their sequence, are available, and go leaf by leaf when they are needed', () => {
    const cache = cacheOf(4, 4)
    cache.release(stored(cache, tokensOf(12)))
    expect([cache.counts(), cache.availablePages]).toEqual([{ total: 4, free: 1, cached: 3, private: 0 }, 4])
    cache.reserve(new PageTable(), 8)
    const again = new PageTable()
    cache.adopt(again, tokensOf(12), 12)
    expect(again.length).toBe(2)
    expect(cache.availablePages).toBe(0)
  })

  it('stay while a table names them', () => {
    const cache = cacheOf(4, 4)
    stored(cache, tokensOf(12))
    expect(cache.reserve(new PageTable(), 16)).toBe(4)
    const other = new PageTable()
    cache.adopt(other, tokensOf(12), 12)
    expect(other.length).toBe(3)
  })

  it('are one for equal tokens: a table gives its own up', () => {
    const cache = cacheOf(8, 4)
    const tokens = tokensOf(8)
    const first = stored(cache, tokens)
    const second = new PageTable()
    cache.reserve(second, 8)
    second.sent = 2
    cache.publish(second, tokens, 8)
    expect(second.shared).toBe(0) // its own pages may still be written
    cache.merge(second, tokens, 8)
    expect([pagesOf(second), second.shared, second.sent]).toEqual([pagesOf(first), 2, 0])
    expect(cache.counts()).toEqual({ total: 8, free: 6, cached: 2, private: 0 })
    cache.check([first, second].map((table) => ({ table, tokens, stored: 8 })))
  })

  it('are apart by salt', () => {
    const cache = cacheOf(8, 4)
    stored(cache, tokensOf(8), 'a')
    for (const [salt, length] of [
      ['b', 0],
      ['', 0],
      ['a', 2],
    ] as const) {
      const table = new PageTable(salt)
      cache.adopt(table, tokensOf(8), 8)
      expect(table.length, salt).toBe(length)
    }
  })

  it('are none when the prefix cache is off', () => {
    const cache = cacheOf(8, 4, false)
    const table = stored(cache, tokensOf(8))
    const other = new PageTable()
    cache.adopt(other, tokensOf(8), 8)
    expect(other.length).toBe(0)
    cache.release(table)
    expect(cache.counts()).toEqual({ total: 8, free: 8, cached: 0, private: 0 })
  })
})

describe('a snapshot', () => {
  it('lists parents before children, what is in use first, then the most recently used', () => {
    const cache = cacheOf(20, 4)
    const [old, recent, used] = [0, 100, 200].map((from) => stored(cache, tokensOf(12, from)))
    const pages = [used!, recent!, old!].flatMap(pagesOf)
    cache.release(old!)
    cache.release(recent!)
    const snapshot = cache.snapshot()
    expect([...snapshot.pages]).toEqual(pages)
    expect([...snapshot.parents]).toEqual([-1, 0, 1, -1, 3, 4, -1, 6, 7])
    expect([...snapshot.tokens.subarray(12, 24)]).toEqual([...tokensOf(12, 100)])
    for (const [i, page] of snapshot.pages.entries()) {
      expect(cache.has({ page, serial: snapshot.serials[i]! })).toBe(true)
    }
    cache.reserve(new PageTable(), 4 * 12) // of 17 available pages: the oldest leaf goes
    const left = [...snapshot.pages].map((page, i) => cache.has({ page, serial: snapshot.serials[i]! }))
    expect(left).toEqual([true, true, true, true, true, true, true, true, false])
  })

  it('is put into another cache, where it goes before what is there', () => {
    const [from, to] = [cacheOf(4, 4), cacheOf(7, 4)]
    stored(from, tokensOf(12), 'salt')
    const { parents, tokens, salts } = from.snapshot()
    to.release(stored(to, tokensOf(8, 50)))
    const taken: ReturnType<KvCache['insert']>[] = []
    for (const [i, parent] of parents.entries()) {
      taken.push(to.insert(taken[parent]?.page, tokens.slice(4 * i, 4 * i + 4), salts[i]!))
    }
    expect(taken.map((one) => one?.isNew)).toEqual([true, true, true])
    expect(to.insert(undefined, tokens.slice(0, 4), 'salt')).toEqual({ page: taken[0]!.page, isNew: false })
    expect(to.counts()).toEqual({ total: 7, free: 2, cached: 5, private: 0 })
    to.check([])
    to.reserve(new PageTable(), 4 * 3)
    expect(to.has(taken[2]!.page)).toBe(false)
    expect(to.insert(taken[2]!.page, tokens.slice(0, 4), '')).toBeUndefined() // its parent is gone
    expect(to.insert(undefined, tokensOf(4, 70), '')).toBeUndefined() // no page is free
    const there = new PageTable()
    to.adopt(there, tokensOf(8, 50), 8)
    expect(there.length).toBe(2)
  })
})

describe('the check', () => {
  it('notices a table that still names a page it gave back', () => {
    const cache = cacheOf(4, 4)
    const table = new PageTable()
    cache.reserve(table, 8)
    const stale = Object.assign(new PageTable(), { pages: table.pages.slice(), length: 2 })
    cache.release(table)
    expect(() => cache.check([{ table: stale, tokens: tokensOf(8), stored: 8 }])).toThrow(/0 references, 1 tables/)
  })

  it('notices a shared page that is not full', () => {
    const cache = cacheOf(4, 4)
    const [source, fork] = [new PageTable(), new PageTable()]
    cache.reserve(source, 8)
    cache.fork(fork, source, 8, noCopies())
    const tables = [8, 7].map((length, i) => ({ table: [source, fork][i]!, tokens: tokensOf(8), stored: length }))
    expect(() => cache.check(tables)).toThrow(/shared but not full/)
  })

  it('notices a cached page that holds other tokens than its table says', () => {
    const cache = cacheOf(4, 4)
    const table = stored(cache, tokensOf(8))
    expect(() => cache.check([{ table, tokens: tokensOf(8, 1), stored: 8 }])).toThrow(/other tokens/)
  })

  it('notices a page that is lost', () => {
    const cache = cacheOf(4, 4)
    const table = new PageTable()
    cache.reserve(table, 8)
    expect(() => cache.check([])).toThrow(/references/)
  })
})
