/**
 * A prefix tree and a device in memory, slow and plain. The KV of a page is a function of everything before it, so whoever holds a wrong page, or the
 * right one with wrong bytes, is found out.
 */
import type { CachedPage, PrefixSnapshot, PrefixStore } from '../../lib/cache/prefix-store'
import { type PageFormat, pageBytesOf } from '../../lib/prefixes/file-format'
import type { PageDoor } from '../../lib/prefixes/prefixes'
import { Random } from '../reference/random'

/** Pages of 64 bytes. */
export const SMALL: PageFormat = {
  model: 'abc',
  kvDtype: 'f32',
  kvScales: 'none',
  pageSize: 2,
  layers: 1,
  kvHeads: 1,
  headDim: 4,
  numerics: 'cpu test',
}
/** Pages of 4 MiB. */
export const LARGE: PageFormat = { ...SMALL, pageSize: 64, layers: 8, kvHeads: 8, headDim: 128 }
export const VOCAB = 100

interface Node extends CachedPage {
  /** Salt and tokens of everything up to the end of this page. */
  path: string
  parent: Node | undefined
  tokens: Int32Array
  salt: string
}

export class MemoryCache implements PrefixStore, PageDoor {
  readonly pageBytes: number
  /** In the tree, most recently used first. */
  nodes: Node[] = []
  /** What is written on the device. */
  readonly memory: (Uint8Array | undefined)[]
  readonly reads: Int32Array[] = []
  readonly writes: Int32Array[] = []
  /** Calls of the door that were under way at the same time. */
  mostCalls = 0
  /** Called at the end of each call of the door, before its promise settles: what an engine does meanwhile. */
  onCall: () => void = () => {}
  /** Pages that stood in the tree at the end of a turn without having been given to the device. */
  readonly exposed: number[] = []
  private serials = 0
  private calls = 0
  private device: Promise<unknown> = Promise.resolve()
  private readonly ordered = new Set<number>()

  constructor(
    readonly format: PageFormat,
    readonly capacity: number,
  ) {
    this.pageBytes = pageBytesOf(format)
    this.memory = new Array(capacity).fill(undefined)
  }

  /** Caches the full pages of a prompt, as a request would. */
  add(tokens: ArrayLike<number>, salt = ''): void {
    const { pageSize } = this.format
    let parent: CachedPage | undefined
    for (let end = pageSize; end <= tokens.length; end += pageSize) {
      const own = Int32Array.from({ length: pageSize }, (_, i) => tokens[end - pageSize + i]!)
      const inserted = this.insert(parent, own, salt)!
      const node = this.nodeOf(inserted.page)!
      this.memory[node.page] = kvOf(node.path, this.pageBytes)
      this.ordered.add(node.page)
      parent = node
    }
    // Used last, all of it: to the front, parents first.
    const path = new Set<Node>()
    for (let node = parent && this.nodeOf(parent); node; node = node.parent) path.add(node)
    this.nodes = [...[...path].reverse(), ...this.nodes.filter((node) => !path.has(node))]
  }

  /** Evicts the least recently used leaf, whose page is then written by somebody else. */
  evict(): void {
    const leaf = this.nodes.findLast((node) => !this.nodes.some(({ parent }) => parent === node))
    if (!leaf) return
    this.nodes = this.nodes.filter((node) => node !== leaf)
    this.ordered.delete(leaf.page)
    void this.order(() => {
      this.memory[leaf.page] = new Uint8Array(this.pageBytes).fill(0xee)
    })
  }

  /** [path, KV is right] of all pages in the tree, in the order of their use. */
  contents(): [string, boolean][] {
    return this.nodes.map(({ path, page }) => {
      const found = this.memory[page]
      return [path, found !== undefined && Buffer.from(found).equals(kvOf(path, this.pageBytes))]
    })
  }

  snapshot(): PrefixSnapshot {
    return {
      pages: Int32Array.from(this.nodes, ({ page }) => page),
      serials: Float64Array.from(this.nodes, ({ serial }) => serial),
      parents: Int32Array.from(this.nodes, ({ parent }) => (parent ? this.nodes.indexOf(parent) : -1)),
      tokens: Int32Array.from(this.nodes.flatMap(({ tokens }) => [...tokens])),
      salts: this.nodes.map(({ parent, salt }) => (parent ? '' : salt)),
    }
  }

  has(page: CachedPage): boolean {
    return this.nodeOf(page) !== undefined
  }

  insert(under: CachedPage | undefined, tokens: Int32Array, salt: string) {
    const parent = under && this.nodeOf(under)
    if (under && !parent) return undefined
    const path = `${parent ? parent.path : salt}/${tokens.join()}`
    const existing = this.nodes.find((node) => node.path === path)
    if (existing) return { page: existing, isNew: false }
    const page = this.freePage()
    if (page === undefined) return undefined
    const node = { page, serial: ++this.serials, path, parent, tokens: tokens.slice(), salt }
    this.nodes.push(node)
    queueMicrotask(() => {
      if (!this.ordered.has(page)) this.exposed.push(page)
    })
    return { page: node, isNew: true }
  }

  readPages(pages: Int32Array): Promise<Uint8Array> {
    this.reads.push(pages)
    return this.call(() => Buffer.concat(Array.from(pages, (page) => this.memory[page]!)))
  }

  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void> {
    this.writes.push(pages)
    for (const page of pages) this.ordered.add(page)
    return this.call(() => {
      for (const [i, page] of pages.entries()) {
        this.memory[page] = bytes.slice(i * this.pageBytes, (i + 1) * this.pageBytes)
      }
    })
  }

  private async call<T>(work: () => T): Promise<T> {
    this.mostCalls = Math.max(this.mostCalls, ++this.calls)
    try {
      return await this.order(work)
    } finally {
      this.calls--
      this.onCall()
    }
  }

  /** The device runs what it is told in order, and later than it is told. */
  private order<T>(work: () => T): Promise<T> {
    const done = this.device.then(() => new Promise((resolve) => setImmediate(resolve))).then(work)
    this.device = done.catch(() => {})
    return done
  }

  private freePage(): number | undefined {
    const taken = new Set(this.nodes.map(({ page }) => page))
    const page = this.memory.findIndex((_, i) => !taken.has(i))
    return page < 0 ? undefined : page
  }

  private nodeOf({ page, serial }: CachedPage): Node | undefined {
    return this.nodes.find((node) => node.page === page && node.serial === serial)
  }
}

/** The KV of the last page of a path: 64 random bytes, over and over. */
function kvOf(path: string, bytes: number): Uint8Array {
  let seed = bytes
  for (let i = 0; i < path.length; i++) seed = Math.imul(seed, 31) + path.charCodeAt(i)
  const random = new Random(seed)
  return Buffer.alloc(
    bytes,
    Uint8Array.from({ length: 64 }, () => random.integer(256)),
  )
}
