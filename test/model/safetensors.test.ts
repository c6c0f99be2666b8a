import { truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readTensorEntries } from '../../lib/model/safetensors'
import { safetensorsBytes, withHeader } from '../reference/checkpoint-writer'
import { failure, temporaryFolder } from './folder'

const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => {
  return { dtype, shape, data_offsets: [begin, end] }
}

function file(bytes: Uint8Array): string {
  const name = path.join(temporaryFolder(), 'model.safetensors')
  writeFileSync(name, bytes)
  return name
}

const failureOf = (bytes: Uint8Array) => failure(() => readTensorEntries(file(bytes)))

describe('readTensorEntries', () => {
  it('gives offsets from the start of the file', async () => {
    const data = new Uint8Array(24)
    const bytes = safetensorsBytes([
      { name: 'a', dtype: 'BF16', shape: [2, 3], data: data.subarray(12) },
      { name: 'b', dtype: 'F32', shape: [3], data: data.subarray(12) },
    ])
    const start = bytes.length - 24
    expect(await readTensorEntries(file(bytes))).toEqual([
      { name: 'a', dtype: 'BF16', shape: [2, 3], offset: start, bytes: 12 },
      { name: 'b', dtype: 'F32', shape: [3], offset: start + 12, bytes: 12 },
    ])
  })

  it('takes tensors in any order, empty ones, and dtypes it does not know', async () => {
    const header = { b: entry(8, 16), none: entry(8, 8), a: { ...entry(0, 8), dtype: 'F4' } }
    const found = await readTensorEntries(file(withHeader(header, new Uint8Array(16))))
    expect(found.map(({ name }) => name)).toEqual(['b', 'none', 'a'])
  })
})

describe('readTensorEntries refuses', () => {
  const length = (bytes: bigint) => {
    const buffer = Buffer.alloc(16)
    buffer.writeBigUInt64LE(bytes)
    return buffer
  }

  it.each([
    ['an empty file', Buffer.alloc(0), 'header: expected 8 bytes of length, found 0'],
    ['a file of 5 bytes', Buffer.alloc(5), 'header: expected 8 bytes of length, found 5'],
    [
      'an absurd length',
      length(2n ** 63n),
      'expected a length of at most 8 bytes in a file of 16, found 9223372036854775808',
    ],
    ['a length one too long', length(9n), 'expected a length of at most 8 bytes in a file of 16, found 9'],
    ['a header of no bytes', length(0n), 'expected JSON, found what does not parse'],
    ['a header that is no JSON', withHeader('{"a": ', new Uint8Array()), 'expected JSON, found what does not parse'],
    ['a header that is an array', withHeader([], new Uint8Array()), 'expected a JSON object, found []'],
    ['an entry that is a number', withHeader({ a: 7 }, new Uint8Array()), 'a: expected an object, found 7'],
    [
      'a dtype that is a number',
      withHeader({ a: { ...entry(0, 4), dtype: 4 } }, new Uint8Array(4)),
      'a: dtype: expected a string, found 4',
    ],
    [
      'a negative size',
      withHeader({ a: entry(0, 4, [-1]) }, new Uint8Array(4)),
      'a: shape: expected an array of sizes, found [-1]',
    ],
    [
      'offsets that run backwards',
      withHeader({ a: entry(8, 4, []) }, new Uint8Array(8)),
      'a: data_offsets: expected [begin, end] with begin <= end, found [8,4]',
    ],
    [
      'one offset',
      withHeader({ a: { ...entry(0, 4), data_offsets: [0] } }, new Uint8Array(4)),
      'a: data_offsets: expected [begin, end] with begin <= end, found [0]',
    ],
    [
      'fewer bytes than the shape needs',
      withHeader({ a: entry(0, 8, [2, 2]) }, new Uint8Array(8)),
      'a: data_offsets: expected 16 bytes (F32 [2,2]), found 8',
    ],
    [
      'a shape beyond all numbers',
      withHeader({ a: entry(0, 8, [2 ** 40, 2 ** 40]) }, new Uint8Array(8)),
      'a: data_offsets: expected 4.8',
    ],
    [
      'tensors that overlap',
      withHeader({ a: entry(0, 8), b: entry(4, 12) }, new Uint8Array(12)),
      'b: overlaps a: expected a start of at least 8, found 4',
    ],
    [
      'bytes that belong to no tensor, as a name written twice leaves them',
      withHeader(`{"a": ${JSON.stringify(entry(0, 4))}, "a": ${JSON.stringify(entry(4, 8))}}`, new Uint8Array(8)),
      'a: expected to start at data byte 0, found 4',
    ],
    [
      'bytes after the last tensor',
      withHeader({ a: entry(0, 4) }, new Uint8Array(6)),
      'data: expected 4 bytes of tensors, found 6',
    ],
  ])('%s', async (_, bytes, message) => {
    const line = await failureOf(bytes)
    expect(line).toMatch(/^BAD_CHECKPOINT \S+model\.safetensors: /)
    expect(line).toContain(message)
    expect(line).not.toContain('\n')
  })

  it('a file that was cut off', async () => {
    const bytes = withHeader({ a: entry(0, 400), b: entry(400, 800) }, new Uint8Array(800))
    const name = file(bytes)
    truncateSync(name, bytes.length - 1)
    expect(await failure(() => readTensorEntries(name))).toBe(
      `BAD_CHECKPOINT ${name}: b: expected bytes up to ${bytes.length}, found a file of ${bytes.length - 1}`,
    )
  })

  it('a folder', async () => {
    expect(await failure(() => readTensorEntries(temporaryFolder()))).toMatch(/^BAD_CHECKPOINT .*EISDIR/)
  })
})
