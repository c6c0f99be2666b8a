import { atOnce, inPieces } from '../pieces'
import type { Tokenizer } from '../text/tokenizer'
import { Lru } from './lru'
import { type Trie, TrieWriter } from './trie'

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
 * The bytes of a tokenizer's tokens as a trie. Added tokens are not in it: they are no text. Make one per tokenizer and share it: of 200,000 tokens it
 * takes most of a second.
 */
export class Vocabulary {
  /** Length of a mask: one bit for each id. */
  readonly words: number
  /** Masks of rules, by what the rule looks like. */
  readonly locals = new Lru<string, LocalMask>(LOCAL_MASK_BYTES)

  private constructor(
    readonly size: number,
    readonly trie: Trie,
    private readonly texts: PackedTexts,
  ) {
    this.words = Math.ceil(size / 32)
  }

  /** @param size ids that masks have; a model may have more than its tokenizer */
  static of(tokenizer: TokenTable, size = tokenizer.vocabSize): Vocabulary {
    return atOnce(Vocabulary.making(tokenizer, size))
  }

  /** The same, while the event loop goes on. */
  static make(tokenizer: TokenTable, size = tokenizer.vocabSize): Promise<Vocabulary> {
    return inPieces(Vocabulary.making(tokenizer, size))
  }

  private static *making(tokenizer: TokenTable, size: number): Generator<void, Vocabulary> {
    const texts: Uint8Array[] = new Array(size).fill(NO_BYTES)
    const others = new Set([...tokenizer.unusedIds, ...tokenizer.addedTokens.map(({ id }) => id)])
    for (let id = 0; id < tokenizer.vocabSize; id++) {
      if (!others.has(id)) texts[id] = tokenizer.bytesOf(id)
      if (id % 256 === 0) yield
    }
    return new Vocabulary(size, yield* trieOf(texts), packed(texts))
  }

  /** The bytes of a token; none for one that is no text. */
  bytesOf(id: number): Uint8Array {
    const { bytes, offsets } = this.texts
    return id >= 0 && id < this.size ? bytes.subarray(offsets[id], offsets[id + 1]) : NO_BYTES
  }
}

const NO_BYTES = new Uint8Array()

interface PackedTexts {
  bytes: Uint8Array
  offsets: Int32Array
}

function packed(texts: readonly Uint8Array[]): PackedTexts {
  const offsets = new Int32Array(texts.length + 1)
  for (const [id, { length }] of texts.entries()) offsets[id + 1] = offsets[id]! + length
  const bytes = new Uint8Array(offsets[texts.length]!)
  for (const [id, text] of texts.entries()) bytes.set(text, offsets[id])
  return { bytes, offsets }
}

function* trieOf(texts: readonly Uint8Array[]): Generator<void, Trie> {
  const writer = new TrieWriter(
    texts.reduce((sum, { length }) => sum + length, 0),
    texts.length,
  )
  const buckets = yield* bucketsOf(texts)
  for (const key of [...buckets.keys()].sort((a, b) => a - b)) {
    const ids = buckets.get(key)!
    ids.sort((a, b) => Buffer.compare(texts[a]!, texts[b]!) || a - b)
    for (const id of ids) writer.add(id, texts[id]!)
    yield
  }
  return writer.end()
}

/** The ids by the first two bytes of their texts, so that none of the sorts takes long; ascending keys are in the order of the texts. */
function* bucketsOf(texts: readonly Uint8Array[]): Generator<void, Map<number, number[]>> {
  const buckets = new Map<number, number[]>()
  for (const [id, text] of texts.entries()) {
    if (id % 1024 === 0) yield
    const first = text[0]
    const second = text[1] ?? -1
    if (first === undefined) continue
    const key = first * 257 + second + 1
    const bucket = buckets.get(key)
    if (bucket) bucket.push(id)
    else buckets.set(key, [id])
  }
  return buckets
}
