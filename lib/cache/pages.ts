/**
 * The pages of the KV cache, counted. A page is free, held (page tables name it: its references), or neither: then somebody keeps
 * it for its content. Every operation is O(1); nothing here knows what a page holds.
 */
export class PagePool {
  readonly total: number
  /** [P] the free pages are the first `freeCount`: the last one freed is the next one taken, so that pages stay warm. */
  private readonly freeStack: Int32Array
  private readonly references: Int32Array // [P]
  private freeCount: number

  constructor(total: number) {
    this.total = total
    this.freeStack = Int32Array.from({ length: total }, (_, i) => total - 1 - i)
    this.references = new Int32Array(total)
    this.freeCount = total
  }

  get free(): number {
    return this.freeCount
  }

  /** A free page, without references. The caller has looked at `free`. */
  take(): number {
    return this.freeStack[--this.freeCount]!
  }

  /** The page, which nobody names, is free. */
  give(page: number): void {
    this.freeStack[this.freeCount++] = page
  }

  /** One reference more; how many there are now. */
  retain(page: number): number {
    return ++this.references[page]!
  }

  /** One reference less; how many are left. */
  release(page: number): number {
    return --this.references[page]!
  }

  /** References of a page. */
  referencesOf(page: number): number {
    return this.references[page]!
  }

  /** Throws where the books are wrong: a page free twice, free and named, or with references below zero. O(P): for tests. */
  check(): void {
    if (this.freeCount < 0 || this.freeCount > this.total)
      throw new Error(`${this.freeCount} of ${this.total} pages free`)
    const free = new Set<number>()
    for (const page of this.freeStack.subarray(0, this.freeCount)) {
      if (free.has(page)) throw new Error(`page ${page} is free twice`)
      free.add(page)
    }
    for (const [page, references] of this.references.entries()) {
      if (references < 0 || (references > 0 && free.has(page))) {
        throw new Error(`page ${page} has ${references} references and ${free.has(page) ? 'is free' : 'is not free'}`)
      }
    }
  }
}
