import { describe, expect, it } from 'vitest'
import { ChunkStream } from '../../lib/chunk-stream'

const chunk = (id: number) => ({ text: `${id}`, tokenIds: [id], index: 0, logprobs: [{ id, logprob: 0, top: [] }] })

describe('chunks that nobody reads', () => {
  it('are added to the first of them, which is never copied: who only awaits the result may have 100,000', async () => {
    const stream = new ChunkStream()
    const [first, ...others] = [1, 2, 3, 4].map(chunk)
    const { logprobs, tokenIds } = first!
    for (const each of [first!, ...others]) stream.push(each)
    const { value } = await stream.next()
    expect(value).toEqual({
      text: '1234',
      tokenIds: [1, 2, 3, 4],
      index: 0,
      logprobs: [1, 2, 3, 4].map((id) => chunk(id).logprobs[0]),
    })
    expect(value.logprobs).toBe(logprobs)
    expect(value.tokenIds).toBe(tokenIds)
  })
})
