/**
 * Texts of tokens as a trie in preorder: node i is followed by its first child, and `end[i]` is the node behind all below it, so that a subtree is skipped
 * in one step.
 */
export interface Trie {
  /** Per node: its byte, how many bytes lead to it, the node behind its subtree, and the token that ends there or -1. */
  readonly byte: Uint8Array
  readonly depth: Uint16Array
  readonly end: Int32Array
  readonly token: Int32Array
  /** Per node: most bytes of a token that ends there or below. */
  readonly deepest: Uint16Array
  /** Per id: the next one with the same bytes, or -1. */
  readonly twin: Int32Array
  /** Most bytes of a token. */
  readonly longest: number
}

export class TrieWriter {
  private readonly byte: Uint8Array
  private readonly depth: Uint16Array
  private readonly ends: Int32Array
  private readonly token: Int32Array
  private readonly deepest: Uint16Array
  private readonly twin: Int32Array
  private readonly path: number[] = [] // the nodes of the token before
  private before = new Uint8Array()
  private last = -1
  private size = 0
  private longest = 1

  /** @param bytes of all texts */
  constructor(bytes: number, ids: number) {
    this.byte = new Uint8Array(bytes)
    this.depth = new Uint16Array(bytes)
    this.ends = new Int32Array(bytes)
    this.token = new Int32Array(bytes).fill(-1)
    this.deepest = new Uint16Array(bytes)
    this.twin = new Int32Array(ids).fill(-1)
  }

  /** The next one in the order of the texts, then of the ids. `bytes` are not empty. */
  add(id: number, bytes: Uint8Array): void {
    const { before, path } = this
    let common = 0
    while (common < bytes.length && common < before.length && bytes[common] === before[common]) common++
    while (path.length > common) this.leave()
    for (let at = common; at < bytes.length; at++) {
      this.byte[this.size] = bytes[at]!
      this.depth[this.size] = at + 1
      path.push(this.size++)
    }
    const node = path.at(-1)!
    this.deepest[node] = Math.max(this.deepest[node]!, bytes.length)
    this.longest = Math.max(this.longest, bytes.length)
    if (this.token[node] === -1) this.token[node] = id
    else this.twin[this.last] = id
    this.last = id
    this.before = bytes as Uint8Array<ArrayBuffer>
  }

  end(): Trie {
    while (this.path.length > 0) this.leave()
    const { size, twin, longest } = this
    return {
      byte: this.byte.slice(0, size),
      depth: this.depth.slice(0, size),
      end: this.ends.slice(0, size),
      token: this.token.slice(0, size),
      deepest: this.deepest.slice(0, size),
      ...{ twin, longest },
    }
  }

  private leave(): void {
    const node = this.path.pop()!
    const parent = this.path.at(-1)
    this.ends[node] = this.size
    if (parent !== undefined) this.deepest[parent] = Math.max(this.deepest[parent]!, this.deepest[node]!)
  }
}
