/**
 * Binding: Hugging Face tensor names to the places they fill in the model, checked against the geometry. A pure function
 * over plain data; the core reads the bytes by the plan that comes out.
 */
import { M2Error } from '../errors'
import { DTYPES, TENSOR_KINDS, type TensorKind, type WeightPlan } from '../native'
import type { Checkpoint, CheckpointTensor } from './checkpoint'
import type { ModelShape } from './config'

export interface PlannedWeights {
  plan: WeightPlan
  /** Tensors that are no part of the model (such as multi-token-prediction layers): never read, to be reported. */
  skipped: string[]
  /** Elements of the matrices that are stored as FP8 and can stay so. */
  fp8Elements: number
}

/** One place of the model: the tensor that fills it and the shape it must have. Vectors have one size. */
interface Place {
  name: string
  kind: TensorKind
  layer: number
  expert: number
  shape: readonly number[]
}

/** Tens of times the largest MiniMax-M2: what is above comes of a wrong number in config.json. */
const MAX_EXPERTS = 500_000

const FP8 = 'F8_E4M3'
/** An FP8 matrix has one scale for each block of so many rows and columns. */
const SCALE_BLOCK = 128
/** Matrices whose products take FP8. */
const FP8_KINDS: ReadonlySet<TensorKind> = new Set(['qProj', 'kProj', 'vProj', 'oProj', 'lmHead', 'w1', 'w3', 'w2'])
/** Tensors that become one weight in the core: it is held as FP8 where all of them are. */
const FIRST_OF_WEIGHT: Partial<Record<TensorKind, TensorKind>> = { kProj: 'qProj', vProj: 'qProj', w3: 'w1' }

/**
 * @throws {M2Error} BAD_CHECKPOINT for missing tensors and wrong shapes; UNSUPPORTED_MODEL for dtypes that are not read
 * yet. The message names the tensor.
 */
export function planWeights(config: ModelShape, { files, tensors }: Checkpoint): PlannedWeights {
  if (config.layers * config.experts > MAX_EXPERTS) {
    const found = `${config.layers} layers of ${config.experts} experts`
    throw new M2Error('BAD_CHECKPOINT', `config.json: expected at most ${MAX_EXPERTS} experts in all, found ${found}`)
  }
  const places = [...modelPlaces(config)]
  const n = places.length
  const plan: WeightPlan = {
    files,
    names: places.map((place) => place.name),
    kind: new Int32Array(n),
    layer: new Int32Array(n),
    expert: new Int32Array(n),
    dtype: new Int32Array(n),
    rows: new Int32Array(n),
    cols: new Int32Array(n),
    file: new Int32Array(n),
    offset: new Float64Array(n),
    scaleFile: new Int32Array(n).fill(-1),
    scaleOffset: new Float64Array(n),
    keepFp8: true,
  }
  const used = new Set<string>()
  for (const [i, place] of places.entries()) {
    const tensor = tensors.get(place.name) ?? refuseMissing(places, tensors)
    checkTensor(place, tensor, files, tensors)
    plan.kind[i] = TENSOR_KINDS.indexOf(place.kind)
    plan.layer[i] = place.layer
    plan.expert[i] = place.expert
    plan.dtype[i] = (DTYPES as readonly string[]).indexOf(tensor.dtype)
    plan.rows[i] = place.shape.length === 2 ? place.shape[0]! : 1
    plan.cols[i] = place.shape.at(-1)!
    plan.file[i] = tensor.file
    plan.offset[i] = tensor.offset
    used.add(place.name)
    if (tensor.dtype !== FP8) continue
    const scales = scalesOf(place, tensor, files, tensors)
    plan.scaleFile[i] = scales.file
    plan.scaleOffset[i] = scales.offset
    used.add(scales.name)
  }
  return { plan, skipped: [...tensors.keys()].filter((name) => !used.has(name)), fp8Elements: countFp8(plan) }
}

function countFp8(plan: WeightPlan): number {
  const weightOf = (i: number) => {
    const kind = TENSOR_KINDS[plan.kind[i]!]!
    return `${plan.layer[i]} ${FIRST_OF_WEIGHT[kind] ?? kind}`
  }
  const isFp8 = (i: number) => DTYPES[plan.dtype[i]!] === FP8
  const indices = Array.from(plan.names.keys())
  const others = new Set(indices.filter((i) => !isFp8(i)).map(weightOf))
  const held = indices.filter((i) => isFp8(i) && !others.has(weightOf(i)))
  return held.reduce((sum, i) => sum + plan.rows[i]! * plan.cols[i]!, 0)
}

function* modelPlaces(config: ModelShape): Generator<Place> {
  const { vocabSize: V, hiddenSize: C, layers, experts: E, expertHidden: F } = config
  const queries = config.heads * config.headDim
  const keys = config.kvHeads * config.headDim
  const place = (name: string, kind: TensorKind, shape: number[], layer = -1, expert = -1): Place => {
    return { name, kind, layer, expert, shape }
  }
  yield place('model.embed_tokens.weight', 'embed', [V, C])
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}`
    const attention = `${prefix}.self_attn`
    const moe = `${prefix}.block_sparse_moe`
    yield place(`${prefix}.input_layernorm.weight`, 'inputNorm', [C], layer)
    yield place(`${attention}.q_proj.weight`, 'qProj', [queries, C], layer)
    yield place(`${attention}.k_proj.weight`, 'kProj', [keys, C], layer)
    yield place(`${attention}.v_proj.weight`, 'vProj', [keys, C], layer)
    yield place(`${attention}.o_proj.weight`, 'oProj', [C, queries], layer)
    yield place(`${attention}.q_norm.weight`, 'qNorm', [queries], layer)
    yield place(`${attention}.k_norm.weight`, 'kNorm', [keys], layer)
    yield place(`${prefix}.post_attention_layernorm.weight`, 'postNorm', [C], layer)
    yield place(`${moe}.gate.weight`, 'gate', [E, C], layer)
    if (config.useRoutingBias) yield place(`${moe}.e_score_correction_bias`, 'routerBias', [E], layer)
    for (let expert = 0; expert < E; expert++) {
      yield place(`${moe}.experts.${expert}.w1.weight`, 'w1', [F, C], layer, expert)
      yield place(`${moe}.experts.${expert}.w3.weight`, 'w3', [F, C], layer, expert)
      yield place(`${moe}.experts.${expert}.w2.weight`, 'w2', [C, F], layer, expert)
    }
  }
  yield place('model.norm.weight', 'finalNorm', [C])
  yield place(config.tieWordEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight', 'lmHead', [V, C])
}

function checkTensor(
  { name, kind, shape }: Place,
  tensor: CheckpointTensor,
  files: readonly string[],
  tensors: Checkpoint['tensors'],
): void {
  const file = files[tensor.file]
  const readable = FP8_KINDS.has(kind) ? DTYPES : DTYPES.filter((dtype) => dtype !== FP8)
  if (!(readable as readonly string[]).includes(tensor.dtype)) {
    throw new M2Error('UNSUPPORTED_MODEL', `${file}: ${name}: expected ${readable.join(', ')}, found ${tensor.dtype}`)
  }
  if (tensor.dtype !== FP8 && tensors.has(scalesName(name))) {
    const found = `${tensor.dtype} with ${scalesName(name)}`
    throw new M2Error('UNSUPPORTED_MODEL', `${file}: ${name}: expected ${FP8} where there are scales, found ${found}`)
  }
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
    const expected = `expected shape [${shape}] by config.json, found [${tensor.shape}]`
    throw new M2Error('BAD_CHECKPOINT', `${file}: ${name}: ${expected}`)
  }
}

const scalesName = (name: string) => `${name}_scale_inv`

/** The scales of an FP8 matrix. They multiply, despite their name. */
function scalesOf(
  { name, shape }: Place,
  tensor: CheckpointTensor,
  files: readonly string[],
  tensors: Checkpoint['tensors'],
): CheckpointTensor {
  const expected = shape.map((size) => Math.ceil(size / SCALE_BLOCK))
  const scales = tensors.get(scalesName(name))
  const blocks = `expected F32 [${expected}] in ${scalesName(name)}, one scale for each ${SCALE_BLOCK} x ${SCALE_BLOCK}`
  if (!scales) throw new M2Error('BAD_CHECKPOINT', `${files[tensor.file]}: ${name}: ${blocks}, found no such tensor`)
  if (scales.dtype !== 'F32' || scales.shape.length !== 2 || scales.shape.some((size, i) => size !== expected[i])) {
    const found = `${scales.dtype} [${scales.shape}]`
    throw new M2Error('UNSUPPORTED_MODEL', `${files[scales.file]}: ${name}: ${blocks}, found ${found}`)
  }
  return scales
}

function refuseMissing(places: readonly Place[], tensors: Checkpoint['tensors']): never {
  const missing = places.filter((place) => !tensors.has(place.name))
  const found = `${missing.length} of ${places.length} tensors missing from the ${tensors.size} in the files`
  throw new M2Error('BAD_CHECKPOINT', `${missing[0]!.name}: expected by config.json, found ${found}`)
}
