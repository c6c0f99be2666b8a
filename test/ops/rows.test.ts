import { describe, expect, it } from 'vitest'
import { DEVICES, i32, opsFor, Random } from './helpers'

describe.each(DEVICES)('what rows keep, on %s', (device) => {
  it.each([1, 2, 300])('sets %i pages of page tables and leaves the others', (count) => {
    const random = new Random(count)
    const tables = i32([7, 50], new Int32Array(350).fill(-1))
    const places = random.shuffled(350).slice(0, count)
    const updates = places.flatMap((place, page) => [Math.floor(place / 50), place % 50, page])
    opsFor(device).setPages({ updates: i32([count, 3], updates), pageTables: tables })
    const want = new Int32Array(350).fill(-1)
    for (const [page, place] of places.entries()) want[place] = page
    expect(tables.data).toEqual(want)
  })

  it.each([3, 1000, 2048, 5000])('starts histories over a vocabulary of %i, and leaves the other rows', (vocab) => {
    const random = new Random(vocab)
    const lengths = [0, 1, 40, 1500]
    const rows = [4, 0, 2, 5]
    const generated = [0, 1, 13, 700]
    const ids = lengths.map((length) => Array.from({ length }, () => random.integer(Math.min(vocab, 60))))
    const offsets = [0, 0, 1, 41, 1541]
    const history = i32([6, vocab], new Int32Array(6 * vocab).fill(77))
    opsFor(device).startHistories({
      rows: i32([4], rows),
      offsets: i32([5], offsets),
      generated: i32([4], generated),
      ids: i32([offsets[4]!], ids.flat()),
      history,
    })
    const want = new Int32Array(6 * vocab).fill(77)
    for (const [h, row] of rows.entries()) {
      const seen = want.subarray(row * vocab, (row + 1) * vocab).fill(0)
      const prompt = ids[h]!.length - generated[h]!
      for (const [i, id] of ids[h]!.entries()) seen[id] = i < prompt ? seen[id]! | 1 : seen[id]! + 2
    }
    expect(history.data).toEqual(want)
  })
})
