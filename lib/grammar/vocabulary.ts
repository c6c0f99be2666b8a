import type { Tokenizer } from '../text/tokenizer'
import { Lru } from './lru'

/** What of a tokenizer grammars need. */
export type TokenTable = Pick<Tokenizer, 'vocabSize' | 'addedTokens' | 'unusedIds' | 'bytesOf'>

/** What one rule allows whatever stands around it; see masks.ts. */
export interface LocalMask {
  readonly allowed: Allowed
  /** Nodes of the trie where the rule may be over, ascending. */
  readonly leaves: Int32Array
}

/** A set of ids: listed where they are few, else as bits. */
export type Allowed = { readonly ids: Int32Array } | { readonly bits: Int32Array }

/** Bytes of masks of rules that are kept. */
const LOCAL_MASK_BYTES = 32 << 20

/**
 * The bytes of a tokenizer's tokens as a trie, in preorder: node i is followed by its first child, and `end[i]` is the node behind all below it, so
 * that a subtree is skipped in one step. Added tokens are not in it: they are no text. Make one per tokenizer and share it.
 */
export class Vocabulary {
  readonly size: number
  /** Length of a mask: one bit for each id. */
  readonly words: number
  /** Most bytes of a token. */
  readonly longest: number
  /** Per node: its byte, how many bytes lead to it, the node behind its subtree, and the token that ends there or -1. */
  readonly byte: Uint8Array
  readonly depth: Uint16Array
  readonly end: Int32Array
  readonly token: Int32Array
  /** Per node: most bytes of a token that ends there or below. */
  readonly deepest: Uint16Array
  /** Per id: the next one with the same bytes, or -1. */
  readonly twin: Int32Array
  /** Masks of rules, by what the rule looks like. */
  readonly locals = new Lru<string, LocalMask>(LOCAL_MASK_BYTES)
  readonly #bytes: Uint8Array
  readonly #offsets: Int32Array

  /** @param size ids that masks have; a model may have more than its tokenizer */
  constructor(tokenizer: TokenTable, size = tokenizer.vocabSize) {
    this.size = size
    this.words = Math.ceil(this.size / 32)
    this.twin = new Int32Array(this.size).fill(-1)
    const texts = textTokens(tokenizer)
    this.#offsets = new Int32Array(this.size + 1)
    for (let id = 0; id < this.size; id++) this.#offsets[id + 1] = this.#offsets[id]! + (texts[id]?.length ?? 0)
    this.#bytes = new Uint8Array(this.#offsets[this.size]!)
    for (const [id, bytes] of texts.entries()) if (bytes) this.#bytes.set(bytes, this.#offsets[id])
    const ids = [...texts.keys()].filter((id) => texts[id] !== undefined)
    ids.sort((a, b) => Buffer.compare(texts[a]!, texts[b]!) || a - b)
    this.longest = ids.reduce((most, id) => Math.max(most, texts[id]!.length), 1)
    const trie = trieOf(ids, texts, this.twin)
    this.byte = trie.byte
    this.depth = trie.depth
    this.end = trie.end
    this.token = trie.token
    this.deepest = trie.deepest
  }

  /** The bytes of a token; none for one that is no text. */
  bytesOf(id: number): Uint8Array {
    return id >= 0 && id < this.size ? this.#bytes.subarray(this.#offsets[id], this.#offsets[id + 1]) : new Uint8Array()
  }
}

function textTokens(tokenizer: TokenTable): (Uint8Array | undefined)[] {
  const others = new Set([...tokenizer.unusedIds, ...tokenizer.addedTokens.map(({ id }) => id)])
  return Array.from({ length: tokenizer.vocabSize }, (_, id) => {
    const bytes = others.has(id) ? undefined : tokenizer.bytesOf(id)
    return bytes?.length ? bytes : undefined
  })
}

/** `ids` in the order of their bytes. */
function trieOf(ids: readonly number[], texts: readonly (Uint8Array | undefined)[], twin: Int32Array) {
  const most = ids.reduce((sum, id) => sum + texts[id]!.length, 0)
  const byte = new Uint8Array(most)
  const depth = new Uint16Array(most)
  const end = new Int32Array(most)
  const token = new Int32Array(most).fill(-1)
  const path: number[] = [] // the nodes of the token before
  let before: Uint8Array = new Uint8Array()
  const deepest = new Uint16Array(most)
  let size = 0
  let last = -1
  const leave = () => {
    const node = path.pop()!
    const parent = path.at(-1)
    end[node] = size
    if (parent !== undefined) deepest[parent] = Math.max(deepest[parent]!, deepest[node]!)
  }
  for (const id of ids) {
    const bytes = texts[id]!
    let common = 0
    while (common < bytes.length && common < before.length && bytes[common] === before[common]) common++
    while (path.length > common) leave()
    for (let at = common; at < bytes.length; at++) {
      byte[size] = bytes[at]!
      depth[size] = at + 1
      path.push(size++)
    }
    const node = path.at(-1)!
    deepest[node] = Math.max(deepest[node]!, bytes.length)
    if (token[node] === -1) token[node] = id
    else twin[last] = id
    last = id
    before = bytes
  }
  while (path.length > 0) leave()
  return {
    byte: byte.slice(0, size),
    depth: depth.slice(0, size),
    end: end.slice(0, size),
    token: token.slice(0, size),
    deepest: deepest.slice(0, size),
  }
}
