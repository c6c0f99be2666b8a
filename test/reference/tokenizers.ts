/** Tokenizers to test against: @huggingface/tokenizers as the truth, and tokenizer.json files of several kinds, trained in a moment. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Tokenizer as Oracle } from '@huggingface/tokenizers'

export const PATTERNS = {
  nano: String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
  o200k: [
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
    String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
    String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  ].join('|'),
  cl100k: String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  possessive: String.raw`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`,
} as const

/** M2's control tokens, the last four of which are not special. */
const ADDED = [']!p~[', ']~b]', '[e~[', ']~!b[', '<think>', '</think>', '<minimax:tool_call>', '</minimax:tool_call>']

// biome-ignore lint/suspicious/noExplicitAny: tests bend these files into any shape
export type TokenizerJson = any

/**
 * A tokenizer.json whose merges are learned from `text` in rounds: the most frequent twentieth of all pairs joins, and pairs are counted anew.
 * That is not what a trainer does, but gives as many merges that hang together, in a second.
 */
export function trainTokenizer(pattern: string, text: string, mergeCount: number): TokenizerJson {
  const alphabet = Array.from({ length: 256 }, (_, byte) => byteCharacter(byte))
  const pieces = new Oracle(tokenizerJson(pattern, new Set(alphabet), []), {}).pre_tokenizer!.pre_tokenize(text)
  const counts = new Map<string, number>()
  for (const piece of pieces) counts.set(piece, (counts.get(piece) ?? 0) + 1)
  const words = [...counts].map(([word, count]) => ({ symbols: [...word], count }))
  const merges = new Map<string, number>()
  while (merges.size < mergeCount) {
    const pairs = new Map<string, number>()
    for (const { symbols, count } of words) {
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`
        pairs.set(pair, (pairs.get(pair) ?? 0) + count)
      }
    }
    const ranked = [...pairs].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))
    if (ranked.length === 0) break
    const room = Math.min(mergeCount - merges.size, Math.ceil(ranked.length / 20))
    for (const [pair] of ranked.slice(0, room)) merges.set(pair, merges.size)
    for (const word of words) word.symbols = join(word.symbols, merges)
  }

  const tokens = new Set([...alphabet, ...[...merges.keys()].map((pair) => pair.replace(' ', ''))])
  return tokenizerJson(pattern, tokens, [...merges.keys()])
}

function tokenizerJson(pattern: string, tokens: Set<string>, merges: string[]): TokenizerJson {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: ADDED.map((content, i) => ({
      id: tokens.size + 2 * i, // with holes, as in M2's
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: i < 4,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries([...tokens].map((token, id) => [token, id])),
      merges,
    },
  }
}

/** How the byte is written in a byte-level token, by GPT-2's rule. */
export function byteCharacter(byte: number): string {
  const prints = (b: number) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae
  if (prints(byte)) return String.fromCharCode(byte)
  return String.fromCharCode(256 + Array.from({ length: byte }, (_, b) => b).filter((b) => !prints(b)).length)
}

function join(symbols: string[], merges: ReadonlyMap<string, number>): string[] {
  const joined = [...symbols]
  for (;;) {
    let best = Number.POSITIVE_INFINITY
    let at = -1
    for (let i = 0; i + 1 < joined.length; i++) {
      const rank = merges.get(`${joined[i]} ${joined[i + 1]}`) ?? Number.POSITIVE_INFINITY
      if (rank < best) [best, at] = [rank, i]
    }
    if (at < 0) return joined
    joined.splice(at, 2, joined[at]! + joined[at + 1]!)
  }
}

export function oracleOf(json: TokenizerJson): {
  encode(text: string): number[]
  decode(ids: number[], special: boolean): string
} {
  const oracle = new Oracle(json, { clean_up_tokenization_spaces: false })
  return {
    encode: (text) => oracle.encode(text, { add_special_tokens: false }).ids,
    decode: (ids, special) => (ids.length === 0 ? '' : oracle.decode(ids, { skip_special_tokens: !special })),
  }
}

/** Runs `use` with a folder that holds `json` as tokenizer.json; a string is written as it is. */
export async function withTokenizerFile<T>(json: TokenizerJson, use: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'm2-tokenizer-'))
  try {
    writeFileSync(path.join(dir, 'tokenizer.json'), typeof json === 'string' ? json : JSON.stringify(json))
    return await use(dir)
  } finally {
    rmSync(dir, { recursive: true })
  }
}
