/** As what a model's matrices are held in the memory of a device. */
import { M2Error } from '../errors'
import type { ModelGeometry } from '../native'
import { weightBytes } from './parameters'

export interface HeldWeights {
  /** "fp8": those that are stored as FP8 stay so, all others are bf16. */
  format: 'bf16' | 'fp8'
  /** Of all weights. */
  bytes: number
}

/**
 * @param fp8Elements of the matrices that are stored as FP8
 * @param wanted "auto": as stored, where the device's products take it
 * @throws {M2Error} BAD_OPTION where FP8 is wanted and cannot be had.
 */
export function holdWeights(
  config: ModelGeometry,
  fp8Elements: number,
  device: string,
  wanted: 'auto' | 'bf16' | 'fp8',
): HeldWeights {
  const takesFp8 = device === 'cpu' // as each backend's `takes` says in csrc, which is asked only when a model is loaded
  if (wanted === 'fp8' && fp8Elements === 0) refuse('needs a checkpoint whose matrices are FP8')
  if (wanted === 'fp8' && !takesFp8) refuse(`is not available on ${device} yet`)
  const kept = takesFp8 && wanted !== 'bf16' ? fp8Elements : 0
  return { format: kept > 0 ? 'fp8' : 'bf16', bytes: weightBytes(config, kept) }
}

function refuse(problem: string): never {
  throw new M2Error('BAD_OPTION', `weightDtype: "fp8" ${problem}; expected "auto" or "bf16"`)
}
