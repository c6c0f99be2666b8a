/** Ragged paged attention problems, and their float64 truth. */
import type { Act } from '../../lib/ops'
import { bf16Bits, fromE4m3Bits } from '../reference/number-formats'
import { activations, bf16, bytesOf, f8, f32, i32, opsFor, Random, round, taken, toBf16, toE4m3 } from './helpers'

export interface Sequence {
  queries: number // the last ones of the context
  context: number // tokens, the queries included
}

export interface AttentionShape {
  heads: number
  kvHeads: number
  dim: number
  pageSize: number
  dtype: 'f32' | 'bf16' | 'fp8'
  sequences: Sequence[]
}

const [LAYERS, LAYER] = [2, 1]

/** Random q, K and V; the pages of the sequences are shuffled among each other and everything not visible is NaN. */
export function problem(device: string, shape: AttentionShape) {
  const { heads, kvHeads, dim, pageSize, dtype, sequences } = shape
  const random = new Random(dim * 100 + heads * 10 + pageSize)
  const pagesOf = (s: Sequence) => Math.ceil(s.context / pageSize)
  const pages = sequences.reduce((sum, s) => sum + pagesOf(s), 2)
  const free = random.shuffled(pages)
  const rows = random.shuffled(sequences.length + 2).slice(0, sequences.length)
  const pagesPerRow = Math.max(...sequences.map(pagesOf)) + 1
  const pageTables = new Int32Array((sequences.length + 2) * pagesPerRow).fill(-1)
  const cache = new Float32Array(pages * LAYERS * 2 * kvHeads * pageSize * dim).fill(Number.NaN)
  const offset = (page: number, which: number, head: number, at: number) =>
    ((((page * LAYERS + LAYER) * 2 + which) * kvHeads + head) * pageSize + at) * dim
  /** [L, K|V, Hk], of which [LAYER] counts; far enough apart to tell them from each other. */
  const scales = Float32Array.from({ length: LAYERS * 2 * kvHeads }, () => 0.02 * 4 ** random.uniform())
  const scale = (which: number, head: number) => scales[(LAYER * 2 + which) * kvHeads + head]!
  const content = sequences.map((s, b) => {
    for (let i = 0; i < pagesOf(s); i++) pageTables[rows[b]! * pagesPerRow + i] = free.pop()!
    const [keys, values] = [random.normals(s.context * kvHeads * dim, 1.5), random.normals(s.context * kvHeads * dim)]
    for (let at = 0; at < s.context; at++)
      for (let head = 0; head < kvHeads; head++) {
        const page = pageTables[rows[b]! * pagesPerRow + Math.floor(at / pageSize)]!
        const from = (at * kvHeads + head) * dim
        cache.set(keys.subarray(from, from + dim), offset(page, 0, head, at % pageSize))
        cache.set(values.subarray(from, from + dim), offset(page, 1, head, at % pageSize))
      }
    const rounded = (x: Float32Array, which: number) => {
      if (dtype === 'f32') return Float64Array.from(x)
      if (dtype === 'bf16') return Float64Array.from(x, round)
      return Float64Array.from(x, (v, i) => {
        const s = scale(which, Math.floor(i / dim) % kvHeads)
        return fromE4m3Bits(toE4m3(v, s)) * s
      })
    }
    return {
      keys: rounded(keys, 0),
      values: rounded(values, 1),
      q: taken(device, random.normals(s.queries * heads * dim)),
    }
  })
  const tile = pageSize * dim
  const stored =
    dtype === 'f32'
      ? cache
      : dtype === 'bf16'
        ? toBf16(cache)
        : Uint8Array.from(cache, (v, i) => toE4m3(v, scales[Math.floor(i / tile) % scales.length]!))
  return {
    ...shape,
    /** Replaces one number of K (which 0) or V (1) of a token in the cache. */
    put: (b: number, which: number, head: number, at: number, d: number, value: number) => {
      const page = pageTables[rows[b]! * pagesPerRow + Math.floor(at / pageSize)]!
      stored[offset(page, which, head, at % pageSize) + d] =
        dtype === 'f32' ? value : dtype === 'bf16' ? bf16Bits(value) : toE4m3(value, scale(which, head))
    },
    pages,
    rows,
    pagesPerRow,
    pageTables,
    cache: stored,
    scales,
    content,
    scale: dim ** -0.5,
  }
}
export type Problem = ReturnType<typeof problem>

/** softmax(q K^T scale) V over everything up to each query's own position, for the queries of a part; `r` rounds what naive bf16 would. */
export function truth(p: Problem, part: Part, r: (v: number) => number = (v) => v): Float64Array {
  const { queries, context } = p.sequences[part.b]!
  const { keys, values, q } = p.content[part.b]!
  const { heads, kvHeads, dim } = p
  const out = new Float64Array(part.count * heads * dim)
  for (let j = part.first; j < part.first + part.count; j++)
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kvHeads))
      const at = (j * heads + h) * dim
      const to = at - part.first * heads * dim
      const scores = Array.from({ length: context - queries + j + 1 }, (_, i) => {
        let dot = 0
        for (let d = 0; d < dim; d++) dot += q[at + d]! * keys[(i * kvHeads + kvHead) * dim + d]!
        return r(dot * p.scale)
      })
      const max = Math.max(...scores)
      const weights = scores.map((s) => Math.exp(s - max))
      const sum = weights.reduce((a, w) => a + w, 0)
      for (const [i, weight] of weights.entries())
        for (let d = 0; d < dim; d++) out[to + d]! += r(weight / sum) * values[(i * kvHeads + kvHead) * dim + d]!
    }
  return out.map(r)
}

/** Queries first..first+count-1 of sequence b. */
export interface Part {
  b: number
  first: number
  count: number
}

/** A backend whose cache holds the problem's: runs parts in one call, one result per part. */
export function runner(device: string, p: Problem, threads = 2): (parts: Part[]) => Act[] {
  const { heads, kvHeads, dim, pageSize } = p
  const ops = opsFor(device, threads)
  const scales = p.dtype === 'fp8' ? { scales: p.scales } : {}
  const kvShape = { dtype: p.dtype, ...scales, pages: p.pages, layers: LAYERS, heads: kvHeads, pageSize, headDim: dim }
  const kv = ops.createKv(kvShape)
  const shape = [p.pages, LAYERS * 2, kvHeads, pageSize * dim]
  const { cache } = p
  const whole =
    cache instanceof Uint8Array
      ? f8(shape, cache)
      : cache instanceof Uint16Array
        ? bf16(shape, cache)
        : f32(shape, cache)
  ops.writeKv(kv, { data: whole })
  const width = heads * dim
  return (parts) => {
    const cu = [0]
    for (const { count } of parts) cu.push(cu.at(-1)! + count)
    const tokens = cu.at(-1)!
    const q = new Float32Array(tokens * width)
    for (const [i, { b, first, count }] of parts.entries())
      q.set(p.content[b]!.q.subarray(first * width, (first + count) * width), cu[i]! * width)
    const contexts = parts.map(
      ({ b, first, count }) => p.sequences[b]!.context - p.sequences[b]!.queries + first + count,
    )
    const rows = parts.map((part) => p.rows[part.b]!)
    const out = activations(device, [tokens, width])
    ops.attention({
      q: activations(device, [tokens, heads, dim], q),
      kv,
      layer: LAYER,
      pageTables: i32([p.pageTables.length / p.pagesPerRow, p.pagesPerRow], p.pageTables),
      rows: i32([rows.length], rows),
      cuSeqlensQ: i32([cu.length], cu),
      contextLens: i32([contexts.length], contexts),
      maxQueries: parts.reduce((most, part) => Math.max(most, part.count), 0),
      scale: p.scale,
      out,
    })
    return parts.map(
      ({ count }, i) => ({ shape: [count, width], data: out.data.slice(cu[i]! * width, cu[i + 1]! * width) }) as Act,
    )
  }
}

export const whole = (p: Problem): Part[] => p.sequences.map((s, b) => ({ b, first: 0, count: s.queries }))

export const joined = (chunks: Act[]): Buffer => Buffer.concat(chunks.map((chunk) => bytesOf(chunk.data)))
