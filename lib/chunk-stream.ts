import type { Chunk } from './generation'
import { joinToolCalls } from './text/tool-call'

/** Chunks between a generation and whoever reads it. What has not been read is merged. */
export class ChunkStream {
  /** At most one per sample, in the order in which they are read. */
  private readonly waiting = new Map<number, Chunk>()
  private readonly readers: { resolve(read: IteratorResult<Chunk>): void; reject(error: unknown): void }[] = []
  private ended = false
  private error: unknown

  push(chunk: Chunk): void {
    const reader = this.readers.shift()
    if (reader) reader.resolve({ done: false, value: chunk })
    else if (this.waiting.has(chunk.index)) merge(this.waiting.get(chunk.index)!, chunk)
    else this.waiting.set(chunk.index, chunk)
  }

  /** Tokens of a sample that nobody has read yet. */
  unread(index: number): number {
    return this.waiting.get(index)?.tokenIds.length ?? 0
  }

  /** No chunk comes after this. Readers of the rest get `error`, if there is one. */
  end(error?: unknown): void {
    this.ended = true
    this.error = error
    for (const reader of this.readers.splice(0)) {
      if (error === undefined) reader.resolve({ done: true, value: undefined })
      else reader.reject(error)
    }
  }

  async next(): Promise<IteratorResult<Chunk>> {
    const [chunk] = this.waiting.values()
    if (chunk) {
      this.waiting.delete(chunk.index)
      return { done: false, value: chunk }
    }
    if (this.error !== undefined) throw this.error
    if (this.ended) return { done: true, value: undefined }
    return new Promise((resolve, reject) => this.readers.push({ resolve, reject }))
  }
}

function merge(into: Chunk, chunk: Chunk): void {
  into.text += chunk.text
  for (const id of chunk.tokenIds) into.tokenIds.push(id)
  if (chunk.reasoning !== undefined) into.reasoning = (into.reasoning ?? '') + chunk.reasoning
  if (chunk.logprobs) {
    into.logprobs ??= []
    for (const entry of chunk.logprobs) into.logprobs.push(entry)
  }
  if (chunk.toolCalls) {
    into.toolCalls ??= []
    joinToolCalls(into.toolCalls, chunk.toolCalls)
  }
}
