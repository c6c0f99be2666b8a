import { describe, expect, it } from 'vitest'
import { bf16, f32, ISAS, i32, opsFor, Random, toBf16, valuesOf } from './helpers'

describe.each(ISAS)('embed on %s', (isa) => {
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
    opsFor(isa).embed({ tokenIds: i32([tokens], ids), table: bf16([vocab, width], table), out })
    const rows = valuesOf(table)
    expect(Array.from(out.data)).toEqual(
      Array.from(ids).flatMap((id) => [...rows.subarray(id * width, (id + 1) * width)]),
    )
  })
})
