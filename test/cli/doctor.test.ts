import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { run } from '../../lib/cli/program'
import type { Trials } from '../../lib/diagnosis'
import { type Diagnosis, M2Error } from '../../lib/index'
import { nodeVersion } from '../../lib/installation'
import type { CudaProbe } from '../../lib/native'
import { temporaryFolder } from '../model/folder'
import { fakeShell } from './fake-shell'
import { m2 as m2Process, ROOT } from './process'

const GiB = 2 ** 30
const NO_CUDA: CudaProbe = { compiled: false, driver: 0, devices: [], reason: 'this build of the core has no CUDA' }
const H200 = { device: 'cuda:0', name: 'NVIDIA H200', architecture: 90, memory: 140 * GiB, usable: true }
const T4 = { device: 'cuda:1', name: 'Tesla T4', architecture: 75, memory: 15 * GiB, usable: false }

/** Trials that go well, on a machine with this of CUDA. */
function trials(probe: CudaProbe, free: () => number = () => 120 * GiB): Trials {
  return {
    doors: () => ({ cudaProbe: async () => probe, deviceMemory: async () => ({ free: free(), total: 140 * GiB }) }),
    answer: async () => ({ tokens: 8, milliseconds: 12.3, ran: 'CPU, avx2, 4 threads', problem: null }),
  }
}

async function m2(fake: Trials) {
  const { shell, seen } = fakeShell({ trials: fake })
  const status = await run(['doctor'], shell)
  const json = fakeShell({ trials: fake })
  expect(await run(['doctor', '--json'], json.shell)).toBe(status)
  expect(seen.stderr + json.seen.stderr).toBe('')
  return { status, stdout: seen.stdout, diagnosis: JSON.parse(json.seen.stdout) as Diagnosis }
}

// A run of the tests with another instruction set must not change what is expected here.
beforeEach(() => {
  vi.stubEnv('M2_CPU_ISA', '')
})
afterEach(() => {
  vi.unstubAllEnvs()
})

describe('m2 doctor', () => {
  it('says what is there where the CPU is all there is', async () => {
    const { status, stdout, diagnosis } = await m2(trials(NO_CUDA))
    expect(status).toBe(0)
    expect(stdout).toMatch(/^m2-engine +\d+\.\d+\.\d+\nnode +\d+\.\d+\.\d+\nplatform +\w+ \w+/)
    expect(stdout).toMatch(/\ncpu +.+, \d+ threads\n/)
    expect(stdout).toMatch(/\ncore +\S+\.node\n/)
    expect(stdout).toMatch(/\ncuda +this build of the core has no CUDA\n/)
    expect(stdout).toContain('the embedded model answers: 8 tokens in 12 ms on CPU, avx2, 4 threads\n')
    expect(stdout).toMatch(/\nto do +nothing\n$/)
    expect(diagnosis).toMatchObject({
      works: true,
      node: { version: process.versions.node, least: '20.17', supported: true },
      platform: { os: process.platform, arch: process.arch },
      core: { file: expect.stringMatching(/\.node$/), problem: null },
      cuda: { compiled: false, supported: null, gpus: [] },
      todo: [],
    })
    expect(diagnosis.memory.free).toBeLessThanOrEqual(diagnosis.memory.total)
  })

  it('shows each GPU, and what it has free', async () => {
    const { status, stdout, diagnosis } = await m2(trials({ compiled: true, driver: 12080, devices: [H200, T4] }))
    expect(status).toBe(0)
    expect(stdout).toMatch(/\ncuda +compiled in; driver.* for CUDA up to 12\.8\n/)
    expect(stdout).toContain('cuda:0: NVIDIA H200, compute capability 9.0, 140 GiB, 120 GiB free\n')
    expect(stdout).toContain('cuda:1: Tesla T4, compute capability 7.5, 15 GiB: expected compute capability 8.0')
    expect(stdout).toMatch(/\nto do +nothing\n$/)
    expect(diagnosis.cuda?.gpus).toMatchObject([
      { computeCapability: '9.0', free: 120 * GiB, problem: null },
      { computeCapability: '7.5', free: 0 },
    ])
  })

  it.each<[string, CudaProbe, RegExp]>([
    ['no driver', { ...NO_CUDA, compiled: true, reason: 'no NVIDIA driver was found' }, /install its NVIDIA driver/],
    ['an old driver', { compiled: true, driver: 11040, devices: [], reason: 'insufficient' }, /update .* CUDA 11\.4/],
    ['an old GPU', { compiled: true, driver: 13000, devices: [T4], reason: 'older' }, /capability 8\.0 or newer/],
  ])('says what to do about %s, and that the CPU works', async (_, probe, todo) => {
    const { status, stdout, diagnosis } = await m2(trials(probe))
    expect(status).toBe(0)
    expect(diagnosis.todo).toEqual([expect.stringMatching(todo)])
    expect(stdout).toContain(diagnosis.todo[0])
    if (probe.devices.length === 0) expect(stdout).toContain(probe.reason)
  })

  it('says what to do about a GPU that others use', async () => {
    const busy = trials({ compiled: true, driver: 13000, devices: [H200] }, () => {
      throw new M2Error('DEVICE_UNAVAILABLE', 'the device is busy')
    })
    const { status, stdout, diagnosis } = await m2(busy)
    expect(status).toBe(0)
    expect(stdout).toContain('140 GiB: the device is busy\n')
    expect(diagnosis.todo).toEqual(['for cuda:0: see with nvidia-smi what else uses it'])
  })

  it('exits with 1 where the core does not load, and says how to get one', async () => {
    const problem = 'no native core for here: in a checkout run `npm run build`'
    const { status, stdout, diagnosis } = await m2({
      doors: () => {
        throw new M2Error('DEVICE_UNAVAILABLE', problem)
      },
      answer: async () => ({ tokens: 0, milliseconds: 0, ran: null, problem }),
    })
    expect(status).toBe(1)
    expect(stdout).toMatch(/\ncuda +no core to ask\n/)
    expect(stdout).toContain('the embedded model does not answer\n')
    expect(diagnosis).toMatchObject({ works: false, core: { problem }, cuda: null, todo: [problem] })
  })

  it('exits with 1 where the embedded model does not answer', async () => {
    const answer = { tokens: 0, milliseconds: 0, ran: null, problem: 'model.safetensors: cut short' }
    const { status, diagnosis } = await m2({ ...trials(NO_CUDA), answer: async () => answer })
    expect(status).toBe(1)
    expect(diagnosis.todo).toEqual([expect.stringMatching(/model\.safetensors: cut short; install the package anew/)])
  })

  it('mentions that the instruction set is held back', async () => {
    vi.stubEnv('M2_CPU_ISA', 'plain')
    const { diagnosis } = await m2(trials(NO_CUDA))
    expect(diagnosis.todo).toEqual(['unset M2_CPU_ISA, which is "plain", to let the core choose'])
  })
})

it('Node.js is compared with what the package asks for, number by number', () => {
  expect(['20.17.0', '22.1.0', '20.9.0', '9.99.0'].map((version) => nodeVersion(version).supported)).toEqual([
    ...[true, true, false, false],
  ])
})

describe('m2 doctor as a process', () => {
  it('has the embedded model answer', async () => {
    const { status, stdout, stderr } = await m2Process(['doctor', '--json'])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({
      works: true,
      embeddedModel: { tokens: 8, ran: expect.stringContaining('CPU'), problem: null },
    })
  })

  /** A copy of the package without its binary, or with another file in its place. */
  function copyOfPackage(binary?: string): string {
    const dir = temporaryFolder()
    for (const part of ['dist', 'models/nano', 'package.json']) {
      cpSync(path.join(ROOT, part), path.join(dir, part), { recursive: true })
    }
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(dir, 'node_modules'))
    if (binary !== undefined) {
      mkdirSync(path.join(dir, 'build', 'Release'), { recursive: true })
      writeFileSync(path.join(dir, 'build', 'Release', 'addon.node'), binary)
    }
    return path.join(dir, 'dist', 'cli', 'main.js')
  }

  it.each([
    ['is no binary', undefined, /core +no binary: does not load\n +build\/Release: no binary\n/],
    ['is a broken binary', 'not a library', /core +\S+addon\.node: does not load\n/],
  ])('exits with 1 where there %s', async (_, binary, core) => {
    const { status, stdout, stderr } = await m2Process(['doctor'], undefined, copyOfPackage(binary))
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(stdout).toMatch(core)
    expect(stdout).toMatch(/\nto do +no native core for .*npm run build/)
  })
})
