/** Reading a file of saved prefixes: its index is checked before it opens, each page before it is given out. */
import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { M2Error } from '../errors'
import { isObject, shown } from '../model/json-fields'
import { readFully, readSafetensorsHeader, type SafetensorsHeader } from '../model/safetensors'
import { decodeSalts, encodeHeader, metadataOf, type PageFormat, type PrefixIndex, pageBytesOf } from './file-format'

/** Of an index, which is held in memory: that of a quarter of a billion tokens. */
const MAX_INDEX_BYTES = 2 ** 30

export class PrefixFileReader {
  private constructor(
    private readonly file: string,
    private readonly handle: FileHandle,
    private readonly kvOffset: number,
    private readonly pageBytes: number,
    private readonly checksums: Uint32Array,
    readonly index: PrefixIndex,
  ) {}

  /** @throws {M2Error} BAD_INPUT where there is no such file, or it is of another kind, model or format; BAD_CHECKPOINT when it is broken. */
  static async open(file: string, format: PageFormat, vocabSize: number): Promise<PrefixFileReader> {
    const handle = await open(file).catch((cause: NodeJS.ErrnoException) => {
      const found = cause.code === 'ENOENT' ? 'no such file' : (cause.code ?? cause.message)
      throw new M2Error('BAD_INPUT', `${file}: expected a file of saved prefixes, found ${found}`, { cause })
    })
    try {
      const header = await readSafetensorsHeader(handle, file)
      checkMetadata(file, header, metadataOf(format), ['format', 'version'])
      const bytes = await readIndexBytes(handle, file, header)
      checkMetadata(file, header, metadataOf(format))
      const { index, checksums } = splitIndex(file, header, bytes, format)
      checkIndex(file, index, vocabSize)
      return new PrefixFileReader(file, handle, header.bytes.length, pageBytesOf(format), checksums, index)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /**
   * The KV of `count` pages, at the beginning of `into`.
   * @throws {M2Error} BAD_CHECKPOINT when a page is not what was written
   */
  async readPages(first: number, count: number, into: Uint8Array): Promise<void> {
    const { file, pageBytes } = this
    await readExactly(this.handle, file, into.subarray(0, count * pageBytes), this.kvOffset + first * pageBytes)
    for (let i = 0; i < count; i++) {
      const found = crc32(into.subarray(i * pageBytes, (i + 1) * pageBytes))
      checkCrc(file, `kv of page ${first + i}`, this.checksums[first + i]!, found)
    }
  }

  async close(): Promise<void> {
    await this.handle.close()
  }
}

/** @param names which of the entries; all by default */
function checkMetadata(
  file: string,
  { metadata }: SafetensorsHeader,
  entries: Record<string, string>,
  names = Object.keys(entries),
): void {
  const its = isObject(metadata) ? metadata : {}
  for (const name of names) {
    if (its[name] === entries[name]) continue
    throw new M2Error('BAD_INPUT', `${file}: ${name}: expected ${shown(entries[name])}, found ${shown(its[name])}`)
  }
}

/** All after kv, without the checksum at its end. That is checked, so header and index are what was once written. */
async function readIndexBytes(handle: FileHandle, file: string, header: SafetensorsHeader): Promise<Uint8Array> {
  const begin = kvEnd(file, header)
  const length = header.fileBytes - begin
  if (length < 4 || length > MAX_INDEX_BYTES) {
    bad(file, 'index', `expected 4 to ${MAX_INDEX_BYTES} bytes after kv, found ${length}`)
  }
  const bytes = new Uint8Array(length)
  await readExactly(handle, file, bytes, begin)
  const expected = new DataView(bytes.buffer).getUint32(length - 4, true)
  const index = bytes.subarray(0, -4)
  checkCrc(file, 'header and index', expected, crc32(index, crc32(header.bytes)))
  return index
}

function kvEnd(file: string, { entries, bytes }: SafetensorsHeader): number {
  const kv = entries.find(({ name }) => name === 'kv')
  if (kv?.offset === bytes.length) return kv.offset + kv.bytes
  return bad(file, 'kv', `expected at byte ${bytes.length}, found ${kv ? `at byte ${kv.offset}` : 'no such tensor'}`)
}

function splitIndex(
  file: string,
  header: SafetensorsHeader,
  { buffer, length }: Uint8Array,
  format: PageFormat,
): { index: PrefixIndex; checksums: Uint32Array } {
  const n = (kvEnd(file, header) - header.bytes.length) / pageBytesOf(format)
  const saltOffset = 4 * n * (format.pageSize + 2)
  // All dtypes, shapes and places at once: there is one header for so many pages.
  if (!header.bytes.equals(encodeHeader(format, n, length - saltOffset))) {
    bad(file, 'header', `expected that of ${n} pages and ${length} bytes of index, found another`)
  }
  const tokens = new Int32Array(buffer, 0, n * format.pageSize)
  const parents = new Int32Array(buffer, tokens.byteLength, n)
  const checksums = new Uint32Array(buffer, tokens.byteLength + parents.byteLength, n)
  const text = Buffer.from(buffer, saltOffset, length - saltOffset)
    .toString()
    .trimEnd()
  const salts =
    decodeSalts(text, parents) ?? bad(file, 'salts', `expected [first page, salt] pairs, found ${shown(text)}`)
  return { index: { tokens, parents, salts }, checksums }
}

/** The order of the parents makes cycles impossible. */
function checkIndex(file: string, { tokens, parents }: PrefixIndex, vocabSize: number): void {
  const page = parents.findIndex((parent, i) => parent < -1 || parent >= i)
  if (page >= 0) bad(file, `parents[${page}]`, `expected -1 or a page before it, found ${parents[page]}`)
  const at = tokens.findIndex((id) => id < 0 || id >= vocabSize)
  if (at >= 0) bad(file, `tokens[${at}]`, `expected ids below ${vocabSize}, found ${tokens[at]}`)
}

function checkCrc(file: string, what: string, expected: number, found: number): void {
  if (found === expected) return
  const hex = (crc: number) => crc.toString(16).padStart(8, '0')
  bad(file, what, `expected the CRC-32 ${hex(expected)}, found ${hex(found)}`)
}

async function readExactly(handle: FileHandle, file: string, into: Uint8Array, position: number): Promise<void> {
  const read = await readFully(handle, into, position).catch((cause: Error) => {
    throw new M2Error('BAD_CHECKPOINT', `${file}: cannot be read: ${cause.message}`, { cause })
  })
  if (read < into.length) bad(file, 'data', `expected ${into.length} bytes from byte ${position} on, found ${read}`)
}

function bad(file: string, what: string, problem: string): never {
  throw new M2Error('BAD_CHECKPOINT', `${file}: ${what}: ${problem}`)
}
