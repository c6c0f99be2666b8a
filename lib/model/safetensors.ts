/**
 * Safetensors headers: 8 bytes of length (little endian), JSON naming each tensor's dtype, shape and byte range, then the
 * bytes. Of a checkpoint only headers are read here; the core maps the bytes itself. A header that does not cover its file
 * exactly, byte for byte, is refused: that is the format's own rule, and it is what tells a truncated download.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { M2Error } from '../errors'
import { isObject, parseObject, shown } from './json-fields'

export interface TensorEntry {
  name: string
  /** As the file writes it: "BF16", "F32", "F8_E4M3", ... */
  dtype: string
  shape: number[]
  /** Bytes from the start of the file. */
  offset: number
  bytes: number
}

export interface SafetensorsHeader {
  entries: TensorEntry[]
  /** What the file says about itself, as it stands there; undefined where it says nothing. */
  metadata: unknown
  /** Length and JSON: all that comes before the tensors. */
  bytes: Buffer
  fileBytes: number
}

/** Longer headers are refused by every reader of the format. */
const MAX_HEADER_BYTES = 100_000_000
const LENGTH_BYTES = 8

export const DTYPE_BYTES: ReadonlyMap<string, number> = new Map([
  ...['F64', 'I64', 'U64'].map((dtype) => [dtype, 8] as const),
  ...['F32', 'I32', 'U32'].map((dtype) => [dtype, 4] as const),
  ...['F16', 'BF16', 'I16', 'U16'].map((dtype) => [dtype, 2] as const),
  ...['I8', 'U8', 'BOOL', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0'].map((dtype) => [dtype, 1] as const),
])

/**
 * The tensors of one file.
 * @throws {M2Error} BAD_CHECKPOINT naming the file, the tensor and the numbers.
 */
export async function readTensorEntries(file: string): Promise<TensorEntry[]> {
  const handle = await open(file).catch((cause: NodeJS.ErrnoException) => {
    throw new M2Error('BAD_CHECKPOINT', `${file}: expected a readable file, found ${cause.code}`, { cause })
  })
  try {
    return (await readSafetensorsHeader(handle, file)).entries
  } finally {
    await handle.close()
  }
}

/**
 * Reads and checks the header of an open file.
 * @param file its name, for messages
 * @throws {M2Error} BAD_CHECKPOINT naming the file, the tensor and the numbers.
 */
export async function readSafetensorsHeader(handle: FileHandle, file: string): Promise<SafetensorsHeader> {
  const { bytes, fileBytes } = await readHeaderBytes(handle, file)
  const dataBytes = fileBytes - bytes.length
  const entries: TensorEntry[] = []
  let metadata: unknown
  for (const [name, value] of Object.entries(parseObject(bytes.toString('utf8', LENGTH_BYTES), file))) {
    if (name === '__metadata__') {
      metadata = value
      continue
    }
    const entry = parseEntry(file, name, value)
    if (entry.offset + entry.bytes > dataBytes) {
      bad(file, name, `expected bytes up to ${bytes.length + entry.offset + entry.bytes}, found a file of ${fileBytes}`)
    }
    entries.push(entry)
  }
  checkCoverage(file, entries, dataBytes)
  for (const entry of entries) entry.offset += bytes.length
  return { entries, metadata, bytes, fileBytes }
}

/**
 * The header of a file whose tensors follow each other in this order, padded with spaces.
 * @param wanted bytes of length and JSON together, a multiple of 8; by default as few as there must be
 */
export function encodeSafetensorsHeader(
  tensors: readonly { name: string; dtype: string; shape: readonly number[]; bytes: number }[],
  metadata: Readonly<Record<string, string>>,
  wanted?: number,
): Buffer {
  const fields: Record<string, unknown> = { __metadata__: metadata }
  let end = 0
  for (const { name, dtype, shape, bytes } of tensors) {
    fields[name] = { dtype, shape, data_offsets: [end, end + bytes] }
    end += bytes
  }
  const json = Buffer.from(JSON.stringify(fields))
  const headerBytes = wanted ?? Math.ceil((LENGTH_BYTES + json.length) / 8) * 8
  if (LENGTH_BYTES + json.length > headerBytes) {
    throw new Error(`header: expected at most ${headerBytes - LENGTH_BYTES} bytes of JSON, found ${json.length}`)
  }
  const header = Buffer.alloc(headerBytes, ' ')
  header.writeBigUInt64LE(BigInt(headerBytes - LENGTH_BYTES))
  json.copy(header, LENGTH_BYTES)
  return header
}

/** Fills `into` from a place in the file. The bytes read: fewer only where the file ends. */
export async function readFully(handle: FileHandle, into: Uint8Array, position: number): Promise<number> {
  let done = 0
  while (done < into.length) {
    const { bytesRead } = await handle.read(into, done, into.length - done, position + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return done
}

async function readHeaderBytes(handle: FileHandle, file: string): Promise<{ bytes: Buffer; fileBytes: number }> {
  try {
    const { size: fileBytes } = await handle.stat()
    const length = Buffer.alloc(LENGTH_BYTES)
    const bytesRead = await readFully(handle, length, 0)
    if (bytesRead < LENGTH_BYTES) bad(file, 'header', `expected ${LENGTH_BYTES} bytes of length, found ${bytesRead}`)
    const headerBytes = length.readBigUInt64LE()
    const limit = Math.min(MAX_HEADER_BYTES, fileBytes - LENGTH_BYTES)
    if (headerBytes > limit) {
      bad(file, 'header', `expected a length of at most ${limit} bytes in a file of ${fileBytes}, found ${headerBytes}`)
    }
    const bytes = Buffer.alloc(LENGTH_BYTES + Number(headerBytes))
    await readFully(handle, bytes, 0)
    return { bytes, fileBytes }
  } catch (cause) {
    if (cause instanceof M2Error) throw cause
    throw new M2Error('BAD_CHECKPOINT', `${file}: cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** One tensor's record; its offset is still counted from the end of the header. */
function parseEntry(file: string, name: string, value: unknown): TensorEntry {
  if (!isObject(value)) return bad(file, name, `expected an object, found ${shown(value)}`)
  const { dtype, shape, data_offsets: range } = value
  if (typeof dtype !== 'string') return bad(file, name, `dtype: expected a string, found ${shown(dtype)}`)
  if (!isSizes(shape)) return bad(file, name, `shape: expected an array of sizes, found ${shown(shape)}`)
  if (!isSizes(range) || range.length !== 2 || range[0]! > range[1]!) {
    return bad(file, name, `data_offsets: expected [begin, end] with begin <= end, found ${shown(range)}`)
  }
  const bytes = range[1]! - range[0]!
  const elements = shape.reduce((product, size) => product * size, 1)
  const elementBytes = DTYPE_BYTES.get(dtype)
  if (elementBytes !== undefined && elements * elementBytes !== bytes) {
    const expected = `${elements * elementBytes} bytes (${dtype} ${shown(shape)})`
    bad(file, name, `data_offsets: expected ${expected}, found ${bytes}`)
  }
  return { name, dtype, shape, offset: range[0]!, bytes }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0)
}

function checkCoverage(file: string, entries: readonly TensorEntry[], dataBytes: number): void {
  const ordered = [...entries].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)
  let end = 0
  for (const [i, { name, offset, bytes }] of ordered.entries()) {
    if (offset < end)
      bad(file, name, `overlaps ${ordered[i - 1]!.name}: expected a start of at least ${end}, found ${offset}`)
    if (offset > end)
      bad(file, name, `expected to start at data byte ${end}, found ${offset}: the bytes between are nobody's`)
    end = offset + bytes
  }
  if (end < dataBytes) bad(file, 'data', `expected ${end} bytes of tensors, found ${dataBytes}`)
}

function bad(file: string, what: string, problem: string): never {
  throw new M2Error('BAD_CHECKPOINT', `${file}: ${what}: ${problem}`)
}
