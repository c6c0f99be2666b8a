/** The KV cache as the scheduler sees it: page tables that grow, are forked and given back. */
import { PagePool } from './pages'

/** Where the tokens of one sequence stand: token t is in slot t % S of page `pages[t / S]`. Only a `KvCache` changes it. */
export class PageTable {
  /** [capacity] the first `length` entries count. */
  pages = new Int32Array(8)
  length = 0

  push(page: number): void {
    if (this.length === this.pages.length) {
      const grown = new Int32Array(2 * this.length)
      grown.set(this.pages)
      this.pages = grown
    }
    this.pages[this.length++] = page
  }
}

/** Whole pages to copy, from[i] to to[i], before anything else is written. */
export interface PageCopies {
  from: number[]
  to: number[]
}

export interface PageCounts {
  total: number
  free: number
  cached: number
  private: number
}

export class KvCache {
  readonly pageSize: number
  private readonly pool: PagePool

  constructor(pages: number, pageSize: number) {
    this.pageSize = pageSize
    this.pool = new PagePool(pages)
  }

  get pages(): number {
    return this.pool.total
  }

  get freePages(): number {
    return this.pool.free
  }

  /** Pages that `tokens` tokens take. */
  pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.pageSize)
  }

  /** Gives the table room for `tokens` tokens. False, and nothing has changed, when too few pages are free. */
  reserve(table: PageTable, tokens: number): boolean {
    const needed = this.pagesFor(tokens) - table.length
    if (needed > this.pool.free) return false
    for (let i = 0; i < needed; i++) table.push(this.pool.take())
    return true
  }

  /**
   * A second table over the first `tokens` tokens of `source`: full pages are shared, and as nobody may write a shared page,
   * a partly filled one is copied (appended to `copies`). Undefined, and nothing has changed, when no page is free for that copy.
   */
  fork(source: PageTable, tokens: number, copies: PageCopies): PageTable | undefined {
    const full = Math.floor(tokens / this.pageSize)
    const isRagged = tokens % this.pageSize > 0
    if (isRagged && this.pool.free === 0) return undefined
    const table = new PageTable()
    for (let i = 0; i < full; i++) {
      const page = source.pages[i]!
      this.pool.retain(page)
      table.push(page)
    }
    if (isRagged) {
      const page = this.pool.take()
      copies.from.push(source.pages[full]!)
      copies.to.push(page)
      table.push(page)
    }
    return table
  }

  /** Gives all pages of a table back and leaves it empty. */
  release(table: PageTable): void {
    // The last page first, so that the first page of this table is the next one taken.
    while (table.length > 0) this.pool.release(table.pages[--table.length]!)
  }

  /** free + cached + private === total. Until prefixes are shared between requests, nothing outlives its sequence: cached is 0. */
  counts(): PageCounts {
    const { total, free } = this.pool
    return { total, free, cached: 0, private: total - free }
  }

  /**
   * Throws unless exactly these tables hold all references, and every page with several of them is full in all of them. For tests.
   * @param lengths tokens stored through each table
   */
  check(tables: readonly PageTable[], lengths: readonly number[]): void {
    this.pool.check()
    const references = new Int32Array(this.pool.total)
    for (const table of tables) for (const page of table.pages.subarray(0, table.length)) references[page]!++
    for (const [page, count] of references.entries()) {
      const counted = this.pool.referencesOf(page)
      if (counted !== count) throw new Error(`page ${page} has ${counted} references, ${count} tables name it`)
    }
    for (const [i, table] of tables.entries()) {
      const filled = Math.floor(lengths[i]! / this.pageSize)
      for (const page of table.pages.subarray(filled, table.length)) {
        if (references[page]! > 1) throw new Error(`page ${page} is shared but not full`)
      }
    }
  }
}
