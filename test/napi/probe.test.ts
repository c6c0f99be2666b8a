import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native'

describe('cudaProbe', () => {
  it('says what devices there are, and why none can be used', async () => {
    const { compiled, driver, devices, reason } = await native().cudaProbe()
    expect(reason === undefined).toBe(devices.some(({ usable }) => usable))
    if (!compiled) expect({ devices, driver }).toEqual({ devices: [], driver: 0 })
  })
})
