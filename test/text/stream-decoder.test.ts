import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { StreamDecoder } from '../../lib/text/stream-decoder'
import { Tokenizer } from '../../lib/text/tokenizer'
import { Random } from '../reference/random'
import { CORNERS, randomText, WRITING } from '../reference/texts'

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await Tokenizer.load(path.join(__dirname, '..', '..', 'models', 'nano'))
})

/** Pushes `ids` in random chunks, empty ones included. */
function stream(ids: ArrayLike<number>, random: Random, options?: { special?: boolean }): string[] {
  const decoder = new StreamDecoder(tokenizer, options)
  const texts: string[] = []
  for (let at = 0; at < ids.length; ) {
    const end = at + random.integer(4)
    texts.push(decoder.push(Array.from(ids).slice(at, end)))
    at = end
  }
  return [...texts, decoder.end()]
}

describe('a stream of ids', () => {
  it('joins to what decode gives for all of them, however it is chunked', () => {
    const random = new Random(40)
    for (const text of [...CORNERS, ...WRITING, ...Array.from({ length: 500 }, () => randomText(random, 30))]) {
      const ids = tokenizer.encode(text)
      for (const special of [true, false]) {
        expect(stream(ids, random, { special }).join('')).toBe(tokenizer.decode(ids, { special }))
      }
    }
  })

  it('does so for bytes that are not UTF-8', () => {
    const random = new Random(41)
    for (let i = 0; i < 2000; i++) {
      const ids = Array.from({ length: random.integer(10) }, () => random.integer(270))
      expect(stream(ids, random).join('')).toBe(tokenizer.decode(ids))
    }
  })

  it('never gives half a character', () => {
    const text = 'é你😀👩‍👩‍👧e\u0301 ok'
    const decoder = new StreamDecoder(tokenizer)
    const texts = [...tokenizer.encode(text)].map((id) => decoder.push([id]))
    expect(texts.join('')).not.toContain('\ufffd')
    for (const part of texts) expect(Buffer.from(part).toString()).toBe(part)
    expect(texts.join('')).toBe(text)
    expect(texts.filter((part) => part === '').length).toBeGreaterThan(5)
    expect(decoder.end()).toBe('')
  })

  it('gives a character as soon as its last byte is there', () => {
    const ids = tokenizer.encode('😀')
    expect(ids.length).toBeGreaterThan(1)
    const decoder = new StreamDecoder(tokenizer)
    expect(decoder.push(ids.subarray(0, -1))).toBe('')
    expect(decoder.push(ids.subarray(-1))).toBe('😀')
  })

  it('ends an unfinished character as U+FFFD, and begins anew', () => {
    const ids = tokenizer.encode('a😀')
    const decoder = new StreamDecoder(tokenizer)
    expect(decoder.push(ids.subarray(0, -1))).toBe('a')
    expect(decoder.end()).toBe('\ufffd')
    expect(decoder.push(tokenizer.encode('b'))).toBe('b')
  })

  it('shows control tokens by default and leaves them out on demand', () => {
    const ids = tokenizer.encode('Hi</think>.[e~[')
    expect(new StreamDecoder(tokenizer).push(ids)).toBe('Hi</think>.[e~[')
    expect(new StreamDecoder(tokenizer, { special: false }).push(ids)).toBe('Hi</think>.')
  })

  it('refuses an id that has no token', () => {
    const decoder = new StreamDecoder(tokenizer)
    expect(() => decoder.push([5000])).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
  })
})
