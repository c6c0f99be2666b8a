import type { Allowed, Vocabulary } from './vocabulary'

/** Ids of tokens, with those that have the same bytes: a list while they are few, then bits. */
export class IdSet {
  private readonly list: number[] = []
  private bits: Int32Array | undefined

  constructor(private readonly vocabulary: Vocabulary) {}

  add(first: number): void {
    for (let id = first; id !== -1; id = this.vocabulary.trie.twin[id]!) {
      if (this.bits) this.bits[id >> 5]! |= 1 << (id & 31)
      else if (this.list.push(id) === this.vocabulary.words) this.asBits()
    }
  }

  addAll(allowed: Allowed): void {
    const bits = this.asBits()
    if ('ids' in allowed) for (const id of allowed.ids) bits[id >> 5]! |= 1 << (id & 31)
    else for (let word = 0; word < bits.length; word++) bits[word]! |= allowed.bits[word]!
  }

  /** Takes out the tokens at nodes `from` to `to` of the trie. */
  removeNodes(from: number, to: number): void {
    const { token, twin } = this.vocabulary.trie
    const bits = this.asBits()
    for (let node = from; node < to; node++) {
      for (let id = token[node]!; id !== -1; id = twin[id]!) bits[id >> 5]! &= ~(1 << (id & 31))
    }
  }

  taken(): Allowed {
    return this.bits ? { bits: this.bits } : { ids: Int32Array.from(this.list) }
  }

  private asBits(): Int32Array {
    if (!this.bits) {
      this.bits = new Int32Array(this.vocabulary.words)
      for (const id of this.list) this.bits[id >> 5]! |= 1 << (id & 31)
    }
    return this.bits
  }
}

export const sizeOf = (allowed: Allowed): number => ('ids' in allowed ? allowed.ids : allowed.bits).byteLength + 100
