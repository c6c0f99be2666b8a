/**
 * The pages of the KV cache, counted. A page is free, or named by one page table or more; whoever names it holds a reference.
 * Every operation is O(1); nothing here knows what a page holds.
 */
export class PagePool {
  readonly total: number
  /** [P] the free pages are the first `freeCount`: the last one freed is the next one taken, so that pages stay warm. */
  private readonly freeStack: Int32Array
  private readonly references: Int32Array // [P] 0: free
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

  /** A free page, with one reference. The caller has looked at `free`. */
  take(): number {
    const page = this.freeStack[--this.freeCount]!
    this.references[page] = 1
    return page
  }

  retain(page: number): void {
    this.references[page]!++
  }

  release(page: number): void {
    if (--this.references[page]! === 0) this.freeStack[this.freeCount++] = page
  }

  /** References of a page; 0 when it is free. */
  referencesOf(page: number): number {
    return this.references[page]!
  }

  /** Throws where the books are wrong: a page both free and in use, lost, or with references below zero. O(P): for tests. */
  check(): void {
    if (this.freeCount < 0 || this.freeCount > this.total)
      throw new Error(`${this.freeCount} of ${this.total} pages free`)
    const isFree = new Uint8Array(this.total)
    for (const page of this.freeStack.subarray(0, this.freeCount)) {
      if (isFree[page]) throw new Error(`page ${page} is free twice`)
      isFree[page] = 1
    }
    for (let page = 0; page < this.total; page++) {
      const references = this.references[page]!
      if (references < 0 || (references === 0) !== (isFree[page] === 1)) {
        throw new Error(`page ${page} has ${references} references and ${isFree[page] ? 'is free' : 'is not free'}`)
      }
    }
  }
}
