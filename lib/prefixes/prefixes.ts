/** Cached pages to a file and back, while the engine runs. What is in memory at a time does not grow with the cache. */
import type { CachedPage, PrefixSnapshot, PrefixStore } from '../cache/prefix-store'
import { M2Error } from '../errors'
import { shown } from '../option-values'
import { type PageFormat, type PrefixIndex, pageBytesOf } from './file-format'
import { PrefixFileReader } from './file-reader'
import { PrefixFileWriter } from './file-writer'

/** What saving and loading need of the device, which runs calls in their order: what is called first sees nothing of what is called after it. */
export interface PageDoor {
  /** The KV of these pages, one after the other. */
  readPages(pages: Int32Array): Promise<Uint8Array>
  /**
   * `bytes` stay as they are until the promise settles. A write that fails is a failure of the device: the pages can be matched already, and nobody
   * knows what is in them.
   */
  writePages(pages: Int32Array, bytes: Uint8Array): Promise<void>
}

/** What a call wrote to the file, or took into the cache. */
export interface PrefixCounts {
  pages: number
  tokens: number
}

/** KV in memory at a time; one page where that is larger. */
const CHUNK_BYTES = 8 * 2 ** 20

/**
 * Writes all cached pages, those aside that are evicted before their turn comes. No page is pinned, so nothing that runs has to wait for the disk.
 * @param file may exist: it is replaced when the new one is whole, and stays as it is when anything fails
 * @returns what is in the file
 * @throws {M2Error} BAD_INPUT when the file cannot be written, and what the door throws
 */
export async function savePrefixes(
  file: string,
  format: PageFormat,
  store: PrefixStore,
  door: PageDoor,
): Promise<PrefixCounts> {
  checkPath(file)
  const snapshot = store.snapshot()
  const total = snapshot.pages.length
  const perChunk = pagesPerChunk(format)
  const writer = await PrefixFileWriter.create(file, format)
  try {
    const kept: number[] = []
    for (let first = 0; first < total; first += perChunk) {
      const chunk: number[] = []
      for (let i = first; i < Math.min(first + perChunk, total); i++) {
        if (store.has({ page: snapshot.pages[i]!, serial: snapshot.serials[i]! })) chunk.push(i)
      }
      for (const i of chunk) kept.push(i)
      if (chunk.length === 0) continue
      // In this same turn: whoever is given one of these pages from now on writes to it after it was read.
      const reading = door.readPages(Int32Array.from(chunk, (i) => snapshot.pages[i]!))
      await writer.append(await reading)
    }
    await writer.finish(indexOf(snapshot, kept, format.pageSize))
    return countsOf(kept.length, format)
  } catch (error) {
    await writer.discard()
    throw error
  }
}

/**
 * Takes the pages of a file into the cache, in the file's order, until no page is free: nothing is evicted for them, and the rest of the file is not
 * looked at.
 * @param vocabSize token ids are below it
 * @returns what was taken in: without pages whose content was cached already
 * @throws {M2Error} BAD_INPUT where there is no such file, or it is of another model or format; BAD_CHECKPOINT when it is broken: pages that were
 * taken in before a broken one stay, they are sound; and what the door throws
 */
export async function loadPrefixes(
  file: string,
  format: PageFormat,
  vocabSize: number,
  store: PrefixStore,
  door: PageDoor,
): Promise<PrefixCounts> {
  checkPath(file)
  const reader = await PrefixFileReader.open(file, format, vocabSize)
  try {
    const { tokens, parents, salts } = reader.index
    const { pageSize } = format
    const pageBytes = pageBytesOf(format)
    const perChunk = Math.min(pagesPerChunk(format), parents.length)
    const bytes = new Uint8Array(perChunk * pageBytes)
    const taken: CachedPage[] = []
    let count = 0
    for (let first = 0; first < parents.length && taken.length === first; first += perChunk) {
      const end = Math.min(first + perChunk, parents.length)
      await reader.readPages(first, end - first, bytes)
      // From here to the door in one turn, so that no step can come between a page in the tree and its KV on the device.
      const pages: number[] = []
      for (let i = first; i < end; i++) {
        const own = tokens.subarray(i * pageSize, (i + 1) * pageSize)
        const parent = taken[parents[i]!] // undefined at -1
        const inserted = store.insert(parent, own, salts[i]!)
        if (!inserted) break
        taken.push(inserted.page)
        if (!inserted.isNew) continue
        const begin = (i - first) * pageBytes
        bytes.copyWithin(pages.length * pageBytes, begin, begin + pageBytes)
        pages.push(inserted.page.page)
      }
      if (pages.length > 0) {
        await door.writePages(Int32Array.from(pages), bytes.subarray(0, pages.length * pageBytes))
      }
      count += pages.length
    }
    return countsOf(count, format)
  } finally {
    await reader.close()
  }
}

function checkPath(file: unknown): void {
  if (typeof file === 'string' && file !== '' && !file.includes('\0')) return
  throw new M2Error('BAD_INPUT', `path: expected the path of a file, found ${shown(file)}`)
}

function pagesPerChunk(format: PageFormat): number {
  return Math.max(1, Math.floor(CHUNK_BYTES / pageBytesOf(format)))
}

function countsOf(pages: number, { pageSize }: PageFormat): PrefixCounts {
  return { pages, tokens: pages * pageSize }
}

/** The index of those pages of a snapshot that are in the file. The parent of a page that was still cached was so too, and was kept before it. */
function indexOf(snapshot: PrefixSnapshot, kept: readonly number[], pageSize: number): PrefixIndex {
  const places = new Int32Array(snapshot.pages.length).fill(-1)
  const tokens = new Int32Array(kept.length * pageSize)
  const parents = new Int32Array(kept.length)
  for (const [place, i] of kept.entries()) {
    places[i] = place
    const parent = snapshot.parents[i]!
    parents[place] = parent < 0 ? -1 : places[parent]!
    tokens.set(snapshot.tokens.subarray(i * pageSize, (i + 1) * pageSize), place * pageSize)
  }
  return { tokens, parents, salts: kept.map((i) => snapshot.salts[i]!) }
}
