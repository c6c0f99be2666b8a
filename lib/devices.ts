/** Where a model can run on this machine, and the memory that it finds there. */
import os from 'node:os'
import { availableMemory, type DeviceMemory } from './model/fit'
import { asM2Error, type CudaDevice, type NativeModule, native } from './native'

export interface Device {
  /** "cpu" or "cuda:0". */
  device: string
  /** "NVIDIA H200". */
  name: string
  /** Bytes of memory in all, and those that a model can take now: 0 where there is a problem. */
  total: number
  free: number
  /** Why nothing runs there. */
  problem: string | null
}

/** The doors that a GPU is asked through. */
export type GpuDoors = Pick<NativeModule, 'cudaProbe' | 'deviceMemory'>

/** The CPU, then the GPUs that the driver shows, those that cannot be used too. */
export async function listDevices(doors: GpuDoors = native()): Promise<Device[]> {
  const { devices } = await doors.cudaProbe()
  const name = os.cpus()[0]?.model.trim() ?? 'CPU'
  const cpu: Device = { device: 'cpu', name, total: os.totalmem(), free: availableMemory(), problem: null }
  return [cpu, ...(await listGpus(devices, doors))]
}

/** The GPUs of a probe, with what each has free. */
export function listGpus(devices: readonly CudaDevice[], doors: GpuDoors): Promise<Device[]> {
  return Promise.all(devices.map((gpu) => askGpu(gpu, doors)))
}

/** Of a CudaDevice's `architecture`: "9.0" for 90. */
export function computeCapability(architecture: number): string {
  return `${Math.floor(architecture / 10)}.${architecture % 10}`
}

async function askGpu({ device, name, memory, usable, architecture }: CudaDevice, doors: GpuDoors): Promise<Device> {
  const state = { device, name, total: memory, free: 0 }
  if (!usable) {
    return { ...state, problem: `expected compute capability 8.0 or newer, found ${computeCapability(architecture)}` }
  }
  try {
    return { ...state, free: (await doors.deviceMemory(device)).free, problem: null }
  } catch (error) {
    return { ...state, problem: asM2Error(error).message }
  }
}

/** What a model finds on one device. @throws {M2Error} DEVICE_UNAVAILABLE */
export async function memoryOf(device: string): Promise<DeviceMemory> {
  if (device === 'cpu') return { available: availableMemory(), dedicated: false }
  try {
    return { available: (await native(device).deviceMemory(device)).free, dedicated: true }
  } catch (error) {
    throw asM2Error(error)
  }
}
