import { describe, expect, it } from 'vitest'
import { createOps, packWeight } from '../../lib/ops'
import { bf16, f32, i32 } from '../ops/helpers'
import { banned } from '../ops/sample.helpers'

const ops = createOps('cpu', 1)
const zeros = (size: number) => new Float32Array(size)
const weight = packWeight(ops, { experts: 1, n: 5, k: 32, layout: 'rows' }, f32([1, 5, 32], zeros(160)))
const experts = packWeight(ops, { experts: 2, n: 64, k: 32, layout: 'gateUp' }, f32([2, 64, 32], zeros(4096)))
const down = packWeight(ops, { experts: 1, n: 32, k: 32, layout: 'rows' }, f32([1, 32, 32], zeros(1024)))
const kvShape = { dtype: 'f32', pages: 3, layers: 2, heads: 2, pageSize: 4, headDim: 32 } as const
const kv = ops.createKv(kvShape)

const withKv = (dtype: 'f32' | 'fp8', scales?: number[]) => ({
  kv: ops.createKv({ ...kvShape, dtype, ...(scales ? { scales: Float32Array.from(scales) } : {}) }),
})

// One sound call per op; each wrong call below changes one thing of it.
const sound = {
  embed: () => ({ tokenIds: i32([3], [0, 1, 2]), table: bf16([4, 32]), out: f32([3, 32]) }),
  rmsNorm: () => ({ x: f32([3, 32]), weight: f32([32]), eps: 1e-6, out: f32([3, 32]) }),
  linear: () => ({ x: f32([3, 32]), weight, out: f32([3, 5]) }),
  qkNormRopeStore: () => ({
    qkv: f32([3, 8 * 32]),
    qWeight: f32([4 * 32]),
    kWeight: f32([2 * 32]),
    eps: 1e-6,
    positions: i32([3], [0, 1, 9]),
    rope: f32([10, 16]),
    slotMapping: i32([3], [0, 11, -1]),
    kv,
    layer: 1,
    q: f32([3, 4, 32]),
  }),
  attention: () => ({
    q: f32([3, 4, 32]),
    kv,
    layer: 0,
    pageTables: i32([2, 2], [0, -1, 2, 1]),
    rows: i32([2], [1, 0]),
    cuSeqlensQ: i32([3], [0, 2, 3]),
    contextLens: i32([2], [8, 1]),
    maxQueries: 2,
    scale: 1,
    out: f32([3, 128]),
  }),
  route: () => ({
    x: f32([3, 32], zeros(96)),
    norm: f32([32]),
    eps: 1e-6,
    gate: f32([4, 32]),
    bias: f32([4]),
    room: f32([3, 32]),
    h: bf16([3, 32]),
    expertIds: i32([3, 2]),
    weights: f32([3, 2]),
    offsets: i32([5]),
    source: i32([6]),
    target: i32([3, 2]),
  }),
  groupedGateUp: () => ({
    x: bf16([2, 32]),
    source: i32([4], [0, 1, 2, 3]),
    offsets: i32([3], [0, 1, 4]),
    weight: experts,
    out: bf16([4, 32]),
  }),
  groupedLinear: () => ({ x: bf16([3, 32]), offsets: i32([2], [0, 3]), weight, out: f32([3, 5]) }),
  unpermute: () => ({ y: f32([4, 32]), target: i32([2, 2], [0, 1, 2, 3]), weights: f32([2, 2]), out: f32([2, 32]) }),
  expertsDown: () => ({
    x: bf16([4, 32]),
    offsets: i32([2], [0, 4]),
    weight: down,
    y: f32([4, 32]),
    target: i32([2, 2], [0, 1, 2, 3]),
    weights: f32([2, 2]),
    out: f32([2, 32]),
  }),
  setPages: () => ({ updates: i32([2, 3], [0, 1, 5, 1, 0, 6]), pageTables: i32([2, 2]) }),
  startHistories: () => ({
    rows: i32([2], [1, 0]),
    offsets: i32([3], [0, 2, 3]),
    generated: i32([2], [1, 1]),
    ids: i32([3], [3, 0, 3]),
    history: i32([2, 4]),
  }),
  sample: () => ({
    logits: f32([1, 40], zeros(40)),
    rows: i32([1], [1]),
    lastIds: i32([2], [0, 0]),
    samplingFloats: Float32Array.of(1, 1, 0, 1, 0, 0),
    samplingInts: Int32Array.of(0, -1, 0, 0, 0, 0),
    ids: i32([1]),
    logprobs: f32([1]),
    topIds: i32([1, 2]),
    topLogprobs: f32([1, 2]),
  }),
}
type OpName = keyof typeof sound

const options = (column: number, value: number) => ({
  samplingFloats: Float32Array.of(1, 1, 0, 1, 0, 0).with(column, value),
})
const bias = { biasOffsets: i32([2], [0, 1]), biasIds: i32([1], [3]), biasValues: f32([1], zeros(1)) }

const masks = { maskIndex: i32([1], [0]), maskBits: i32([1, 2], [-1, -1]) }

const wrong: [OpName, object, string][] = [
  ['embed', { tokenIds: i32([3], [0, 4, 2]) }, 'embed: token_ids[1] must be in 0..3, found 4'],
  [
    'embed',
    { tokenIds: i32([3], [0, -2, -3]), lastIds: i32([2], [0, 0]) },
    'embed: token_ids[2] must be in -2..3, found -3',
  ],
  ['embed', { tokenIds: i32([3], [0, 1, -1]) }, 'embed: token_ids[2] must be in 0..3, found -1'],
  ['embed', { tokenIds: f32([3]) }, 'embed: token_ids must be i32 of 1 dimensions, found f32 [3]'],
  ['embed', { table: f32([4, 32]) }, 'embed: table must be bf16 of 2 dimensions, found f32 [4, 32]'],
  [
    'embed',
    { table: bf16([4, 33]), out: f32([3, 33]) },
    'embed: width of table must be a positive multiple of 32, found 33',
  ],
  ['embed', { out: f32([2, 32]) }, 'embed: out must be f32 [3, 32], found f32 [2, 32]'],
  ['rmsNorm', { weight: f32([31]) }, 'rms_norm: weight must be f32 [32], found f32 [31]'],
  ['rmsNorm', { rows: i32([3], [0, 3, 1]) }, 'rms_norm: rows[1] must be in 0..2, found 3'],
  ['rmsNorm', { rows: i32([2], [0, 1]) }, 'rms_norm: out must be f32 [2, 32], found f32 [3, 32]'],
  ['rmsNorm', { outBf16: bf16([3, 33]) }, 'rms_norm: out_bf16 must be bf16 [3, 32], found bf16 [3, 33]'],
  [
    'rmsNorm',
    { out: bf16([3, 32]), outBf16: bf16([3, 32]) },
    'rms_norm: out must be f32 where there is out_bf16, found bf16',
  ],
  ['rmsNorm', { eps: Number.NaN }, 'rms_norm: eps must be 0 or more, found nan'],
  ['linear', { x: f32([3, 64]) }, 'linear: weight must be [1, 5, 64], found [1, 5, 32]'],
  ['linear', { x: bf16([3, 32]) }, 'linear: x must be f32 of 2 dimensions, found bf16 [3, 32]'],
  ['linear', { weight: experts }, 'linear: weight must be packed for plain rows, found the other'],
  ['linear', { out: f32([2, 5]) }, 'linear: out must be f32 [3, 5], found f32 [2, 5]'],
  ['qkNormRopeStore', { layer: 2 }, 'qk_norm_rope_store: layer must be in 0..1, found 2'],
  ['qkNormRopeStore', { q: f32([3, 4, 64]) }, 'qk_norm_rope_store: kv must have head dim 64, found 32'],
  ['qkNormRopeStore', { qkv: f32([3, 7 * 32]) }, 'qk_norm_rope_store: qkv must be f32 [3, 256], found f32 [3, 224]'],
  ...(['qkNormRopeStore', 'attention'] as const).flatMap((op): [OpName, object, string][] => {
    const name = op === 'attention' ? op : 'qk_norm_rope_store'
    const needs = `${name}: kv must have scales where it is f8_e4m3, and only there`
    return [
      [op, withKv('fp8'), needs],
      [op, withKv('f32', [1, 1, 1, 1, 1, 1, 1, 1]), needs],
      [op, withKv('fp8', [1, 1, 1, 0, 1, 1, 1, 1]), `${name}: kv.scales[3] must be a number above 0, found 0`],
      [op, withKv('fp8', [1, 1, 1, 1, 1, 1, 1, Infinity]), `${name}: kv.scales[7] must be a number above 0, found inf`],
    ]
  }),
  [
    'qkNormRopeStore',
    { rope: f32([10, 34]) },
    'qk_norm_rope_store: rope must have an even number of at most 32 columns, found 34',
  ],
  [
    'qkNormRopeStore',
    { positions: i32([3], [0, 1, 10]) },
    'qk_norm_rope_store: positions[2] must be in 0..9, found 10',
  ],
  [
    'qkNormRopeStore',
    { slotMapping: i32([3], [0, 12, -1]) },
    'qk_norm_rope_store: slot_mapping[1] must be in -1..11, found 12',
  ],
  ['attention', { q: f32([3, 3, 32]) }, 'attention: q must have a multiple of 2 heads, found 3'],
  ['attention', { rows: i32([2], [1, 2]) }, 'attention: rows[1] must be in 0..1, found 2'],
  ['attention', { cuSeqlensQ: i32([3], [1, 2, 3]) }, 'attention: cu_seqlens_q[0] must be 0, found 1'],
  ['attention', { cuSeqlensQ: i32([3], [0, 4, 3]) }, 'attention: cu_seqlens_q[2] must be at least 4, found 3'],
  ['attention', { cuSeqlensQ: i32([3], [0, 2, 4]) }, 'attention: cu_seqlens_q[2] must be at most 3, found 4'],
  ['attention', { maxQueries: 1 }, 'attention: sequence 0 must have at most max_queries = 1 queries, found 2'],
  ['attention', { maxQueries: 4 }, 'attention: max_queries must be in 0..3, found 4'],
  ['attention', { contextLens: i32([2], [1, 1]) }, 'attention: context_lens[0] must be in 2..8, found 1'],
  ['attention', { contextLens: i32([2], [9, 1]) }, 'attention: context_lens[0] must be in 2..8, found 9'],
  ['attention', { contextLens: i32([2], [8, 5]) }, 'attention: page_tables[0][1] must be in 0..2, found -1'],
  ['attention', { scale: Number.POSITIVE_INFINITY }, 'attention: scale must be finite, found inf'],
  ['attention', { out: f32([3, 4, 32]) }, 'attention: out must be f32 [3, 128], found f32 [3, 4, 32]'],
  ['route', { x: f32([3, 40]) }, 'route: width of x must be a positive multiple of 32, found 40'],
  ['route', { norm: f32([33]) }, 'route: norm must be f32 [32], found f32 [33]'],
  ['route', { eps: -1 }, 'route: eps must be 0 or more, found -1'],
  ['route', { room: f32([2, 32]) }, 'route: room must be f32 [3, 32], found f32 [2, 32]'],
  ['route', { h: bf16([3, 33]) }, 'route: h must be bf16 [3, 32], found bf16 [3, 33]'],
  ['route', { bias: f32([3]) }, 'route: bias must be f32 [4], found f32 [3]'],
  ['route', { expertIds: i32([3, 5]), weights: f32([3, 5]) }, 'route: experts per token must be in 1..4, found 5'],
  ['route', { offsets: i32([1]) }, 'route: offsets must be i32 [5], found i32 [1]'],
  ['route', { source: i32([5]) }, 'route: source must be i32 [6], found i32 [5]'],
  ['route', { live: i32([1], [4]) }, 'route: live[0] must be in 0..3, found 4'],
  ['groupedGateUp', { offsets: i32([3], [0, 1, 5]) }, 'grouped_gate_up: offsets[2] must be at most 4, found 5'],
  ['groupedGateUp', { source: i32([4], [0, 1, 4, 3]) }, 'grouped_gate_up: source[2] must be in 0..3, found 4'],
  ['groupedGateUp', { x: bf16([3, 32]) }, 'grouped_gate_up: source must have a multiple of 3 rows, found 4'],
  ['groupedGateUp', { weight }, 'grouped_gate_up: weight must be packed for gate and up rows, found the other'],
  ['groupedLinear', { offsets: i32([3], [0, 1, 3]) }, 'grouped_linear: weight must be [2, 5, 32], found [1, 5, 32]'],
  ['unpermute', { target: i32([2, 2], [0, 1, 2, 4]) }, 'unpermute: target[3] must be in -1..3, found 4'],
  ['unpermute', { y: f32([3, 32]) }, 'unpermute: y must be f32 [4, 32], found f32 [3, 32]'],
  ['expertsDown', { x: bf16([3, 32]) }, 'experts_down: x must have 4 rows, found 3'],
  ['expertsDown', { weight }, 'experts_down: weight must be [1, 32, 32], found [1, 5, 32]'],
  ['expertsDown', { target: i32([2, 2], [0, 1, 2, 4]) }, 'experts_down: target[3] must be in -1..3, found 4'],
  ['expertsDown', { out: f32([2, 64]) }, 'experts_down: out must be f32 [2, 32], found f32 [2, 64]'],
  ['setPages', { updates: i32([3, 2]) }, 'set_pages: updates must be i32 [3, 3], found i32 [3, 2]'],
  ['setPages', { updates: i32([1, 3], [2, 0, 0]) }, 'set_pages: row of an update must be in 0..1, found 2'],
  ['setPages', { updates: i32([1, 3], [0, 2, 0]) }, 'set_pages: index of an update must be in 0..1, found 2'],
  ['startHistories', { rows: i32([2], [1, 2]) }, 'start_histories: rows[1] must be in 0..1, found 2'],
  ['startHistories', { ids: i32([3], [3, 4, 0]) }, 'start_histories: ids[1] must be in 0..3, found 4'],
  ['startHistories', { offsets: i32([3], [0, 2, 4]) }, 'start_histories: offsets[2] must be at most 3, found 4'],
  ['startHistories', { generated: i32([2], [1, 2]) }, 'start_histories: generated must be in 0..1, found 2'],
  ['sample', { rows: i32([1], [2]) }, 'sample: rows[0] must be in -1..1, found 2'],
  ['sample', { history: i32([1, 40]) }, 'sample: history must be i32 [2, 40], found i32 [1, 40]'],
  ['sample', options(4, 0.5), 'sample: options[0] has penalties, history must be given, found none'],
  ['sample', options(0, -1), 'sample: options[0].temperature must be 0 or more, found -1'],
  ['sample', options(1, 1.5), 'sample: options[0].top_p must be in 0..1, found 1.5'],
  ['sample', options(2, -0.5), 'sample: options[0].min_p must be in 0..1, found -0.5'],
  ['sample', options(3, 0), 'sample: options[0].repetition_penalty must be above 0, found 0'],
  ['sample', options(4, Number.NaN), 'sample: options[0]: presence and frequency penalty must be finite'],
  [
    'sample',
    { samplingInts: Int32Array.of(-1, -1, 0, 0, 0, 0) },
    'sample: options[0].top_k must be 0 or more, found -1',
  ],
  [
    'sample',
    { samplingInts: Int32Array.of(0, 3, 0, 0, 0, 0) },
    'sample: options[0].logprobs must be in -1..2, found 3',
  ],
  ['sample', { banned: banned(30, [1]) }, 'sample: banned must be i32 [2], found i32 [1]'],
  ['sample', { ...masks, maskBits: i32([1, 1], [-1]) }, 'sample: mask_bits must be i32 [1, 2], found i32 [1, 1]'],
  ['sample', { ...masks, maskIndex: i32([2], [0, 0]) }, 'sample: mask_index must be i32 [1], found i32 [2]'],
  ['sample', { ...masks, maskIndex: i32([1], [1]) }, 'sample: mask_index[0] must be in -1..0, found 1'],
  ['sample', { ...masks, maskIndex: i32([1], [-2]) }, 'sample: mask_index[0] must be in -1..0, found -2'],
  ['sample', { ...bias, biasIds: i32([1], [40]) }, 'sample: bias_ids[0] must be in 0..39, found 40'],
  ['sample', { ...bias, biasOffsets: i32([2], [0, 2]) }, 'sample: bias_offsets[1] must be at most 1, found 2'],
]

const call = (op: OpName, args: object) => (ops[op] as (args: object) => number)(args)

describe('the validation in front of every op', () => {
  it.each(Object.keys(sound) as OpName[])('lets a sound call of %s through', (op) => {
    expect(() => call(op, sound[op]())).not.toThrow()
  })

  it.each(wrong)('stops %s before it runs: %o', (op, change, message) => {
    const attempt = () => call(op, { ...sound[op](), ...change })
    expect(attempt).toThrow(expect.objectContaining({ code: 'DEVICE_ERROR', message: `internal: ${message}` }))
  })

  it.each([
    [{ experts: 0, n: 4, k: 32, layout: 'rows' }, 'experts must be at least 1, found 0'],
    [{ experts: 1, n: 0, k: 32, layout: 'rows' }, 'n must be at least 1, found 0'],
    [{ experts: 1, n: 4, k: 48, layout: 'rows' }, 'k must be a positive multiple of 32, found 48'],
    [{ experts: 1, n: 96, k: 32, layout: 'gateUp' }, 'n of gate and up rows must be twice a multiple of 32, found 96'],
  ] as const)('refuses to allocate a weight of %o', (shape, message) => {
    expect(() => ops.allocateWeight(shape)).toThrow(`internal: allocate_weight: ${message}`)
  })

  it.each([
    [1, 0, f32([5, 32]), 'expert must be in 0..0, found 1'],
    [0, 1, f32([5, 32]), 'first_row must be in 0..0, found 1'],
    [0, 0, f32([5, 31]), 'values must be f32 [5, 32], found f32 [5, 31]'],
    [0, 0, i32([5, 32]), 'values must be f32, bf16, f16, f8_e4m3 or u8 codes, found i32'],
  ])('refuses to pack expert %i from row %i on', (expert, row, values, message) => {
    expect(() => ops.pack(weight, expert, row, { values: values as never })).toThrow(`internal: pack: ${message}`)
  })

  it.each([0, 16, 48, 288])('refuses a cache of head dim %i', (headDim) => {
    const odd = ops.createKv({ ...kvShape, headDim })
    const args = { ...sound.attention(), kv: odd, q: f32([3, 4, headDim]), out: f32([3, 4 * headDim]) }
    expect(() => ops.attention(args)).toThrow(`attention: head dim must be 32 to 256 in steps of 32, found ${headDim}`)
  })
})
