/** As what a model's matrices are held in the memory of a device. */
import { M2Error } from '../errors'
import { type ModelGeometry, type TensorKind, WEIGHT_FORMATS, type WeightFormat } from '../native'
import { BF16, type WeightType, weightBytes, weightShapes } from './parameters'

/** What other weights are quantised to. */
const INT4: WeightType = { format: 'int4', group: 128, zeros: false }
/** Numbers of a row that share a scale where rows are rounded to FP8. */
const ROW_BLOCK = 128

export interface HeldWeights {
  /** The one with the fewest bits that any of the matrices has: of most of them, where it is not bf16. */
  format: WeightFormat
  /** Of all weights. */
  bytes: number
}

/** Weights of a layer, in the order of `weightShapes`, and the tensors that they are made of. */
const LAYER_WEIGHTS: readonly (readonly TensorKind[])[] = [['qProj', 'kProj', 'vProj'], ['oProj'], ['w1', 'w3'], ['w2']]
/** Of them those of the experts. */
const FIRST_OF_EXPERTS = 2

/** Which weight a tensor becomes a part of, in the order of `weightShapes`; -1: none, it is held as it is computed with. */
export function weightIndex({ kind, layer }: { kind: TensorKind; layer: number }): number {
  if (kind === 'lmHead') return 0
  const i = LAYER_WEIGHTS.findIndex((kinds) => kinds.includes(kind))
  return i < 0 ? -1 : 1 + layer * LAYER_WEIGHTS.length + i
}

/** The engine's options of these names. */
export interface WantedTypes {
  weightDtype: 'auto' | WeightFormat
  activationDtype?: 'auto' | 'fp8'
}

export interface HeldPlan extends HeldWeights {
  /** As the core's plan has it. */
  held: Int32Array
  /** Weights that are stored otherwise become int4: other numbers. */
  quantised: boolean
}

/**
 * @param stored as what the weights can be held without a change of their numbers, which is how they are by default
 * @param wanted weightDtype "bf16" and "fp8": no fewer bits; "int4": experts too that are stored otherwise. activationDtype "fp8": products with what is not
 *   bf16 then round their rows, but for lm_head
 * @throws {M2Error} BAD_OPTION where FP8 is wanted and cannot be had.
 */
export function holdWeights(
  config: ModelGeometry,
  stored: readonly WeightType[],
  device: string,
  { weightDtype: wanted, activationDtype }: WantedTypes,
): HeldPlan {
  if (wanted === 'fp8' && !stored.some(({ format }) => format === 'fp8')) {
    const problem = 'needs a checkpoint whose matrices are FP8'
    throw new M2Error('BAD_OPTION', `weightDtype: "fp8" ${problem}; expected "auto", "bf16" or "int4"`)
  }
  const types = stored.map((type, i) => {
    if (wanted === 'int4' && isOfExperts(i) && type.format !== 'int4') return INT4
    return wanted === 'auto' || wanted === 'int4' || wanted === type.format ? type : BF16
  })
  return {
    format: (['int4', 'fp8'] as const).find((format) => types.some((type) => type.format === format)) ?? 'bf16',
    bytes: weightBytes(config, types, device === 'cpu' ? 'cpu' : 'gpu'),
    held: heldColumns(activationDtype === 'fp8' ? withFp8Rows(config, types) : types),
    quantised: types.includes(INT4),
  }
}

function withFp8Rows(config: ModelGeometry, types: readonly WeightType[]): WeightType[] {
  const shapes = weightShapes(config)
  const rounded = types.map((type, i) => {
    const fp8Rows = i > 0 && type.format !== 'bf16' && shapes[i]![2] % ROW_BLOCK === 0
    return { ...type, fp8Rows }
  })
  if (!rounded.some(({ fp8Rows }) => fp8Rows)) {
    const problem = `needs matrices that are held as FP8 or int4, with rows of a multiple of ${ROW_BLOCK} numbers`
    throw new M2Error('BAD_OPTION', `activationDtype: "fp8" ${problem}; expected "auto"`)
  }
  return rounded
}

/** As the core's plan has them. */
export function heldColumns(types: readonly WeightType[]): Int32Array {
  return Int32Array.from(
    types.flatMap(({ format, group, zeros, fp8Rows }) => {
      return [WEIGHT_FORMATS.indexOf(format), group, Number(zeros), Number(fp8Rows ?? false)]
    }),
  )
}

/** By a weight's place in the order of `weightShapes`. */
function isOfExperts(i: number): boolean {
  return i > 0 && (i - 1) % LAYER_WEIGHTS.length >= FIRST_OF_EXPERTS
}
