/** What config.json says about quantised weights, and which of it can be loaded. */
import type { JsonFields } from './json-fields'

/** The quantization_config of a checkpoint; null is what it does not say. */
export interface Quantization {
  /** "fp8", as MiniMax-M2 is published, "awq", "gptq", ... */
  method: string | null
  /** Element type of the quantised weights: "float8_e4m3fn". */
  format: string | null
  /** Rows and columns of a weight that share a scale: [128, 128]. */
  blockSize: number[] | null
  /** Modules whose weights are not quantised. */
  exempt: string[]
}

/** Null for weights that are stored as numbers of their own. */
export function readQuantization(fields: JsonFields): Quantization | null {
  const quantization = fields.object('quantization_config')
  if (!quantization) return null
  const blockSize = quantization.array('weight_block_size') ?? null
  if (blockSize && !(blockSize.length === 2 && blockSize.every((size) => Number.isInteger(size) && Number(size) > 0))) {
    quantization.fail('BAD_CHECKPOINT', 'weight_block_size', 'two integers of at least 1')
  }
  return {
    method: quantization.string('quant_method') ?? null,
    format: quantization.string('fmt') ?? null,
    blockSize: blockSize as number[] | null,
    exempt: (quantization.array('modules_to_not_convert') ?? []).map(String),
  }
}

/** Of FP8 as MiniMax publishes it. */
const BLOCK = 128

/** @throws {M2Error} UNSUPPORTED_MODEL for quantised weights that are not read: which tensors are FP8, their own headers say. */
export function refuseQuantized(fields: JsonFields): void {
  const found = readQuantization(fields)
  if (!found) return
  const isOurs =
    found.method === 'fp8' &&
    (found.format === null || found.format === 'float8_e4m3fn' || found.format === 'e4m3') &&
    found.blockSize?.every((size) => size === BLOCK)
  if (isOurs) return
  const expected = `none, or fp8 in float8_e4m3fn with blocks of ${BLOCK} x ${BLOCK} (other quantized checkpoints come later)`
  fields.fail('UNSUPPORTED_MODEL', 'quantization_config', expected)
}
