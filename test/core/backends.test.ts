import { describe, expect, it } from 'vitest'
import { createOps } from '../../lib/ops'

describe('the backend factory', () => {
  it('makes the CPU backend, which says what it runs on', () => {
    const ops = createOps('cpu', 2)
    expect(ops.device).toBe('cpu')
    expect(ops.description).toMatch(/2 threads/)
  })

  it.each(['cuda:99', 'cuda:', 'cuda:x', 'cuda:1234', 'tpu', ''])('refuses device "%s" by name', (device) => {
    expect(() => createOps(device, 0)).toThrow(
      expect.objectContaining({ code: 'DEVICE_UNAVAILABLE', message: expect.stringContaining(`"${device}"`) }),
    )
  })
})
