import { describe, expect, it } from 'vitest'
import { native } from '../../lib/native'

describe('cudaProbe', () => {
  it('counts the devices that it names, and says why there is none', () => {
    const { compiled, driver, devices, names, reason } = native().cudaProbe()
    expect(names).toHaveLength(devices)
    expect(reason === undefined).toBe(devices > 0)
    if (!compiled) expect({ devices, driver }).toEqual({ devices: 0, driver: 0 })
  })
})
