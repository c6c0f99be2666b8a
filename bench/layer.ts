/** The ops of one MiniMax-M2 layer on the CPU, as cases to be timed. */
import type { Ops, PackedWeight } from '../lib/ops'
import type { CeilingName } from './ceilings'
import { bf16, FORMATS, type Format, f32, i32 } from './tensors'

const C = 3072
const HEADS = 48
const KV_HEADS = 8
const D = 128
const F = 1536
const E = 32 // of 256 experts: more than every cache holds
const A = 8
const V = 200_064
const PAGE = 64

export interface Case {
  op: string
  shape: string
  /** What must be read from memory, and what must be calculated. Both 0: it works in the caches, and has no floor. */
  bytes: number
  operations: number
  /** The instruction of the operations. */
  uses?: Exclude<CeilingName, 'read'>
  /** Microseconds. */
  run: () => number
}

/** `large`: bytes of the weights that must come from memory each time. */
export function layerCases(ops: Ops, large: number): Case[] {
  return [...products(ops, large), ...experts(ops), ...attention(ops), ...others(ops)]
}

function products(ops: Ops, large: number): Case[] {
  const one = (rows: number, n: number, format: Format = 'bf16'): Case => {
    const { name, bytes, held, rows: matrix } = FORMATS[format]
    const weight = ops.allocateWeight({ experts: 1, n, k: C, layout: 'rows', ...held })
    ops.pack(weight, 0, 0, matrix(n, C))
    const args = { x: f32(rows, C, Math.sin), weight, out: f32(rows, n) }
    return {
      op: `linear${name}`,
      shape: `${rows} x ${C} to ${n}`,
      bytes: bytes * n * C,
      operations: 2 * rows * n * C,
      uses: 'multiplyF32',
      run: () => ops.linear(args),
    }
  }
  const tall = 32 * Math.ceil(large / (2 * C * 32))
  const square = (HEADS + 2 * KV_HEADS) * D
  return [
    ...[one(1, tall), one(8, tall), one(512, square)],
    ...[one(1, 2 * tall, 'fp8'), one(8, 2 * tall, 'fp8'), one(512, square, 'fp8')],
    ...[one(1, 4 * tall, 'int4'), one(8, 4 * tall, 'int4'), one(512, square, 'int4')],
  ]
}

function experts(ops: Ops): Case[] {
  return [...expertsIn(ops, 'bf16', [1, 8, 512]), ...expertsIn(ops, 'int4', [1, 8, 512])]
}

function expertsIn(ops: Ops, format: Format, counts: number[]): Case[] {
  const gateUp = sameExperts(ops, 2 * F, C, 'gateUp', format)
  const down = sameExperts(ops, C, F, 'rows', format)
  const { name } = FORMATS[format]
  return counts.flatMap((tokens): Case[] => {
    const rows = tokens * A
    const x = bf16(tokens, C)
    const hidden = bf16(rows, F)
    const out = f32(rows, C)
    let routed = route(tokens)
    const shape = `${tokens} x ${A} of ${E} experts`
    const bytes = (weights: number) => Math.min(E, rows) * weights * FORMATS[format].bytes
    return [
      {
        op: `grouped gate, up, SwiGLU${name}`,
        shape: `${shape}, ${C} to ${F}`,
        bytes: bytes(2 * F * C),
        operations: 2 * rows * 2 * F * C,
        uses: 'multiplyBf16',
        run: () => {
          routed = route(tokens) // other experts than last time, or one token's would stay in the cache
          const { source, offsets } = routed
          return ops.groupedGateUp({ x, source, offsets, weight: gateUp, out: hidden })
        },
      },
      {
        op: `grouped down${name}`,
        shape: `${shape}, ${F} to ${C}`,
        bytes: bytes(F * C),
        operations: 2 * rows * F * C,
        uses: 'multiplyBf16',
        run: () => ops.groupedLinear({ x: hidden, offsets: routed.offsets, weight: down, out }),
      },
    ]
  })
}

/** E experts of equal content: what they hold does not matter to the time. */
function sameExperts(ops: Ops, n: number, k: number, layout: 'rows' | 'gateUp', format: Format): PackedWeight {
  const { held, rows } = FORMATS[format]
  const weight = ops.allocateWeight({ experts: E, n, k, layout, ...held })
  const matrix = rows(n, k)
  for (let expert = 0; expert < E; expert++) ops.pack(weight, expert, 0, matrix)
  return weight
}

/** Each expert equally often, as far as that goes, beginning at a random one. */
function route(tokens: number) {
  const first = Math.floor(E * Math.random())
  const pairs = Array.from({ length: tokens * A }, (_, pair) => ({ pair, expert: (first + pair) % E }))
  pairs.sort((a, b) => a.expert - b.expert || a.pair - b.pair)
  const offsets = i32([E + 1], (e) => pairs.filter(({ expert }) => expert < e).length)
  return { offsets, source: i32([tokens * A], (row) => pairs[row]!.pair) }
}

function attention(ops: Ops): Case[] {
  return [...attentionOver(ops, 'bf16'), ...attentionOver(ops, 'fp8')]
}

function attentionOver(ops: Ops, dtype: 'bf16' | 'fp8'): Case[] {
  const isFp8 = dtype === 'fp8'
  const sequences = 8
  const context = 4096
  const pages = context / PAGE
  const kv = ops.createKv({
    dtype,
    ...(isFp8 ? { scales: new Float32Array(2 * KV_HEADS).fill(0.01) } : {}),
    pages: sequences * pages,
    layers: 1,
    heads: KV_HEADS,
    pageSize: PAGE,
    headDim: D,
  })
  const [rows, width] = [sequences * pages, 2 * KV_HEADS * PAGE * D]
  const bytes = () => ({
    data: Uint8Array.from({ length: rows * width }, (_, i) => (i * 37) % 0x78),
    shape: [rows, width],
  })
  ops.writeKv(kv, { data: isFp8 ? bytes() : bf16(rows, width) })
  const one = (count: number, queries: number): Case => {
    const tokens = count * queries
    const args = {
      q: f32(tokens, HEADS * D, Math.sin),
      kv,
      layer: 0,
      pageTables: i32([sequences, pages], (i) => i),
      rows: i32([count], (i) => i),
      cuSeqlensQ: i32([count + 1], (i) => i * queries),
      contextLens: i32([count], () => context),
      maxQueries: queries,
      scale: D ** -0.5,
      out: f32(tokens, HEADS * D),
    }
    args.q.shape = [tokens, HEADS, D]
    const pairs = tokens * (context - (queries - 1) / 2) // of a query and a token that it sees
    return {
      op: isFp8 ? 'attention, FP8 cache' : 'attention',
      shape: `${count} x ${queries} queries on ${context} tokens`,
      bytes: count * context * KV_HEADS * D * 2 * (isFp8 ? 1 : 2),
      operations: 4 * HEADS * D * pairs,
      uses: 'multiplyF32',
      run: () => ops.attention(args),
    }
  }
  return [one(sequences, 1), one(1, 512)]
}

function others(ops: Ops): Case[] {
  const tokens = 512
  const x = f32(tokens, C, Math.sin)
  const norm = { x, weight: f32(C), eps: 1e-6, out: f32(tokens, C), outBf16: bf16(tokens, C) }
  norm.weight.shape = [C]
  const gate = f32(256, C, (i) => Math.sin(3 * i) / 50)
  const routing = {
    x,
    ...{ norm: f32(C), eps: 1e-6, room: f32(tokens, C), h: bf16(tokens, C) },
    gate,
    bias: { data: new Float32Array(256), shape: [256] },
    expertIds: i32([tokens, A]),
    weights: f32(tokens, A),
    offsets: i32([257]),
    source: i32([tokens * A]),
    target: i32([tokens, A]),
  }
  const logits = f32(1, V, (i) => 5 * Math.sin(7 * i))
  const drawing = {
    logits,
    samplingFloats: Float32Array.of(1, 0.95, 0, 1, 0, 0),
    samplingInts: Int32Array.of(40, -1, 1, 0, 0, 0),
    rows: i32([1]),
    lastIds: i32([1]),
    ids: i32([1]),
  }
  return [
    { op: 'RMSNorm', shape: `${tokens} x ${C}`, bytes: 0, operations: 0, run: () => ops.rmsNorm(norm) },
    {
      op: 'route',
      shape: `${tokens} x ${C}, 256 experts`,
      bytes: 0,
      operations: 2 * tokens * 256 * C,
      uses: 'multiplyF32',
      run: () => ops.route(routing),
    },
    {
      op: 'sample, top-k 40, top-p 0.95',
      shape: `1 x ${V}`,
      bytes: 0,
      operations: 0,
      run: () => ops.sample(drawing),
    },
  ]
}
