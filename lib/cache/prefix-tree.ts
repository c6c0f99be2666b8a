/**
 * Which page holds the K and V of which tokens: a tree with one node per full page. A node is named by its page, so everything is
 * kept in arrays over pages, and nothing is allocated as it grows.
 *
 * A node is found by its parent and its tokens: by their hash, then by comparing them. First pages are told apart by their salt too;
 * what stands below is apart by its parents.
 *
 * Nodes that nobody uses are idle and wait in the order in which they may go. A node becomes idle after its children, so it stands
 * behind them, and the first in the order is always a leaf: no search for one.
 */

/** The parent of first pages; no page. */
export const ROOT = -1
/** In the place of a page: there is none. */
export const NONE = -1

const ABSENT = -2 // as a parent: the page is no node

export class PrefixTree {
  private readonly pageSize: number
  private readonly parents: Int32Array // [P]
  private readonly tokens: Int32Array // [P * S]
  private readonly hashes: Int32Array // [P]
  private readonly buckets: Int32Array // [a power of two] the first node of each hash
  private readonly nextInBucket: Int32Array // [P]
  /** [P] which content the page has: a number that no other content ever had or will have. */
  private readonly serials: Float64Array
  private serial = 0
  /** Salts of first pages that have one. */
  private readonly salts = new Map<number, string>()
  /** [P + 1] a ring of the idle nodes in the order in which they may go. Its head is entry P. */
  private readonly nextIdle: Int32Array
  private readonly previousIdle: Int32Array
  private readonly head: number
  private idleCount = 0
  private nodeCount = 0

  constructor(pages: number, pageSize: number) {
    this.pageSize = pageSize
    this.parents = new Int32Array(pages).fill(ABSENT)
    this.tokens = new Int32Array(pages * pageSize)
    this.hashes = new Int32Array(pages)
    this.serials = new Float64Array(pages)
    this.buckets = new Int32Array(2 ** Math.ceil(Math.log2(2 * pages))).fill(NONE)
    this.nextInBucket = new Int32Array(pages)
    this.nextIdle = new Int32Array(pages + 1).fill(NONE)
    this.previousIdle = new Int32Array(pages + 1)
    this.head = pages
    this.nextIdle[this.head] = this.previousIdle[this.head] = this.head
  }

  get nodes(): number {
    return this.nodeCount
  }

  get idle(): number {
    return this.idleCount
  }

  /** The idle leaf that may go first; NONE where there is none. */
  get oldest(): number {
    return this.idleCount > 0 ? this.nextIdle[this.head]! : NONE
  }

  has(page: number): boolean {
    return this.parents[page] !== ABSENT
  }

  /** The node under `parent` that holds the page of tokens from `from` on; NONE where there is none. */
  find(parent: number, tokens: Int32Array, from: number, salt: string): number {
    return this.lookUp(this.hash(parent, tokens, from, salt), parent, tokens, from, salt)
  }

  /** Makes `page`, whose parent is in use, the node of these tokens, in use; or returns the node that there is already. */
  publish(page: number, parent: number, tokens: Int32Array, from: number, salt: string): number {
    const hash = this.hash(parent, tokens, from, salt)
    const there = this.lookUp(hash, parent, tokens, from, salt)
    if (there !== NONE) return there
    const bucket = hash & (this.buckets.length - 1)
    this.parents[page] = parent
    this.hashes[page] = hash
    this.serials[page] = ++this.serial
    this.tokens.set(tokens.subarray(from, from + this.pageSize), page * this.pageSize)
    this.nextInBucket[page] = this.buckets[bucket]!
    this.buckets[bucket] = page
    if (parent === ROOT && salt !== '') this.salts.set(page, salt)
    this.nodeCount++
    return page
  }

  /** Nobody uses the node any more; its children are idle already. */
  rest(page: number): void {
    this.insertIdle(page, this.previousIdle[this.head]!)
  }

  /** A node that nobody has used and that has no children: it goes before all others. */
  restAsOldest(page: number): void {
    this.insertIdle(page, this.head)
  }

  /** Somebody uses the idle node again, and its parent already. */
  wake(page: number): void {
    const next = this.nextIdle[page]!
    const previous = this.previousIdle[page]!
    this.nextIdle[previous] = next
    this.previousIdle[next] = previous
    this.idleCount--
  }

  /** The oldest leaf is no node any more: its page. */
  evict(): number {
    const page = this.oldest
    this.wake(page)
    const bucket = this.hashes[page]! & (this.buckets.length - 1)
    if (this.buckets[bucket] === page) this.buckets[bucket] = this.nextInBucket[page]!
    else {
      let before = this.buckets[bucket]!
      while (this.nextInBucket[before] !== page) before = this.nextInBucket[before]!
      this.nextInBucket[before] = this.nextInBucket[page]!
    }
    this.parents[page] = ABSENT
    this.salts.delete(page)
    this.nodeCount--
    return page
  }

  parentOf(page: number): number {
    return this.parents[page]!
  }

  tokensOf(page: number): Int32Array {
    return this.tokens.subarray(page * this.pageSize, (page + 1) * this.pageSize)
  }

  /** Which content the page has: a number that no other content ever has. */
  serialOf(page: number): number {
    return this.serials[page]!
  }

  /** Of a first page; '' where it has none. */
  saltOf(page: number): string {
    return this.salts.get(page) ?? ''
  }

  /** The idle nodes, the one that may go first first. */
  *idleNodes(): IterableIterator<number> {
    for (let page = this.nextIdle[this.head]!; page !== this.head; page = this.nextIdle[page]!) yield page
  }

  /** All nodes, each behind its parent: those in use, then the idle ones, the most recently used first. */
  nodesByUse(): number[] {
    const idle = [...this.idleNodes()].reverse()
    const isIdle = new Set(idle)
    const depths = new Map<number, number>()
    const depthOf = (page: number): number => {
      const path: number[] = []
      let at = page
      for (; at !== ROOT && !depths.has(at); at = this.parents[at]!) path.push(at)
      let depth = at === ROOT ? 0 : depths.get(at)!
      for (const node of path.reverse()) depths.set(node, ++depth)
      return depth
    }
    const used: number[] = []
    for (let page = 0; page < this.parents.length; page++) if (this.has(page) && !isIdle.has(page)) used.push(page)
    used.sort((a, b) => depthOf(a) - depthOf(b))
    return [...used, ...idle]
  }

  /**
   * Throws where the tree is not sound: a node whose parent is none or is less in use than itself, two nodes of the same tokens, a node that
   * cannot be found, or an idle one that would go before its children. O(P): for tests.
   */
  check(references: (page: number) => number): void {
    const goes = new Map([...this.idleNodes()].map((page, order) => [page, order]))
    if (goes.size !== this.idleCount) throw new Error(`${goes.size} idle nodes, ${this.idleCount} counted`)
    let nodes = 0
    for (let page = 0; page < this.parents.length; page++) {
      if (!this.has(page)) {
        if (goes.has(page) || this.salts.has(page)) throw new Error(`page ${page} is idle or salted, and no node`)
        continue
      }
      nodes++
      const parent = this.parents[page]!
      if (goes.has(page) !== (references(page) === 0)) throw new Error(`node ${page} is idle and in use, or neither`)
      if (this.find(parent, this.tokensOf(page), 0, this.saltOf(page)) !== page)
        throw new Error(`node ${page} is not found`)
      if (parent === ROOT) continue
      if (!this.has(parent)) throw new Error(`the parent ${parent} of node ${page} is no node`)
      if (references(parent) < references(page))
        throw new Error(`node ${page} is more in use than its parent ${parent}`)
      if (goes.has(parent) && goes.get(parent)! < goes.get(page)!) throw new Error(`${parent} goes before its child`)
    }
    if (nodes !== this.nodeCount) throw new Error(`${nodes} nodes, ${this.nodeCount} counted`)
  }

  private insertIdle(page: number, after: number): void {
    const before = this.nextIdle[after]!
    this.nextIdle[after] = page
    this.previousIdle[page] = after
    this.nextIdle[page] = before
    this.previousIdle[before] = page
    this.idleCount++
  }

  private lookUp(hash: number, parent: number, tokens: Int32Array, from: number, salt: string): number {
    let page = this.buckets[hash & (this.buckets.length - 1)]!
    while (page !== NONE && !(this.hashes[page] === hash && this.holds(page, parent, tokens, from, salt))) {
      page = this.nextInBucket[page]!
    }
    return page
  }

  private holds(page: number, parent: number, tokens: Int32Array, from: number, salt: string): boolean {
    if (this.parents[page] !== parent) return false
    if (parent === ROOT && this.saltOf(page) !== salt) return false
    const own = this.tokens
    const start = page * this.pageSize
    for (let i = 0; i < this.pageSize; i++) if (own[start + i] !== tokens[from + i]) return false
    return true
  }

  private hash(parent: number, tokens: Int32Array, from: number, salt: string): number {
    let hash = parent
    if (parent === ROOT) for (let i = 0; i < salt.length; i++) hash = mix(hash, salt.charCodeAt(i))
    const end = from + this.pageSize
    let i = from
    // Four at a time: of what a token costs, only the mixing has to wait for the token before.
    for (; i + 4 <= end; i += 4) {
      const pair = tokens[i]! + Math.imul(tokens[i + 1]!, 0x9e3779b1)
      const next = Math.imul(tokens[i + 2]!, 0x85ebca6b) + Math.imul(tokens[i + 3]!, 0xc2b2ae35)
      hash = mix(hash, (pair + next) | 0)
    }
    for (; i < end; i++) hash = mix(hash, tokens[i]!)
    return hash
  }
}

/** A step of FNV-1a over words, with the high bits brought down. */
function mix(hash: number, value: number): number {
  const product = Math.imul(hash ^ value, 0x01000193)
  return product ^ (product >>> 15)
}
