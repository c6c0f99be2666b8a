import { describe, expect, it } from 'vitest'
import { bf16, DEVICES, f32, i32, opsFor, Random, toBf16, valuesOf } from './helpers'

describe.each(DEVICES)('embed on %s', (device) => {
  it.each([
    [1, 1, 32],
    [7, 5, 64],
    [70, 300, 96],
    [3, 1000, 1056],
    [600, 50, 1056],
  ])('copies %i rows of a table of %i x %i exactly', (tokens, vocab, width) => {
    const random = new Random(tokens)
    const table = toBf16(random.normals(vocab * width))
    const ids = Int32Array.from({ length: tokens }, () => random.integer(vocab))
    ids[0] = vocab - 1
    const out = f32([tokens, width])
    opsFor(device).embed({ tokenIds: i32([tokens], ids), table: bf16([vocab, width], table), out })
    const rows = valuesOf(table)
    expect(Array.from(out.data)).toEqual(
      Array.from(ids).flatMap((id) => [...rows.subarray(id * width, (id + 1) * width)]),
    )
  })

  it('takes the id last sampled for row r where the id is -1 - r', () => {
    const table = bf16([5, 32], toBf16(new Random(1).normals(5 * 32)))
    const embed = (ids: number[], lastIds?: number[]) => {
      const out = f32([ids.length, 32])
      opsFor(device).embed({
        tokenIds: i32([ids.length], ids),
        lastIds: lastIds && i32([lastIds.length], lastIds),
        table,
        out,
      })
      return out.data
    }
    expect(embed([2, -1, 0, -3, -2], [4, 1, 3])).toEqual(embed([2, 4, 0, 3, 1]))
  })
})
