/** What config.json says about quantised weights, and which of it can be loaded. */
import type { Form } from '../native'
import type { JsonFields } from './json-fields'

/** The quantization_config of a checkpoint; null is what it does not say. */
export interface Quantization {
  /** "fp8", as MiniMax-M2 is published, "awq", "gptq", "compressed-tensors", ... */
  method: string | null
  /** What the method calls the way it stores weights: "float8_e4m3fn", "gemm", "gptq_v2", "pack-quantized". */
  format: string | null
  /** Rows and columns of a weight that share a scale: [128, 128]. */
  blockSize: number[] | null
  /** Bits of a weight. */
  bits: number | null
  /** Weights of a row that share a scale; -1: all. */
  group: number | null
  /** Groups have zeros of their own. */
  zeros: boolean | null
  /** Modules whose weights are not quantised. */
  exempt: string[]
}

/** How the matrices are stored that are packed in 4 bits. Which ones are, the headers say. */
export interface Packing {
  form: Extract<Form, 'AWQ' | 'GPTQ' | 'GPTQ_V2' | 'PACKED'>
  /** Weights of a row that share a scale. */
  group: number
  /** All zeros are the middle of the codes. */
  symmetric: boolean
}

/** Null for weights that are stored as numbers of their own. */
export function readQuantization(fields: JsonFields): Quantization | null {
  const quantization = fields.object('quantization_config')
  if (!quantization) return null
  const blockSize = quantization.array('weight_block_size') ?? null
  if (blockSize && !(blockSize.length === 2 && blockSize.every((size) => Number.isInteger(size) && Number(size) > 0))) {
    quantization.fail('BAD_CHECKPOINT', 'weight_block_size', 'two integers of at least 1')
  }
  const codes = configGroups(quantization)[0] ?? quantization
  const symmetric = codes.boolean('symmetric') ?? codes.boolean('sym')
  const exempt = quantization.array('modules_to_not_convert') ?? quantization.array('ignore') ?? []
  return {
    method: quantization.string('quant_method') ?? null,
    format:
      ['fmt', 'checkpoint_format', 'format', 'version'].map((name) => text(quantization, name)).find(Boolean) ?? null,
    blockSize: blockSize as number[] | null,
    bits: integer(codes, 'bits') ?? integer(codes, 'num_bits') ?? null,
    group: integer(codes, 'group_size') ?? null,
    zeros: codes.boolean('zero_point') ?? (symmetric === undefined ? null : !symmetric),
    exempt: exempt.map(String),
  }
}

/**
 * Undefined: no matrix is packed; which are FP8, their own headers say.
 * @throws {M2Error} UNSUPPORTED_MODEL for quantised weights that are not read, naming the field.
 */
export function readPacking(fields: JsonFields): Packing | undefined {
  const quantization = fields.object('quantization_config')
  switch (quantization?.string('quant_method')) {
    case undefined:
      if (quantization) refuse(quantization, 'quant_method', METHODS)
      return undefined
    case 'fp8':
      return checkFp8(quantization!)
    case 'awq':
      return awqPacking(quantization!)
    case 'gptq':
      return gptqPacking(quantization!)
    case 'compressed-tensors':
      return compressedPacking(quantization!)
    default:
      return refuse(quantization!, 'quant_method', METHODS)
  }
}

const METHODS = '"fp8", "awq", "gptq" or "compressed-tensors"'
const GROUPS = [32, 64, 128]

/** Of FP8 as MiniMax publishes it. */
function checkFp8(fp8: JsonFields): undefined {
  oneOf(fp8, 'fmt', [undefined, 'float8_e4m3fn', 'e4m3'])
  const size = fp8.array('weight_block_size')
  if (size?.length !== 2 || size.some((length) => length !== 128)) refuse(fp8, 'weight_block_size', '[128,128]')
}

function awqPacking(awq: JsonFields): Packing {
  oneOf(awq, 'bits', [4])
  oneOf(awq, 'version', [undefined, 'gemm', 'GEMM'])
  return { form: 'AWQ', group: groupOf(awq), symmetric: awq.boolean('zero_point') === false }
}

/** Files of the first version store each zero less one, and often do not name their format. */
function gptqPacking(gptq: JsonFields): Packing {
  oneOf(gptq, 'bits', [4])
  oneOf(gptq, 'desc_act', [undefined, false])
  const format = gptq.raw('checkpoint_format') === undefined ? 'format' : 'checkpoint_format'
  oneOf(gptq, format, [undefined, 'gptq', 'gptq_v2'])
  const form = gptq.raw(format) === 'gptq_v2' ? 'GPTQ_V2' : 'GPTQ'
  return { form, group: groupOf(gptq), symmetric: gptq.boolean('sym') ?? true }
}

function compressedPacking(quantization: JsonFields): Packing {
  oneOf(quantization, 'format', ['pack-quantized'])
  const groups = configGroups(quantization).map((weights): Packing => {
    oneOf(weights, 'num_bits', [4])
    oneOf(weights, 'type', [undefined, 'int'])
    oneOf(weights, 'strategy', ['group'])
    oneOf(weights, 'actorder', [undefined, false, 'static', 'weight'])
    return { form: 'PACKED', group: groupOf(weights), symmetric: weights.boolean('symmetric') ?? true }
  })
  const [first] = groups
  if (!first || groups.some(({ group, symmetric }) => group !== first.group || symmetric !== first.symmetric)) {
    return refuse(quantization, 'config_groups', 'one group_size and one symmetric in all of at least one group')
  }
  return first
}

function groupOf(fields: JsonFields): number {
  oneOf(fields, 'group_size', GROUPS)
  return fields.raw('group_size') as number
}

/** The weights of compressed-tensors' config_groups. */
function configGroups(quantization: JsonFields): JsonFields[] {
  const groups = quantization.object('config_groups')
  const names = groups ? Object.keys(quantization.raw('config_groups') as object) : []
  return names.flatMap((name) => groups?.object(name)?.object('weights') ?? [])
}

function integer(fields: JsonFields, name: string): number | undefined {
  return fields.number(name, 'an integer', Number.isInteger)
}

/** In info's own words only: what is no string is judged when the model is to be loaded. */
function text(fields: JsonFields, name: string): string | undefined {
  const value = fields.raw(name)
  return typeof value === 'string' ? value : undefined
}

function oneOf(fields: JsonFields, name: string, values: readonly unknown[]): void {
  if (values.includes(fields.raw(name))) return
  const named = values.flatMap((value) => (value === undefined ? [] : JSON.stringify(value)))
  const most = named.slice(0, -1).join(', ')
  refuse(fields, name, most ? `${most} or ${named.at(-1)}` : named[0]!)
}

function refuse(fields: JsonFields, name: string, expected: string): never {
  return fields.fail('UNSUPPORTED_MODEL', name, expected)
}
