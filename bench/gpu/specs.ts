/** What is timed on a GPU: the ops of one MiniMax-M2 layer, decoding and prefilling, with the bytes and operations that each cannot do without. */

import type { KvDtype } from '../../lib/native'
import { FORMATS, type Format } from '../tensors'
import type { Question } from './cells'

export interface Sizes {
  hiddenSize: number
  heads: number
  kvHeads: number
  headDim: number
  experts: number
  expertsPerToken: number
  expertHidden: number
  vocabSize: number
  /** Tokens of a page. */
  page: number
}

export const M2: Sizes = {
  hiddenSize: 3072,
  heads: 48,
  kvHeads: 8,
  headDim: 128,
  experts: 256,
  expertsPerToken: 8,
  expertHidden: 1536,
  vocabSize: 200_064,
  page: 64,
}

/** The same shapes cut down until the emulated device runs them: to see that the benches work. */
export const SMALL: Sizes = {
  ...M2,
  hiddenSize: 128,
  heads: 12,
  kvHeads: 2,
  headDim: 64,
  experts: 16,
  expertsPerToken: 2,
  expertHidden: 128,
  vocabSize: 2000,
}

/** Bytes of an element of a KV cache, and the caches that are measured. */
export const KV_BYTES: Record<KvDtype, number> = { f32: 4, bf16: 2, fp8: 1 }
const CACHES: KvDtype[] = ['bf16', 'fp8']
/** Attention over them; of FP8 also with q and weights in FP8. */
const ATTENTIONS = [...CACHES.map((kvDtype) => ({ kvDtype, rounds: false })), { kvDtype: 'fp8', rounds: true }] as const
/** What lm_head is measured as. */
const HEADS: Format[] = ['bf16', 'fp8', 'int4']

export interface AttentionSpec {
  op: 'attention'
  sequences: number
  queries: number
  context: number
  kvDtype: KvDtype
  rounds: boolean
  sizes: Sizes
}

export type Spec =
  | { op: 'linear'; name: string; rows: number; n: number; k: number; accumulate: boolean; format: Format }
  | { op: 'gateUp' | 'expertsDown'; rows: number; sizes: Sizes; format: Format }
  | AttentionSpec
  | { op: 'qkNormRopeStore'; rows: number; kvDtype: KvDtype; sizes: Sizes }
  | { op: 'rmsNorm' | 'route'; rows: number; sizes: Sizes }
  | { op: 'sample'; rows: number; sizes: Sizes }

export function specs(sizes: Sizes, decodes: number[], contexts: number[], prefills: number[]): Spec[] {
  const { hiddenSize: C, heads, kvHeads, headDim: D, vocabSize: V } = sizes
  const products = (rows: number, format: Format): Spec[] => [
    { op: 'linear', name: 'qkv', rows, n: (heads + 2 * kvHeads) * D, k: C, accumulate: false, format },
    { op: 'linear', name: 'o', rows, n: C, k: heads * D, accumulate: true, format },
    { op: 'gateUp', rows, sizes, format },
    { op: 'expertsDown', rows, sizes, format },
  ]
  const formats = Object.keys(FORMATS) as Format[]
  const layer = (rows: number): Spec[] => [
    { op: 'rmsNorm', rows, sizes },
    ...CACHES.map((kvDtype): Spec => ({ op: 'qkNormRopeStore', rows, kvDtype, sizes })),
    { op: 'route', rows, sizes },
    ...formats.flatMap((format) => products(rows, format)),
  ]
  const attention = (sequences: number, queries: number, context: number) =>
    ATTENTIONS.map((formats): Spec => ({ op: 'attention', sequences, queries, context, ...formats, sizes }))
  return [
    ...decodes.flatMap((rows) => [
      ...layer(rows),
      ...contexts.flatMap((context) => attention(rows, 1, context)),
      ...HEADS.map((format): Spec => ({ op: 'linear', name: 'head', rows, n: V, k: C, accumulate: false, format })),
      { op: 'sample', rows, sizes } as Spec,
    ]),
    ...prefills.flatMap((rows) => [...layer(rows), ...attention(1, rows, rows)]),
  ]
}

const cacheName = (kvDtype: KvDtype) => (kvDtype === 'fp8' ? ', FP8 KV' : '')

export function describe(spec: Spec): { work: string; shape: string } {
  switch (spec.op) {
    case 'linear':
      return {
        work: `${spec.name}${FORMATS[spec.format].name}`,
        shape: `${spec.rows} x ${spec.k} to ${spec.n}`,
      }
    case 'gateUp':
    case 'expertsDown':
      return { work: `${spec.op}${FORMATS[spec.format].name}`, shape: `${spec.rows} rows` }
    case 'attention':
      return {
        work: `attention${cacheName(spec.kvDtype)}${spec.rounds ? ' and products' : ''}`,
        shape: `${spec.sequences} x ${spec.queries} on ${spec.context}`,
      }
    case 'qkNormRopeStore':
      return { work: `${spec.op}${cacheName(spec.kvDtype)}`, shape: `${spec.rows} rows` }
    default:
      return { work: spec.op, shape: `${spec.rows} rows` }
  }
}

type ExpertCounts = Pick<Sizes, 'experts' | 'expertsPerToken'>

/** Experts that so many tokens go to when all are equally likely, in the mean. */
export const usedExperts = ({ experts: E, expertsPerToken: A }: ExpertCounts, tokens: number): number =>
  E * (1 - (1 - A / E) ** tokens)

/** Bytes that must move, each input that is needed read once and each output written once, and operations, by what is multiplied on a device that can. */
export function floor(spec: Spec): Pick<Question, 'bytes' | 'operations'> {
  if (spec.op === 'linear') {
    const { rows, n, k } = spec
    const weights = FORMATS[spec.format].bytes * n * k
    return {
      bytes: weights + 2 * rows * k + (spec.accumulate ? 8 : 2) * rows * n,
      operations: { [FORMATS[spec.format].unit]: 2 * rows * n * k },
    }
  }
  const {
    hiddenSize: C,
    heads,
    kvHeads,
    headDim: D,
    experts: E,
    expertsPerToken: A,
    expertHidden: F,
    vocabSize: V,
  } = spec.sizes
  if (spec.op === 'attention') {
    const { sequences, queries, context, kvDtype, rounds } = spec
    const pairs = sequences * queries * (context - (queries - 1) / 2) // of a query and a token that it sees
    const bytes = 2 * KV_BYTES[kvDtype] * sequences * context * kvHeads * D + 4 * sequences * queries * heads * D
    return { bytes, operations: { [rounds ? 'e4m3' : 'bf16']: 4 * heads * D * pairs } }
  }
  const { rows } = spec
  const [pairs, experts] = [rows * A, usedExperts(spec.sizes, rows)]
  switch (spec.op) {
    case 'gateUp':
      return {
        bytes: 2 * FORMATS[spec.format].bytes * experts * F * C + 2 * rows * C + 2 * pairs * F,
        operations: { [FORMATS[spec.format].unit]: 4 * pairs * F * C },
      }
    case 'expertsDown': // what the experts say of a token is summed before it need be written
      return {
        bytes: FORMATS[spec.format].bytes * experts * F * C + 2 * pairs * F + 8 * rows * C,
        operations: { [FORMATS[spec.format].unit]: 2 * pairs * F * C },
      }
    case 'rmsNorm':
      return { bytes: 10 * rows * C, operations: {} }
    case 'qkNormRopeStore':
      return {
        bytes: 2 * rows * (2 * heads + 2 * kvHeads) * D + 2 * KV_BYTES[spec.kvDtype] * rows * kvHeads * D,
        operations: {},
      }
    case 'route':
      return { bytes: 6 * rows * C + 4 * E * C, operations: { f32: 2 * rows * E * C } }
    case 'sample':
      return { bytes: 4 * rows * V, operations: {} }
  }
}
