/** Whatever happens to a file of saved prefixes, loading it gives what was saved or an M2Error, and never a page with wrong KV. */
import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { M2Error } from '../../lib/errors'
import type { PrefixIndex } from '../../lib/prefixes/file-format'
import { PrefixFileWriter } from '../../lib/prefixes/file-writer'
import { loadPrefixes, savePrefixes } from '../../lib/prefixes/prefixes'
import { failure, temporaryFolder } from '../model/folder'
import { withHeader } from '../reference/checkpoint-writer'
import { Random } from '../reference/random'
import { MemoryCache, SMALL, VOCAB } from './memory-cache'

const HEADER_BYTES = 4096

async function savedFile(): Promise<{ file: string; bytes: Buffer }> {
  const file = path.join(temporaryFolder(), 'prefixes.safetensors')
  const cache = new MemoryCache(SMALL, 4)
  cache.add([1, 2, 3, 4, 5, 6])
  cache.add([1, 2], 'salt')
  await savePrefixes(file, SMALL, cache, cache)
  return { file, bytes: readFileSync(file) }
}

/** The code and message of the refusal, '' when the file loads. Anything but an M2Error is thrown, and so are pages with wrong KV. */
async function refusal(file: string): Promise<string> {
  const cache = new MemoryCache(SMALL, 8)
  let line = ''
  try {
    await loadPrefixes(file, SMALL, VOCAB, cache, cache)
  } catch (error) {
    if (!(error instanceof M2Error)) throw error
    line = `${error.code} ${error.message}`
  }
  const wrong = cache.contents().filter(([, isRight]) => !isRight)
  if (wrong.length > 0) throw new Error(`wrong KV in the pages of ${wrong.join(' and ')} after: ${line || 'no error'}`)
  return line
}

describe('noticed is', () => {
  it('any changed byte, wherever it is', async () => {
    const { file, bytes } = await savedFile()
    expect(await refusal(file)).toBe('')
    const random = new Random(1)
    const handle = openSync(file, 'r+')
    for (const [i, byte] of bytes.entries()) {
      writeSync(handle, Uint8Array.of(byte ^ (1 + random.integer(255))), 0, 1, i)
      expect(await refusal(file), `byte ${i}`).toMatch(/^(BAD_CHECKPOINT|BAD_INPUT) \S+prefixes\.safetensors: .+$/)
      writeSync(handle, Uint8Array.of(byte), 0, 1, i)
    }
    closeSync(handle)
    expect(await refusal(file)).toBe('')
  })

  it('any length but the right one', async () => {
    const { file, bytes } = await savedFile()
    const handle = openSync(file, 'r+')
    ftruncateSync(handle, bytes.length + 9) // with zeros
    for (let length = bytes.length + 8; length >= 0; length--) {
      ftruncateSync(handle, length)
      if (length !== bytes.length) expect(await refusal(file), `${length} bytes`).toMatch(/^BAD_CHECKPOINT \S+: .+$/)
    }
    closeSync(handle)
  })

  it('any run of 512 bytes that never reached the disk', async () => {
    const { file, bytes } = await savedFile()
    for (let begin = 0; begin < bytes.length; begin += 512) {
      const torn = Buffer.from(bytes)
      torn.subarray(begin, begin + 512).fill(0)
      writeFileSync(file, torn)
      expect(await refusal(file), `zeros from ${begin}`).toMatch(/^BAD_CHECKPOINT \S+: .+$/)
    }
  })
})

/** A whole file with right checksums whose index is this one. */
async function forged(change: Partial<PrefixIndex>): Promise<string> {
  const file = path.join(temporaryFolder(), 'prefixes.safetensors')
  const writer = await PrefixFileWriter.create(file, SMALL)
  await writer.append(new Uint8Array(3 * 64))
  await writer.finish({
    tokens: Int32Array.of(1, 2, 3, 4, 5, 6),
    parents: Int32Array.of(-1, 0, 1),
    salts: ['', '', ''],
    ...change,
  })
  return file
}

/** The saved file with another header and the checksum that belongs to it. */
async function reheaded(change: (fields: Record<string, Record<string, unknown>>) => void): Promise<string> {
  const { file, bytes } = await savedFile()
  const fields = JSON.parse(bytes.toString('utf8', 8, HEADER_BYTES))
  change(fields)
  const json = JSON.stringify(fields).padEnd(HEADER_BYTES - 8)
  writeFileSync(file, withRightChecksum(withHeader(json, bytes.subarray(HEADER_BYTES))))
  return file
}

/** Of a file with four pages. */
function withRightChecksum(bytes: Buffer): Buffer {
  const index = bytes.subarray(HEADER_BYTES + 4 * 64, -4)
  bytes.writeUInt32LE(crc32(index, crc32(bytes.subarray(0, HEADER_BYTES))), bytes.length - 4)
  return bytes
}

async function failureOf(file: string): Promise<string> {
  const cache = new MemoryCache(SMALL, 8)
  const line = await failure(() => loadPrefixes(file, SMALL, VOCAB, cache, cache))
  expect(cache.nodes).toEqual([])
  return line.replace(file, 'FILE')
}

describe('refused before any page is taken is a file with right checksums and', () => {
  it.each<[string, Partial<PrefixIndex>, string]>([
    [
      'a parent that comes later',
      { parents: Int32Array.of(-1, 2, 0) },
      'parents[1]: expected -1 or a page before it, found 2',
    ],
    [
      'a page that is its own parent',
      { parents: Int32Array.of(0, 0, 1) },
      'parents[0]: expected -1 or a page before it, found 0',
    ],
    [
      'a parent below -1',
      { parents: Int32Array.of(-1, 0, -2) },
      'parents[2]: expected -1 or a page before it, found -2',
    ],
    [
      'a token id that is too large',
      { tokens: Int32Array.of(1, 2, 3, 100, 5, 6) },
      'tokens[3]: expected ids below 100, found 100',
    ],
    ['a token id below 0', { tokens: Int32Array.of(1, 2, 3, 4, 5, -1) }, 'tokens[5]: expected ids below 100, found -1'],
    [
      'the salt of a page that has a parent',
      { salts: ['', 'x', ''] },
      'salts: expected [first page, salt] pairs, found "[[1,\\"x\\"]]"',
    ],
    [
      'the salt of no page',
      { salts: ['', '', '', 'x'] },
      'salts: expected [first page, salt] pairs, found "[[3,\\"x\\"]]"',
    ],
    ['too few tokens', { tokens: Int32Array.of(1, 2) }, 'expected bytes up to 4336, found a file of 4328'],
  ])('%s', async (_, change, message) => {
    expect(await failureOf(await forged(change))).toContain(message)
  })

  it.each<[string, (fields: Record<string, Record<string, unknown>>) => void, string]>([
    [
      'another version',
      (f) => {
        f.__metadata__!.version = '1'
      },
      'BAD_INPUT FILE: version: expected "2", found "1"',
    ],
    [
      'no metadata',
      (f) => {
        delete f.__metadata__
      },
      'BAD_INPUT FILE: format: expected "m2-engine prefixes", found nothing',
    ],
    [
      'metadata that is a list',
      (f) => {
        f.__metadata__ = [] as never
      },
      'BAD_INPUT FILE: format: expected "m2-engine prefixes", found nothing',
    ],
    [
      'a page size that is a number',
      (f) => {
        f.__metadata__!.pageSize = 2
      },
      'BAD_INPUT FILE: pageSize: expected "2", found 2',
    ],
    [
      'one more statement',
      (f) => {
        f.__metadata__!.more = ''
      },
      'BAD_CHECKPOINT FILE: header: expected that of 4 pages and',
    ],
    [
      'KV of another shape',
      (f) => {
        f.kv!.shape = [4, 1, 2, 1, 4, 2]
      },
      'BAD_CHECKPOINT FILE: header: expected that of 4 pages and',
    ],
    [
      'KV of another type',
      (f) => {
        f.kv!.dtype = 'I32'
      },
      'BAD_CHECKPOINT FILE: header: expected that of 4 pages and',
    ],
    [
      'KV under another name',
      (f) => {
        f.keys = f.kv!
        delete f.kv
      },
      'BAD_CHECKPOINT FILE: kv: expected at byte 4096, found no such tensor',
    ],
    [
      'tensors of each other’s names',
      (f) => {
        ;[f.parents, f['kv.crc32']] = [f['kv.crc32']!, f.parents!]
      },
      'BAD_CHECKPOINT FILE: header: expected that of 4 pages and',
    ],
    [
      'tokens in front of the KV',
      (f) => {
        f.kv!.data_offsets = [32, 288]
        f.tokens!.data_offsets = [0, 32]
      },
      'BAD_CHECKPOINT FILE: kv: expected at byte 4096, found at byte 4128',
    ],
  ])('%s', async (_, change, message) => {
    expect(await failureOf(await reheaded(change))).toContain(message)
  })

  it.each(['', '{}', '7', '[7]', '[[0]]', '[[0,7]]', '[["x","y"]]', '[[0,"x"', '[[-1,"x"]]', '[[0.5,"x"]]', '[null]'])(
    'salts that are %j',
    async (text) => {
      const { file, bytes } = await savedFile()
      const fields = JSON.parse(bytes.toString('utf8', 8, HEADER_BYTES))
      const [begin, end] = fields.salts.data_offsets
      bytes.write(text.padEnd(end - begin), HEADER_BYTES + begin)
      writeFileSync(file, withRightChecksum(bytes))
      expect(await failureOf(file)).toContain('BAD_CHECKPOINT FILE: salts: expected [first page, salt] pairs, found ')
    },
  )

  it('more index than anybody writes', async () => {
    const file = path.join(temporaryFolder(), 'prefixes.safetensors')
    const fields = {
      __metadata__: { format: 'm2-engine prefixes', version: '2' },
      kv: { dtype: 'F32', shape: [0], data_offsets: [0, 0] },
      tokens: { dtype: 'I32', shape: [2 ** 32], data_offsets: [0, 2 ** 34] },
    }
    const header = withHeader(fields, new Uint8Array())
    writeFileSync(file, header)
    const handle = openSync(file, 'r+')
    ftruncateSync(handle, header.length + 2 ** 34) // without bytes on the disk
    closeSync(handle)
    expect(await failureOf(file)).toBe(
      `BAD_CHECKPOINT FILE: index: expected 4 to ${2 ** 30} bytes after kv, found ${2 ** 34}`,
    )
  })
})

describe('after random changes', () => {
  /** Places where something is: the JSON of the header, and all behind the header. */
  const place = (random: Random, bytes: Buffer, jsonBytes: number) =>
    random.integer(2) === 0 ? random.integer(8 + jsonBytes) : HEADER_BYTES + random.integer(bytes.length - HEADER_BYTES)

  function mutated(random: Random, whole: Buffer, jsonBytes: number): Buffer {
    let bytes = Buffer.from(whole)
    for (let changes = 1 + random.integer(4); changes > 0; changes--) {
      const at = place(random, whole, jsonBytes)
      const length = random.integer(40)
      switch (random.integer(5)) {
        case 0:
          bytes[at] = random.integer(256)
          break
        case 1:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])
          break
        case 2:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(0, length), bytes.subarray(at)])
          break
        case 3:
          bytes.subarray(at, at + length).fill(random.integer(256))
          break
        default:
          bytes.copyWithin(at, place(random, whole, jsonBytes), bytes.length)
      }
    }
    return bytes
  }

  it('a file is refused, unless nothing changed', async () => {
    const { file, bytes } = await savedFile()
    const jsonBytes = bytes.toString('latin1', 8, HEADER_BYTES).trimEnd().length
    const random = new Random(2)
    for (let round = 0; round < 1500; round++) {
      const changed = mutated(random, bytes, jsonBytes)
      writeFileSync(file, changed)
      expect((await refusal(file)) === '', `round ${round}`).toBe(changed.equals(bytes))
    }
  })

  it('a file with the checksum of its new index is refused or loaded, and nothing else happens', async () => {
    const { file, bytes } = await savedFile()
    const jsonBytes = bytes.toString('latin1', 8, HEADER_BYTES).trimEnd().length
    const random = new Random(3)
    let loaded = 0
    for (let round = 0; round < 1500; round++) {
      const changed = Buffer.from(bytes)
      for (let changes = 1 + random.integer(3); changes > 0; changes--) {
        changed[place(random, bytes, jsonBytes)] = random.integer(256)
      }
      writeFileSync(file, withRightChecksum(changed))
      const cache = new MemoryCache(SMALL, 8)
      const error = await loadPrefixes(file, SMALL, VOCAB, cache, cache).catch((error: unknown) => error)
      if (error instanceof Error && !(error instanceof M2Error)) throw error
      if (!(error instanceof Error)) loaded++
    }
    expect(loaded).toBeGreaterThan(0)
    expect(loaded).toBeLessThan(1500)
  })
})
