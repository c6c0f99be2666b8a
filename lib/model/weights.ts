/**
 * Binding: Hugging Face tensor names to the places they fill in the model, checked against the geometry. A pure function
 * over plain data; the core reads the bytes by the plan that comes out.
 */
import { M2Error } from '../errors'
import { DTYPES, FORMS, PARTS, TENSOR_KINDS, type TensorKind, type TensorTable } from '../native'
import type { Checkpoint } from './checkpoint'
import type { ModelShape } from './config'
import { weightIndex } from './held-weights'
import { BF16, type WeightType } from './parameters'
import { type Place, type StoredTensor, storedTensor } from './stored-tensors'

export interface PlannedWeights {
  table: TensorTable
  /** As what each weight of the core can be held without a change of its numbers, in the order of `weightShapes`. */
  stored: WeightType[]
  /** Tensors that are no part of the model (such as multi-token-prediction layers): never read, to be reported. */
  skipped: string[]
}

/** Tens of times the largest MiniMax-M2: what is above comes of a wrong number in config.json. */
const MAX_EXPERTS = 500_000

/**
 * @throws {M2Error} BAD_CHECKPOINT for missing tensors and wrong shapes; UNSUPPORTED_MODEL for dtypes that are not read
 * yet. The message names the tensor.
 */
export function planWeights(config: ModelShape, checkpoint: Checkpoint): PlannedWeights {
  if (config.layers * config.experts > MAX_EXPERTS) {
    const found = `${config.layers} layers of ${config.experts} experts`
    throw new M2Error('BAD_CHECKPOINT', `config.json: expected at most ${MAX_EXPERTS} experts in all, found ${found}`)
  }
  const places = [...modelPlaces(config)]
  const table = emptyTable(checkpoint.files, places)
  const stored: (WeightType | undefined)[] = new Array(1 + 4 * config.layers)
  const used = new Set<string>()
  for (const [i, place] of places.entries()) {
    const tensor = storedTensor(place, checkpoint, config.packing)
    if (!tensor) return refuseMissing(config, places, checkpoint)
    fillRow(table, i, place, tensor)
    for (const { name } of [...Object.values(tensor.parts), ...tensor.others].flatMap((part) => part ?? []))
      used.add(name)
    const weight = weightIndex(place)
    if (weight >= 0) stored[weight] = together(stored[weight], typeOf(tensor))
  }
  const skipped = [...checkpoint.tensors.keys()].filter((name) => !used.has(name))
  return { table, stored: stored.map((type) => type ?? BF16), skipped }
}

function emptyTable(files: string[], places: readonly Place[]): TensorTable {
  const n = places.length
  const names = places.map(({ name }) => name)
  const ints = () => new Int32Array(n)
  return {
    ...{ files, names, kind: ints(), layer: ints(), expert: ints(), form: ints(), rows: ints(), cols: ints() },
    ...{ file: new Int32Array(n * PARTS.length).fill(-1), offset: new Float64Array(n * PARTS.length) },
    ...{ group: ints(), symmetric: ints(), scaleDtype: ints() },
  }
}

function fillRow(table: TensorTable, i: number, { kind, layer, expert, shape }: Place, stored: StoredTensor): void {
  table.kind[i] = TENSOR_KINDS.indexOf(kind)
  table.layer[i] = layer
  table.expert[i] = expert
  table.form[i] = FORMS.indexOf(stored.form)
  table.rows[i] = shape.length === 2 ? shape[0]! : 1
  table.cols[i] = shape.at(-1)!
  for (const [j, part] of PARTS.entries()) {
    const tensor = stored.parts[part]
    if (!tensor) continue
    table.file[i * PARTS.length + j] = tensor.file
    table.offset[i * PARTS.length + j] = tensor.offset
  }
  if (!stored.packing) return
  table.group[i] = stored.packing.group
  table.symmetric[i] = Number(stored.packing.symmetric)
  table.scaleDtype[i] = (DTYPES as readonly string[]).indexOf(stored.parts.scales!.dtype)
}

function typeOf({ form, packing }: StoredTensor): WeightType {
  if (packing) return { format: 'int4', group: packing.group, zeros: !packing.symmetric }
  return form === 'F8_E4M3' ? { ...BF16, format: 'fp8' } : BF16
}

/** Of tensors that become one weight: bf16 unless they are stored alike. */
function together(a: WeightType | undefined, b: WeightType): WeightType {
  if (a === undefined || (a.format === b.format && a.group === b.group && a.zeros === b.zeros)) return b
  return a.format === b.format && a.group === b.group ? { ...a, zeros: true } : BF16
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

function refuseMissing(config: ModelShape, places: readonly Place[], checkpoint: Checkpoint): never {
  const missing = places.filter((place) => !storedTensor(place, checkpoint, config.packing))
  const found = `${missing.length} of ${places.length} tensors missing from the ${checkpoint.tensors.size} in the files`
  throw new M2Error('BAD_CHECKPOINT', `${missing[0]!.name}: expected by config.json, found ${found}`)
}
