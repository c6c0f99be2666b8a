/** Our ops, as calls that give the microseconds of one run on the device. */

import type { KvDtype } from '../../lib/native'
import type { Act, I32, Ops, PackedWeight } from '../../lib/ops'
import { bf16, FORMATS, type Format, f32, i32 } from '../tensors'
import { type AttentionSpec, KV_BYTES, type Sizes, type Spec } from './specs'

/** Bytes that the sets of arguments of one op must have together, so that none is still in a cache when its turn comes again. */
const ROTATED = 256 * 2 ** 20

type Shape = Pick<Parameters<Ops['allocateWeight']>[0], 'experts' | 'n' | 'k' | 'layout'>

export class Ours {
  readonly #ops: Ops
  readonly #repeats: number
  readonly #experts = new Map<string, PackedWeight>()

  /** `repeats`: runs of an op in one measurement. */
  constructor(ops: Ops, repeats: number) {
    this.#ops = ops
    this.#repeats = repeats
  }

  /** Microseconds of one run, on the device. */
  time(spec: Spec): number {
    const [ops, repeats] = [this.#ops, this.#repeats]
    switch (spec.op) {
      case 'linear': {
        const { rows, n, k, accumulate, format } = spec
        const sets = turns(FORMATS[format].bytes * n * k, repeats, () => ({
          x: this.#act(rows, k),
          weight: this.#weight({ experts: 1, n, k, layout: 'rows' }, format),
          out: accumulate ? f32(rows, n) : this.#act(rows, n),
          accumulate,
        }))
        return ops.time('linear', sets, repeats)
      }
      case 'gateUp': {
        const { hiddenSize: hidden, expertHidden, experts } = spec.sizes
        const weight = this.#kept(spec, { experts, n: 2 * expertHidden, k: hidden, layout: 'gateUp' })
        const sets = routings(spec.rows, spec.sizes, repeats).map(({ source, offsets }) => ({
          x: bf16(spec.rows, hidden),
          source,
          offsets,
          weight,
          out: bf16(source.data.length, expertHidden),
        }))
        return ops.time('groupedGateUp', sets, repeats)
      }
      case 'expertsDown': {
        const { hiddenSize: hidden, expertHidden, experts, expertsPerToken } = spec.sizes
        const weight = this.#kept(spec, { experts, n: hidden, k: expertHidden, layout: 'rows' })
        const sets = routings(spec.rows, spec.sizes, repeats).map(({ offsets, target }) => ({
          x: bf16(target.data.length, expertHidden),
          offsets,
          weight,
          y: this.#act(target.data.length, hidden),
          target,
          weights: f32(spec.rows, expertsPerToken, () => 1 / expertsPerToken),
          out: f32(spec.rows, hidden),
        }))
        return ops.time('expertsDown', sets, repeats)
      }
      case 'attention':
        return ops.time('attention', this.#attention(spec), repeats)
      case 'rmsNorm': {
        const C = spec.sizes.hiddenSize
        const set = () => ({
          x: f32(spec.rows, C),
          weight: f32(C),
          eps: 1e-6,
          out: f32(spec.rows, C),
          outBf16: bf16(spec.rows, C),
        })
        return ops.time('rmsNorm', turns(10 * spec.rows * C, repeats, set), repeats)
      }
      case 'qkNormRopeStore':
        return ops.time('qkNormRopeStore', this.#qkNorm(spec.rows, spec.kvDtype, spec.sizes), repeats)
      case 'route': {
        const { hiddenSize: C, experts: E, expertsPerToken: A } = spec.sizes
        const set = () => ({
          x: f32(spec.rows, C, Math.sin),
          norm: f32(C),
          eps: 1e-6,
          gate: f32(E, C, (i) => Math.sin(3 * i) / 50),
          bias: f32(E, 0, () => 0),
          room: f32(spec.rows, C),
          h: bf16(spec.rows, C),
          expertIds: i32([spec.rows, A]),
          weights: f32(spec.rows, A),
          offsets: i32([E + 1]),
          source: i32([spec.rows * A]),
          target: i32([spec.rows, A]),
        })
        return ops.time('route', turns(4 * (spec.rows + E) * C, repeats, set), repeats)
      }
      case 'sample': {
        const V = spec.sizes.vocabSize
        const set = () => ({
          logits: f32(spec.rows, V, (i) => 4 * Math.sin(7 * i) + 4 * Math.sin(i / 1000)),
          samplingFloats: Float32Array.from({ length: 6 * spec.rows }, (_, i) => [1, 0.95, 0, 1, 0, 0][i % 6]!),
          samplingInts: Int32Array.from({ length: 6 * spec.rows }, (_, i) => [40, -1, 1, 0, i, 0][i % 6]!),
          rows: i32([spec.rows], (i) => i),
          lastIds: i32([spec.rows]),
          ids: i32([spec.rows]),
        })
        return ops.time('sample', [set(), set()], repeats)
      }
    }
  }

  /** Microseconds of a copy of `bytes` within the device. */
  copy(bytes: number): number {
    return this.#ops.timeCopy(bytes, this.#repeats)
  }

  #act(rows: number, width: number): Act {
    return this.#ops.activations === 'f32' ? f32(rows, width) : bf16(rows, width)
  }

  #weight(shape: Shape, format: Format): PackedWeight {
    const weight = this.#ops.allocateWeight({ ...shape, ...FORMATS[format].held })
    this.#ops.randomizeWeight(weight)
    return weight
  }

  #kept({ op, format }: { op: string; format: Format }, shape: Shape): PackedWeight {
    const name = `${op} ${format}`
    const known = this.#experts.get(name) ?? this.#weight(shape, format)
    this.#experts.set(name, known)
    return known
  }

  #attention({ sequences, queries, context, kvDtype, rounds, sizes }: AttentionSpec) {
    const { heads, kvHeads, headDim, page } = sizes
    const perRow = Math.ceil(context / page)
    const bytes = KV_BYTES[kvDtype] * 2 * sequences * context * kvHeads * headDim
    const rows = sequences * Math.max(1, Math.min(this.#repeats, Math.ceil(ROTATED / bytes)))
    const kv = this.#kv(kvDtype, rows * perRow, sizes)
    this.#ops.randomizeKv(kv, 1)
    const tokens = sequences * queries
    const pageTables = i32([rows, perRow], (i) => (i * 7919) % (rows * perRow))
    return Array.from({ length: rows / sequences }, (_, turn) => ({
      q: { ...this.#act(tokens, heads * headDim), shape: [tokens, heads, headDim] },
      kv,
      layer: 0,
      pageTables,
      rows: i32([sequences], (i) => turn * sequences + i),
      cuSeqlensQ: i32([sequences + 1], (i) => i * queries),
      contextLens: i32([sequences], () => context),
      maxQueries: queries,
      scale: headDim ** -0.5,
      rounds,
      out: this.#act(tokens, heads * headDim),
    }))
  }

  #kv(dtype: KvDtype, pages: number, { kvHeads: heads, page: pageSize, headDim }: Sizes) {
    const scales = dtype === 'fp8' ? { scales: new Float32Array(2 * heads).fill(1) } : {}
    return this.#ops.createKv({ dtype, pages, layers: 1, heads, pageSize, headDim, ...scales })
  }

  #qkNorm(rows: number, kvDtype: KvDtype, sizes: Sizes) {
    const { heads, kvHeads, headDim: D, page } = sizes
    const kv = this.#kv(kvDtype, Math.ceil(rows / page), sizes)
    const width = (heads + 2 * kvHeads) * D
    return turns(4 * rows * width, this.#repeats, () => ({
      qkv: this.#act(rows, width),
      qWeight: f32(heads * D),
      kWeight: f32(kvHeads * D),
      eps: 1e-6,
      positions: i32([rows], (i) => i),
      rope: f32(rows, D / 2, Math.sin),
      slotMapping: i32([rows], (i) => i),
      kv,
      layer: 0,
      q: { ...this.#act(rows, heads * D), shape: [rows, heads, D] },
    }))
  }
}

/** Sets of arguments of `bytes` each, enough to rotate through. */
function turns<T>(bytes: number, most: number, make: () => T): T[] {
  return Array.from({ length: Math.max(1, Math.min(most, Math.ceil(ROTATED / bytes))) }, make)
}

/** Tokens that choose their experts at random, a few times over. */
function routings(
  tokens: number,
  { experts: E, expertsPerToken: A }: Sizes,
  most: number,
): { source: I32; offsets: I32; target: I32 }[] {
  return Array.from({ length: Math.min(most, tokens > 64 ? 2 : 8) }, () => {
    const pairs = Array.from({ length: tokens }, (_, t) => {
      const chosen = new Set<number>()
      while (chosen.size < A) chosen.add(Math.floor(E * Math.random()))
      return [...chosen].map((expert, a) => ({ expert, pair: t * A + a }))
    }).flat()
    pairs.sort((a, b) => a.expert - b.expert || a.pair - b.pair)
    const offsets = new Int32Array(E + 1)
    for (const { expert } of pairs) offsets[expert + 1]!++
    for (let e = 0; e < E; e++) offsets[e + 1]! += offsets[e]!
    const target = new Int32Array(pairs.length)
    for (const [row, { pair }] of pairs.entries()) target[pair] = row
    return {
      source: i32([pairs.length], (i) => pairs[i]!.pair),
      offsets: { data: offsets, shape: [E + 1] },
      target: { data: target, shape: [tokens, A] },
    }
  })
}
