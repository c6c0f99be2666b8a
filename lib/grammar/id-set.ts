import type { Allowed, Vocabulary } from './vocabulary'

/** Ids of tokens, with those that have the same bytes. */
export class IdSet {
  private readonly bits: Int32Array

  constructor(private readonly vocabulary: Vocabulary) {
    this.bits = new Int32Array(vocabulary.words)
  }

  add(first: number): void {
    for (let id = first; id !== -1; id = this.vocabulary.twin[id]!) this.bits[id >> 5]! |= 1 << (id & 31)
  }

  addAll(allowed: Allowed): void {
    if ('ids' in allowed) for (const id of allowed.ids) this.bits[id >> 5]! |= 1 << (id & 31)
    else for (let word = 0; word < this.bits.length; word++) this.bits[word]! |= allowed.bits[word]!
  }

  /** Takes out the tokens at nodes `from` to `to` of the trie. */
  removeNodes(from: number, to: number): void {
    const { token, twin } = this.vocabulary
    for (let node = from; node < to; node++) {
      for (let id = token[node]!; id !== -1; id = twin[id]!) this.bits[id >> 5]! &= ~(1 << (id & 31))
    }
  }

  /** As bits, or as a list where that is smaller. */
  taken(): Allowed {
    const ids: number[] = []
    for (let word = 0; word < this.bits.length; word++) {
      for (let rest = this.bits[word]!; rest !== 0; rest &= rest - 1)
        ids.push(word * 32 + 31 - Math.clz32(rest & -rest))
      if (ids.length >= this.bits.length) return { bits: this.bits }
    }
    return { ids: Int32Array.from(ids) }
  }
}

export const sizeOf = (allowed: Allowed): number => ('ids' in allowed ? allowed.ids : allowed.bits).byteLength + 100
