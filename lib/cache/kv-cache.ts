/**
 * The KV cache as the scheduler sees it: page tables that grow, share pages of equal content, and are given back.
 *
 * Everything here happens when a step is planned, before the device has run it. The device runs steps and copies in order, and in each
 * layer of a step stores all K and V before it reads any: so a page may be shared from the plan on that fills it, and taken anew from the
 * plan on that no longer needs it.
 */
import { PagePool } from './pages'
import type { CachedPage, PrefixSnapshot, PrefixStore } from './prefix-store'
import { NONE, PrefixTree, ROOT } from './prefix-tree'

/** Where the tokens of one sequence stand: token t is in slot t % S of page `pages[t / S]`. Only a `KvCache` changes it, but for `sent`. */
export class PageTable {
  /** [capacity] the first `length` entries count. */
  pages = new Int32Array(8)
  length = 0
  /** Leading pages that are nodes of the prefix tree: nobody writes them any more. */
  shared = 0
  /** Leading pages that the device knows. */
  sent = 0

  /** @param salt prefixes are shared only among tables of equal salt */
  constructor(readonly salt = '') {}

  push(page: number): void {
    if (this.length === this.pages.length) {
      const grown = new Int32Array(2 * this.length)
      grown.set(this.pages)
      this.pages = grown
    }
    this.pages[this.length++] = page
  }
}

/** Whole pages to copy, from[i] to to[i]. */
export interface PageCopies {
  from: number[]
  to: number[]
}

export interface PageCounts {
  total: number
  free: number
  /** Nodes of the prefix tree, whether a sequence uses them or not. */
  cached: number
  /** Pages of sequences that are no nodes. */
  private: number
}

export interface KvCacheOptions {
  pages: number
  /** Tokens of a page. */
  pageSize: number
  /** Share pages between sequences whose beginnings are equal. */
  prefixCache: boolean
}

export class KvCache implements PrefixStore {
  readonly pageSize: number
  private readonly pool: PagePool
  private readonly tree: PrefixTree
  private readonly prefixCache: boolean

  constructor({ pages, pageSize, prefixCache }: KvCacheOptions) {
    this.pageSize = pageSize
    this.pool = new PagePool(pages)
    this.tree = new PrefixTree(pages, pageSize)
    this.prefixCache = prefixCache
  }

  /** Pages that can be taken: free ones, and cached ones that nobody uses. */
  get availablePages(): number {
    return this.pool.free + this.tree.idle
  }

  /** Pages that `tokens` tokens take. */
  pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.pageSize)
  }

  /** Continues a table with cached pages of the sequence's next tokens, as long as they are full before `end`: what need not be computed. */
  adopt(table: PageTable, tokens: Int32Array, end: number): void {
    if (!this.prefixCache) return
    while (table.shared === table.length && (table.length + 1) * this.pageSize <= end) {
      const page = this.tree.find(lastOf(table), tokens, table.length * this.pageSize, table.salt)
      if (page === NONE) return
      this.use(page)
      table.push(page)
      table.shared++
    }
  }

  /** Gives the table room for `tokens` tokens, or for as many as there are pages: for how many it has room then. */
  reserve(table: PageTable, tokens: number): number {
    const needed = this.pagesFor(tokens)
    while (table.length < needed && this.availablePages > 0) {
      const page = this.pool.free > 0 ? this.pool.take() : this.tree.evict()
      this.pool.retain(page)
      table.push(page)
    }
    return Math.min(tokens, table.length * this.pageSize)
  }

  /** Makes nodes of the table's next pages, those that are full before `end`. Stops where the tree has such a page already. */
  publish(table: PageTable, tokens: Int32Array, end: number): void {
    while (this.canPublish(table, end)) {
      if (this.publishNext(table, tokens) !== table.pages[table.shared]) return
      table.shared++
    }
  }

  /** As `publish`, and where the tree has such a page already, it takes the place of the table's own. For pages that no step to be packed writes. */
  merge(table: PageTable, tokens: Int32Array, end: number): void {
    while (this.canPublish(table, end)) {
      const own = table.pages[table.shared]!
      const page = this.publishNext(table, tokens)
      if (page !== own) {
        this.use(page)
        this.drop(own)
        table.pages[table.shared] = page
        table.sent = Math.min(table.sent, table.shared)
      }
      table.shared++
    }
  }

  /**
   * Fills an empty table with the first `tokens` tokens of `source`: full pages are shared, and as nobody may write a shared page, a partly
   * filled one is copied (appended to `copies`), if there is a page for the copy. Returns how many tokens the table has then.
   */
  fork(table: PageTable, source: PageTable, tokens: number, copies: PageCopies): number {
    const full = Math.floor(tokens / this.pageSize)
    for (const page of source.pages.subarray(0, full)) {
      this.use(page)
      table.push(page)
    }
    table.shared = Math.min(source.shared, full)
    if (this.reserve(table, tokens) < tokens) return full * this.pageSize
    if (table.length > full) {
      copies.from.push(source.pages[full]!)
      copies.to.push(table.pages[full]!)
    }
    return tokens
  }

  /** Gives all pages of a table back and leaves it empty. Its nodes stay cached until their pages are needed. */
  release(table: PageTable): void {
    // The last page first: a node becomes idle after its children, and the first page of this table is the next one taken.
    while (table.length > 0) this.drop(table.pages[--table.length]!)
    table.shared = table.sent = 0
  }

  snapshot(): PrefixSnapshot {
    const pages = Int32Array.from(this.tree.nodesByUse())
    const places = new Map([...pages].map((page, place) => [page, place]))
    const tokens = new Int32Array(pages.length * this.pageSize)
    for (const [place, page] of pages.entries()) tokens.set(this.tree.tokensOf(page), place * this.pageSize)
    return {
      pages,
      serials: Float64Array.from(pages, (page) => this.tree.serialOf(page)),
      parents: pages.map((page) => places.get(this.tree.parentOf(page)) ?? -1),
      tokens,
      salts: Array.from(pages, (page) => this.tree.saltOf(page)),
    }
  }

  has({ page, serial }: CachedPage): boolean {
    return this.tree.has(page) && this.tree.serialOf(page) === serial
  }

  insert(parent: CachedPage | undefined, tokens: Int32Array, salt: string) {
    if (!this.prefixCache || (parent && !this.has(parent))) return undefined
    const at = parent ? parent.page : ROOT
    const there = this.tree.find(at, tokens, 0, salt)
    if (there !== NONE) return { page: this.cachedPage(there), isNew: false }
    if (this.pool.free === 0) return undefined
    const page = this.tree.publish(this.pool.take(), at, tokens, 0, salt)
    this.tree.restAsOldest(page)
    return { page: this.cachedPage(page), isNew: true }
  }

  /** free + cached + private === total */
  counts(): PageCounts {
    const { total, free } = this.pool
    const cached = this.tree.nodes
    return { total, free, cached, private: total - free - cached }
  }

  /**
   * Throws unless exactly these tables hold all references, all tree pages hold the tokens of the tables that name them, and every page with
   * several references is full in all of them. For tests.
   * @param tables with the tokens of their sequences, and how many of those are stored through the table
   */
  check(tables: readonly { table: PageTable; tokens: Int32Array; stored: number }[]): void {
    this.pool.check()
    this.tree.check((page) => this.pool.referencesOf(page))
    const references = new Int32Array(this.pool.total)
    for (const { table } of tables) for (const page of table.pages.subarray(0, table.length)) references[page]!++
    for (const [page, count] of references.entries()) {
      const counted = this.pool.referencesOf(page)
      if (counted !== count) throw new Error(`page ${page} has ${counted} references, ${count} tables name it`)
    }
    let named = 0
    for (let page = 0; page < this.pool.total; page++) if (references[page]! > 0 || this.tree.has(page)) named++
    if (named + this.pool.free !== this.pool.total) throw new Error('a page is neither free nor cached nor named')
    for (const { table, tokens, stored } of tables) this.checkTable(table, tokens, stored, references)
  }

  private checkTable(table: PageTable, tokens: Int32Array, stored: number, references: Int32Array): void {
    const S = this.pageSize
    for (let i = 0; i < table.length; i++) {
      const page = table.pages[i]!
      if (this.tree.has(page) !== i < table.shared)
        throw new Error(`page ${i} of a table: shared ${table.shared}, is it?`)
      if (i >= table.shared) {
        if (references[page]! > 1 && (i + 1) * S > stored) throw new Error(`page ${page} is shared but not full`)
        continue
      }
      const parent = i === 0 ? ROOT : table.pages[i - 1]
      if (this.tree.parentOf(page) !== parent) throw new Error(`page ${page} stands in a table behind ${parent}`)
      const own = tokens.subarray(i * S, (i + 1) * S)
      if (this.tree.tokensOf(page).join() !== own.join()) throw new Error(`page ${page} holds other tokens`)
    }
  }

  private canPublish(table: PageTable, end: number): boolean {
    return this.prefixCache && table.shared < table.length && (table.shared + 1) * this.pageSize <= end
  }

  private publishNext(table: PageTable, tokens: Int32Array): number {
    const at = table.shared
    const parent = at === 0 ? ROOT : table.pages[at - 1]!
    return this.tree.publish(table.pages[at]!, parent, tokens, at * this.pageSize, table.salt)
  }

  private cachedPage(page: number): CachedPage {
    return { page, serial: this.tree.serialOf(page) }
  }

  private use(page: number): void {
    if (this.pool.retain(page) === 1) this.tree.wake(page)
  }

  private drop(page: number): void {
    if (this.pool.release(page) > 0) return
    if (this.tree.has(page)) this.tree.rest(page)
    else this.pool.give(page)
  }
}

function lastOf(table: PageTable): number {
  return table.length === 0 ? ROOT : table.pages[table.length - 1]!
}
