/** The devices that tests run on. M2_TEST_DEVICES, a comma-separated list, keeps some of them: "cuda" on a GPU machine. */
import { createOps } from '../lib/ops'

const asked = process.env.M2_TEST_DEVICES?.split(',')
export const isAsked = (device: string): boolean => asked === undefined || asked.includes(device)

/** Whether what `make` makes has its device on this machine. */
export function isThere(make: () => unknown): boolean {
  try {
    make()
    return true
  } catch (error) {
    if ((error as { code?: string }).code === 'DEVICE_UNAVAILABLE') return false
    throw error
  }
}

/** The emulated GPU, which must be there, and a real one where there is one. */
export const GPUS = [
  ...(isAsked('emulated') ? ['emulated'] : []),
  ...(isAsked('cuda') && isThere(() => createOps('cuda', 0)) ? ['cuda'] : []),
]
/** What models run on. */
export const DEVICES = [...(isAsked('cpu') ? ['cpu'] : []), ...GPUS]
