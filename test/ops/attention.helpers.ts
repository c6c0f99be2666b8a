/** Ragged paged attention problems, and their float64 truth. */
import type { Act } from '../../lib/ops'
import { bf16Bits, e4m3Bits, fromE4m3Bits } from '../reference/number-formats'
import {
  activations,
  bf16,
  bytesOf,
  expectSameBytes,
  f8,
  f32,
  i32,
  opsFor,
  Random,
  round,
  taken,
  toBf16,
  toE4m3,
} from './helpers'
import { roundRows } from './stored-rows'

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
  /** Of a cache in FP8: q and weights are rounded to it. */
  rounds?: boolean
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
      if (dtype === 'bf16') return new Float64Array(x).map(round)
      return new Float64Array(x).map((v, i) => {
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
        : new Uint8Array(cache.map((v, i) => toE4m3(v, scales[Math.floor(i / tile) % scales.length]!)))
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

/**
 * softmax(q K^T scale) V over everything up to each query's own position, for the queries of a part, with q rounded where it is; `r` rounds what naive bf16
 * would, and then weights are rounded too.
 */
export function truth(p: Problem, part: Part, r?: (v: number) => number): Float64Array {
  const { heads, kvHeads, dim } = p
  const { queries, context } = p.sequences[part.b]!
  const { keys, values } = p.content[part.b]!
  const q = p.rounds ? roundHeads(p.content[part.b]!.q, dim) : p.content[part.b]!.q
  const share = (weight: number, sum: number) => {
    if (!r) return weight / sum
    return p.rounds ? fromE4m3Bits(e4m3Bits(256 * weight)) / 256 / sum : r(weight / sum)
  }
  const out = new Float64Array(part.count * heads * dim)
  for (let j = part.first; j < part.first + part.count; j++)
    for (let h = 0; h < heads; h++) {
      const kvHead = Math.floor(h / (heads / kvHeads))
      const at = (j * heads + h) * dim
      const to = at - part.first * heads * dim
      const scores = Array.from({ length: context - queries + j + 1 }, (_, i) => {
        let dot = 0
        for (let d = 0; d < dim; d++) dot += q[at + d]! * keys[(i * kvHeads + kvHead) * dim + d]!
        return r ? r(dot * p.scale) : dot * p.scale
      })
      const max = Math.max(...scores)
      const weights = scores.map((s) => Math.exp(s - max))
      const sum = weights.reduce((a, w) => a + w, 0)
      for (const [i, weight] of weights.entries()) {
        const factor = share(weight, sum)
        for (let d = 0; d < dim; d++) out[to + d]! += factor * values[(i * kvHeads + kvHead) * dim + d]!
      }
    }
  return r ? out.map(r) : out
}

function roundHeads(q: Float32Array, dim: number): Float64Array {
  const rounded = new Float64Array(q.length)
  for (let at = 0; at < q.length; at += dim) rounded.set(roundRows(q.subarray(at, at + dim)), at)
  return rounded
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
      rounds: p.rounds ?? false,
      out,
    })
    return parts.map(
      ({ count }, i) => ({ shape: [count, width], data: out.data.slice(cu[i]! * width, cu[i + 1]! * width) }) as Act,
    )
  }
}

export const whole = (p: Problem): Part[] => p.sequences.map((s, b) => ({ b, first: 0, count: s.queries }))

export const joined = (chunks: Act[]): Buffer => Buffer.concat(chunks.map((chunk) => bytesOf(chunk.data)))

export const NONE: Part = { b: 0, first: 0, count: 0 }
export const copies = (part: Part, count: number): Part[] => new Array(count).fill(part)

/** Runs parts in one call and compares those of the first sequence with the same queries in `want`, which has all of it. */
export function expectRows(run: (parts: Part[]) => Act[], parts: Part[], want: Act): void {
  const width = want.shape[1]!
  for (const [i, got] of run(parts).entries()) {
    const { b, first, count } = parts[i]!
    if (b === 0) expectSameBytes(got.data, want.data.subarray(first * width, (first + count) * width))
  }
}

/**
 * Values that cancel, all with the same weight: what comes out is rounding alone, and so hangs on the order of every sum. The last 60 tokens are zeros,
 * for all of the last queries to see the same.
 */
export function cancelling(p: Problem): Problem {
  const random = new Random(7)
  const half = Math.floor((p.sequences[0]!.context - 60) / 2)
  const values = Array.from({ length: half }, () =>
    Array.from({ length: p.dim }, () => random.normal() * 2 ** random.integer(20)),
  )
  for (const [i, other] of random.shuffled(half).entries())
    for (let d = 0; d < p.dim; d++) {
      p.put(0, 1, 0, i, d, values[i]![d]!)
      p.put(0, 1, 0, half + i, d, -values[other]![d]!)
    }
  for (let at = 2 * half; at < p.sequences[0]!.context; at++) for (let d = 0; d < p.dim; d++) p.put(0, 1, 0, at, d, 0)
  return { ...p, scale: 0 }
}

/**
 * Scores that grow from tile to tile of the chunk of tokens 1,024 to 1,279, so that weights shrink to nearly 3/4, and values that cancel but for that: what
 * comes out hangs on how sums are multiplied when the largest score grows. All other tokens weigh nothing.
 */
export function growing(p: Problem): Problem {
  const random = new Random(8)
  const values = Array.from({ length: p.dim }, () => (1 + random.integer(3) / 4) * 2 ** random.integer(4))
  p.scales.fill(1)
  for (let at = 0; at < p.sequences[0]!.context; at++) {
    const tile = at >= 1024 && at < 1280 ? (at - 1024) >> 6 : undefined
    for (let d = 0; d < p.dim; d++) {
      p.put(0, 0, 0, at, d, d > 0 ? 0 : (tile ?? -448))
      p.put(0, 1, 0, at, d, tile === undefined ? 0 : tile % 2 ? -0.75 * values[d]! : values[d]!)
    }
  }
  const { q } = p.content[0]!
  for (const i of q.keys()) q[i] = i % p.dim ? 0 : 1
  return { ...p, scale: Math.log(4 / 3) * (1 + 1e-5) }
}
