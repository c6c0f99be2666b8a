/** The tensors that one matrix or vector of the model is stored in, found by name and checked: plain numbers, FP8 with scales, or packed codes of 4 bits. */
import { M2Error } from '../errors'
import { DTYPES, type Form, type PARTS, type TensorKind } from '../native'
import type { Checkpoint, CheckpointTensor } from './checkpoint'
import type { Packing } from './quantization'

/** One place of the model: what fills it and the shape it must have. Vectors have one size. */
export interface Place {
  name: string
  kind: TensorKind
  layer: number
  expert: number
  shape: readonly number[]
}

export type Part = (typeof PARTS)[number]

export interface StoredTensor {
  form: Form
  parts: Partial<Record<Part, CheckpointTensor>>
  /** Further tensors that say nothing new. */
  others: CheckpointTensor[]
  /** Of packed codes. */
  packing?: Packing
}

const FP8 = 'F8_E4M3'
/** An FP8 matrix has one scale for each block of so many rows and columns. */
const SCALE_BLOCK = 128
const PLAIN = DTYPES.filter((dtype) => dtype !== FP8)
/** Codes in an I32. */
const PER_WORD = 8
/** Matrices that have a product, which takes FP8 and codes. */
const PRODUCTS: ReadonlySet<TensorKind> = new Set(['qProj', 'kProj', 'vProj', 'oProj', 'lmHead', 'w1', 'w3', 'w2'])

/** What packed matrices' tensors are called behind the matrix's own name. */
const GPTQ_NAMES = { values: 'qweight', scales: 'scales', zeros: 'qzeros', groupIndex: 'g_idx' }
const NAMES: Record<Packing['form'], Record<Part, string>> = {
  AWQ: GPTQ_NAMES,
  GPTQ: GPTQ_NAMES,
  GPTQ_V2: GPTQ_NAMES,
  PACKED: { values: 'weight_packed', scales: 'weight_scale', zeros: 'weight_zero_point', groupIndex: 'weight_g_idx' },
}

/**
 * Null: there is nothing of that name.
 * @throws {M2Error} BAD_CHECKPOINT, UNSUPPORTED_MODEL naming file and tensor.
 */
export function storedTensor(place: Place, checkpoint: Checkpoint, packing: Packing | undefined): StoredTensor | null {
  const plain = checkpoint.tensors.get(place.name)
  const packed = packedValues(place, checkpoint)
  if (!packed) return plain ? numbers(place, plain, checkpoint) : null
  const where = `${checkpoint.files[packed.file]}: ${packed.name}`
  if (plain) throw new M2Error('BAD_CHECKPOINT', `${where}: expected no packed form of ${place.name}, found both`)
  if (!PRODUCTS.has(place.kind))
    throw new M2Error('UNSUPPORTED_MODEL', `${where}: expected ${place.name}, found it packed`)
  if (!packing || packed.name !== nameOf(place, NAMES[packing.form].values)) {
    const found = packing ? `one of ${packing.form}` : 'none'
    throw new M2Error(
      'BAD_CHECKPOINT',
      `${where}: expected a quantization_config in config.json for it, found ${found}`,
    )
  }
  return codes(place, packed, checkpoint, packing)
}

const nameOf = (place: Place, part: string) => `${place.name.replace(/\.weight$/, '')}.${part}`

function packedValues(place: Place, { tensors }: Checkpoint): CheckpointTensor | undefined {
  return tensors.get(nameOf(place, GPTQ_NAMES.values)) ?? tensors.get(nameOf(place, NAMES.PACKED.values))
}

function numbers({ name, kind, shape }: Place, tensor: CheckpointTensor, checkpoint: Checkpoint): StoredTensor {
  const { files, tensors } = checkpoint
  const file = files[tensor.file]
  const readable: readonly string[] = PRODUCTS.has(kind) ? DTYPES : PLAIN
  if (!readable.includes(tensor.dtype)) {
    throw new M2Error('UNSUPPORTED_MODEL', `${file}: ${name}: expected ${readable.join(', ')}, found ${tensor.dtype}`)
  }
  if (tensor.dtype !== FP8 && tensors.has(scalesName(name))) {
    const found = `${tensor.dtype} with ${scalesName(name)}`
    throw new M2Error('UNSUPPORTED_MODEL', `${file}: ${name}: expected ${FP8} where there are scales, found ${found}`)
  }
  if (!isShape(tensor, shape)) {
    const expected = `expected shape [${shape}] by config.json, found [${tensor.shape}]`
    throw new M2Error('BAD_CHECKPOINT', `${file}: ${name}: ${expected}`)
  }
  const scales = tensor.dtype === FP8 ? fp8Scales(name, shape, tensor, checkpoint) : undefined
  return { form: tensor.dtype as Form, parts: { values: tensor, scales }, others: [] }
}

const scalesName = (name: string) => `${name}_scale_inv`

/** The scales of an FP8 matrix. They multiply, despite their name. */
function fp8Scales(
  name: string,
  shape: readonly number[],
  tensor: CheckpointTensor,
  { files, tensors }: Checkpoint,
): CheckpointTensor {
  const expected = shape.map((size) => Math.ceil(size / SCALE_BLOCK))
  const scales = tensors.get(scalesName(name))
  const blocks = `expected F32 [${expected}] in ${scalesName(name)}, one scale for each ${SCALE_BLOCK} x ${SCALE_BLOCK}`
  if (!scales) throw new M2Error('BAD_CHECKPOINT', `${files[tensor.file]}: ${name}: ${blocks}, found no such tensor`)
  if (scales.dtype !== 'F32' || !isShape(scales, expected)) {
    const found = `${scales.dtype} [${scales.shape}]`
    throw new M2Error('UNSUPPORTED_MODEL', `${files[scales.file]}: ${name}: ${blocks}, found ${found}`)
  }
  return scales
}

function codes(place: Place, values: CheckpointTensor, checkpoint: Checkpoint, packing: Packing): StoredTensor {
  const { files, tensors } = checkpoint
  const names = NAMES[packing.form]
  const expected = packedShapes(place.shape as readonly [number, number], packing)
  const fail = (code: 'BAD_CHECKPOINT' | 'UNSUPPORTED_MODEL', tensor: CheckpointTensor, problem: string): never => {
    throw new M2Error(code, `${files[tensor.file]}: ${tensor.name}: ${problem}`)
  }
  if (packing.form !== 'PACKED' && place.shape[0]! % PER_WORD !== 0) {
    fail('UNSUPPORTED_MODEL', values, `expected a matrix with a multiple of ${PER_WORD} rows, found ${place.shape[0]}`)
  }
  const check = (name: string, dtypes: readonly string[], shape: readonly number[]): CheckpointTensor => {
    const tensor = tensors.get(nameOf(place, name))
    const form = `${dtypes.join(', ')} [${shape}] for groups of ${packing.group}`
    if (!tensor)
      return fail('BAD_CHECKPOINT', values, `expected ${form} in ${nameOf(place, name)}, found no such tensor`)
    if (dtypes.includes(tensor.dtype) && isShape(tensor, shape)) return tensor
    return fail('BAD_CHECKPOINT', tensor, `expected ${form}, found ${tensor.dtype} [${tensor.shape}]`)
  }
  const optional = (name: string, dtype: string, shape: readonly number[]) =>
    tensors.has(nameOf(place, name)) ? check(name, [dtype], shape) : undefined

  const parts: StoredTensor['parts'] = {
    values: check(names.values, ['I32'], expected.values),
    scales: check(names.scales, PLAIN, expected.scales),
  }
  if (packing.form !== 'PACKED') {
    parts.zeros = check(names.zeros, ['I32'], expected.zeros)
    parts.groupIndex = optional(names.groupIndex, 'I32', [place.shape[1]!])
    return { form: packing.form, parts, others: [], packing }
  }
  const index = tensors.get(nameOf(place, names.groupIndex))
  if (index)
    fail('UNSUPPORTED_MODEL', index, 'expected groups in the order of the columns (no actorder), found an index')
  const zeros = tensors.get(nameOf(place, names.zeros))
  if (zeros && packing.symmetric)
    fail('BAD_CHECKPOINT', zeros, 'expected none, as config.json says symmetric, found zeros')
  if (!packing.symmetric) parts.zeros = check(names.zeros, ['I32'], expected.zeros)
  const shape = optional('weight_shape', 'I64', [2])
  return { form: packing.form, parts, others: shape ? [shape] : [], packing }
}

/** AWQ packs along the rows of the matrix, of which it stores the transpose; GPTQ packs the transpose along the columns; compressed-tensors the matrix itself. */
function packedShapes(
  [n, k]: readonly [number, number],
  { form, group }: Packing,
): Record<'values' | 'scales' | 'zeros', number[]> {
  const groups = Math.ceil(k / group)
  const words = (size: number) => Math.ceil(size / PER_WORD)
  if (form === 'PACKED') return { values: [n, words(k)], scales: [n, groups], zeros: [words(n), groups] }
  const values = form === 'AWQ' ? [k, words(n)] : [words(k), n]
  return { values, scales: [groups, n], zeros: [groups, words(n)] }
}

function isShape({ shape }: CheckpointTensor, expected: readonly number[]): boolean {
  return shape.length === expected.length && shape.every((size, i) => size === expected[i])
}
