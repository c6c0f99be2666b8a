import type { Chunk, Generation, Result } from '../generation'

/** Several generations as one: the samples of each stand behind those of the one before. All have as many. */
export class JoinedGeneration implements Generation {
  readonly promptTokens: number

  /** One that is refused ends all. */
  constructor(
    private readonly parts: readonly Generation[],
    private readonly samplesEach: number,
  ) {
    const isRefused = parts.some((part) => part.promptTokens === 0)
    this.promptTokens = isRefused ? 0 : parts.reduce((sum, part) => sum + part.promptTokens, 0)
    if (isRefused) this.abort()
  }

  async result(): Promise<Result> {
    try {
      return join(await Promise.all(this.parts.map((part) => part.result())))
    } catch (error) {
      this.abort()
      throw error
    }
  }

  abort(): void {
    for (const part of this.parts) part.abort()
  }

  /** A part is read on when its last chunk has been taken, so a slow reader halts all. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Chunk, undefined> {
    const shelf = new Shelf()
    const readers = this.parts.map(async (part, i) => {
      for await (const chunk of part) {
        await shelf.put({ ...chunk, index: i * this.samplesEach + chunk.index })
        if (shelf.isClosed) break
      }
    })
    const all = Promise.all(readers)
    all.then(() => shelf.close()).catch(() => shelf.close())
    try {
      for (;;) {
        const chunk = await shelf.take()
        if (!chunk) break
        yield chunk
      }
      await all // throws what a part threw
    } finally {
      if (!shelf.isClosed) this.abort()
      shelf.close()
    }
  }
}

/** Chunks that wait to be taken, by one reader. */
class Shelf {
  isClosed = false
  private readonly waiting: { chunk: Chunk; taken: () => void }[] = []
  private wake = () => {}

  /** Resolves when the chunk has been taken, or nobody takes any more. */
  put(chunk: Chunk): Promise<void> {
    return new Promise((taken) => {
      if (this.isClosed) taken()
      else this.waiting.push({ chunk, taken })
      this.wake()
    })
  }

  /** Undefined when it is closed. */
  async take(): Promise<Chunk | undefined> {
    while (this.waiting.length === 0 && !this.isClosed) await new Promise<void>((resolve) => (this.wake = resolve))
    const next = this.waiting.shift()
    next?.taken()
    return this.isClosed ? undefined : next?.chunk
  }

  close(): void {
    this.isClosed = true
    for (const { taken } of this.waiting.splice(0)) taken()
    this.wake()
  }
}

function join(results: readonly Result[]): Result {
  const sum = (count: keyof Result['usage']) => results.reduce((total, { usage }) => total + usage[count], 0)
  const usage = {
    promptTokens: sum('promptTokens'),
    cachedTokens: sum('cachedTokens'),
    completionTokens: sum('completionTokens'),
    reasoningTokens: sum('reasoningTokens'),
  }
  return { ...results[0]!, usage, samples: results.flatMap((result) => result.samples ?? [result]) }
}
