/**
 * The file of saved prefixes. It is safetensors, so that other tools can look into it:
 *
 *   header    4096 bytes; its metadata says what the pages mean: model, layout, numerics
 *   kv        [n, L, 2, Hk, S, D]   as the pages lie on the device
 *   tokens    [n, S] I32
 *   parents   [n] I32               index of the page before it, which is smaller; -1: the first page of a prompt
 *   kv.crc32  [n] U32               of each page
 *   salts     U8                    JSON, padded with spaces: [page, cacheSalt] of the first pages that have one
 *   crc32     [1] U32               of the header and of all that lies between kv and here
 *
 * Pages may leave the cache while the file is written, so their number is known at the end: kv lies before the index, and the header is written last. A
 * reader checks header and index before it looks at the first page. The checksums find accidents, not forgery.
 */
import { DTYPE_BYTES, encodeSafetensorsHeader } from '../model/safetensors'

/** What the bytes of a page mean. Pages of another format are of no use, or would change the tokens that a prompt gets. */
export interface PageFormat {
  /** The fingerprint of the model. */
  model: string
  kvDtype: keyof typeof KV_DTYPES
  /** Which scales the elements of an FP8 cache are multiples of; "none" for others. */
  kvScales: string
  /** Tokens of a page. */
  pageSize: number
  layers: number
  kvHeads: number
  headDim: number
  /** Whatever else decides the bits: device and instruction set. */
  numerics: string
}

/** Which tokens the pages of a file hold, n pages in all. */
export interface PrefixIndex {
  tokens: Int32Array // [n, S]
  parents: Int32Array // [n]
  salts: string[] // [n]   '' where there is none
}

export const HEADER_BYTES = 4096
/** Raised whenever the file changes: a reader takes exactly the header that it would have written. */
const FILE_KIND = { format: 'm2-engine prefixes', version: '2' }
const KV_DTYPES = { f32: 'F32', bf16: 'BF16', fp8: 'F8_E4M3' } as const

export function pageBytesOf({ kvDtype, pageSize, layers, kvHeads, headDim }: PageFormat): number {
  return layers * 2 * kvHeads * pageSize * headDim * DTYPE_BYTES.get(KV_DTYPES[kvDtype])!
}

export function encodeHeader(format: PageFormat, n: number, saltBytes: number): Uint8Array {
  const { kvDtype, pageSize, layers, kvHeads, headDim } = format
  const kvShape = [n, layers, 2, kvHeads, pageSize, headDim]
  const tensors = [
    { name: 'kv', dtype: KV_DTYPES[kvDtype], shape: kvShape, bytes: n * pageBytesOf(format) },
    { name: 'tokens', dtype: 'I32', shape: [n, pageSize], bytes: 4 * n * pageSize },
    { name: 'parents', dtype: 'I32', shape: [n], bytes: 4 * n },
    { name: 'kv.crc32', dtype: 'U32', shape: [n], bytes: 4 * n },
    { name: 'salts', dtype: 'U8', shape: [saltBytes], bytes: saltBytes },
    { name: 'crc32', dtype: 'U32', shape: [1], bytes: 4 },
  ]
  return encodeSafetensorsHeader(tensors, metadataOf(format), HEADER_BYTES)
}

/** First what kind of file it is, then what its pages mean. */
export function metadataOf(format: PageFormat): Record<string, string> {
  return {
    ...FILE_KIND,
    model: format.model,
    kvDtype: format.kvDtype,
    kvScales: format.kvScales,
    pageSize: `${format.pageSize}`,
    layers: `${format.layers}`,
    kvHeads: `${format.kvHeads}`,
    headDim: `${format.headDim}`,
    numerics: format.numerics,
  }
}

export function encodeSalts(salts: readonly string[]): Uint8Array {
  const json = JSON.stringify(salts.flatMap((salt, i) => (salt === '' ? [] : [[i, salt]])))
  return Buffer.from(json + ' '.repeat(-Buffer.byteLength(json) & 3))
}

/** The salts of n pages; null when the text is not what `encodeSalts` writes for first pages. */
export function decodeSalts(text: string, parents: Int32Array): string[] | null {
  const salts: string[] = new Array(parents.length).fill('')
  let pairs: unknown
  try {
    pairs = JSON.parse(text)
  } catch {
    return null
  }
  if (!Array.isArray(pairs)) return null
  for (const pair of pairs) {
    const [page, salt] = Array.isArray(pair) ? pair : []
    if (parents[page] !== -1 || typeof salt !== 'string') return null
    salts[page] = salt
  }
  return salts
}
