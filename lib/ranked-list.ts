import { compareRank, type Sequence } from './sequence'

/** Sequences by rank, best first. No two have the same rank. */
export class RankedList {
  private readonly list: Sequence[] = []

  get length(): number {
    return this.list.length
  }

  get best(): Sequence | undefined {
    return this.list[0]
  }

  get worst(): Sequence | undefined {
    return this.list.at(-1)
  }

  at(index: number): Sequence {
    return this.list[index]!
  }

  [Symbol.iterator](): IterableIterator<Sequence> {
    return this.list.values()
  }

  add(sequence: Sequence): void {
    this.list.splice(this.placeOf(sequence), 0, sequence)
  }

  /** The sequence must be in the list. */
  remove(sequence: Sequence): void {
    this.list.splice(this.placeOf(sequence), 1)
  }

  /** How many of the list rank before the sequence. New arrivals mostly go last, so that is looked at first. */
  private placeOf(sequence: Sequence): number {
    let low = 0
    let high = this.list.length
    if (high > 0 && compareRank(this.list[high - 1]!, sequence) < 0) return high
    while (low < high) {
      const middle = (low + high) >> 1
      if (compareRank(this.list[middle]!, sequence) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
