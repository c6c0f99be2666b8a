/** As what a model's matrices are held in the memory of a device. */
import { M2Error } from '../errors'
import { type ModelGeometry, type TensorKind, WEIGHT_FORMATS, type WeightFormat } from '../native'
import { BF16, type WeightType, weightBytes } from './parameters'

/** What other weights are quantised to. */
const INT4: WeightType = { format: 'int4', group: 128, zeros: false }

export interface HeldWeights {
  /** Of most matrices: all others are bf16 or FP8. */
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

export interface HeldPlan extends HeldWeights {
  /** As the core's plan has it. */
  held: Int32Array
  /** Weights that are stored otherwise become int4: other numbers. */
  quantised: boolean
}

/**
 * @param stored as what the weights can be held without a change of their numbers
 * @param wanted "auto": so, where the device's products take it; "int4": experts too that are stored otherwise
 * @throws {M2Error} BAD_OPTION where FP8 or int4 is wanted and cannot be had.
 */
export function holdWeights(
  config: ModelGeometry,
  stored: readonly WeightType[],
  device: string,
  wanted: 'auto' | WeightFormat,
): HeldPlan {
  if (wanted === 'fp8' && !stored.some(({ format }) => format === 'fp8')) {
    refuse(wanted, 'needs a checkpoint whose matrices are FP8')
  }
  if ((wanted === 'fp8' || wanted === 'int4') && !takesWeights(device, wanted))
    refuse(wanted, `is not available on ${device} yet`)
  const types = stored.map((type, i) => {
    const isExpert = i > 0 && (i - 1) % LAYER_WEIGHTS.length >= FIRST_OF_EXPERTS
    if (wanted === 'int4' && isExpert && type.format !== 'int4') return INT4
    return keeps(wanted, type.format) && takesWeights(device, type.format) ? type : BF16
  })
  const format = (['int4', 'fp8', 'bf16'] as const).find((format) => types.some((type) => type.format === format))!
  const held = types.flatMap(({ format, group, zeros }) => [WEIGHT_FORMATS.indexOf(format), group, Number(zeros)])
  const quantised = types.includes(INT4)
  return { format, bytes: weightBytes(config, types), held: Int32Array.from(held), quantised }
}

/** As each backend's `takes` says in csrc, which is asked only when a model is loaded. */
export function takesWeights(device: string, format: WeightFormat): boolean {
  return format === 'bf16' || device === 'cpu'
}

function keeps(wanted: 'auto' | WeightFormat, format: WeightFormat): boolean {
  return wanted === 'auto' || wanted === 'int4' || wanted === format
}

function refuse(wanted: string, problem: string): never {
  throw new M2Error('BAD_OPTION', `weightDtype: "${wanted}" ${problem}; expected "auto" or "bf16"`)
}
