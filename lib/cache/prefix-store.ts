/** What saving and loading prefixes need of the prefix tree. */

/** A page of the tree. It may be evicted and used for other content at any await; its serial, which is never used again, tells. */
export interface CachedPage {
  readonly page: number
  readonly serial: number
}

/** All cached pages, most recently used first. As whoever uses a page uses its ancestors too, parents come before their children. */
export interface PrefixSnapshot {
  pages: Int32Array // [n]
  serials: Float64Array // [n]
  parents: Int32Array // [n]   index, into this list, of the page before it; -1: the first page of a prompt
  tokens: Int32Array // [n, S]
  salts: string[] // [n]   cacheSalt of a first page, '' where there is none; descendants share their first page's
}

export interface PrefixStore {
  snapshot(): PrefixSnapshot
  /** Whether the page still holds what it held. */
  has(page: CachedPage): boolean
  /**
   * Puts a page into the tree, below its parent or, without one, as the first page of prompts with this salt. It takes a free page only and evicts nothing,
   * and counts as used less recently than all that is in the tree. Where the content is in the tree already, that page is the answer.
   * Undefined, and nothing has changed, when no page is free or the parent is gone.
   * A new page can be matched at once: in the same turn, the caller orders its KV to be written before anything else can read it.
   */
  insert(
    parent: CachedPage | undefined,
    tokens: Int32Array,
    salt: string,
  ): { page: CachedPage; isNew: boolean } | undefined
}
