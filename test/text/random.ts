/** Repeatable choices for property tests (mulberry32). */
export class Random {
  constructor(private state: number) {}

  /** In [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** A whole number in [0, n). */
  below(n: number): number {
    return Math.floor(this.next() * n)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }

  list<T>(maxLength: number, make: () => T): T[] {
    return Array.from({ length: this.below(maxLength + 1) }, make)
  }

  /** Cuts text into pieces, empty ones included. */
  chunks(text: string, maxLength: number): string[] {
    const pieces: string[] = []
    for (let at = 0; at < text.length; ) {
      const length = this.below(maxLength + 1)
      pieces.push(text.slice(at, at + length))
      at += length
    }
    return pieces
  }
}
