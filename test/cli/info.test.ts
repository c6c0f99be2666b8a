import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { run } from '../../lib/cli/program'
import { type Device, listDevices } from '../../lib/devices'
import { inspectModel, M2Error, type ModelReport } from '../../lib/index'
import { parseConfig, readConfigFiles } from '../../lib/model/config'
import { fitMemory, fitRequest } from '../../lib/model/fit'
import { weightBytes } from '../../lib/model/parameters'
import { failure, modelFolder, temporaryFolder, writeJson } from '../model/folder'
import { type FakeOptions, fakeShell } from './fake-shell'
import { m2 as m2Process } from './process'

const MiB = 2 ** 20
const GiB = 2 ** 30

const device = (name: string, free: number, problem: string | null = null): Device => {
  return { device: name, name: name === 'cpu' ? 'A processor' : 'NVIDIA H200', total: 2 * free, free, problem }
}

async function m2(args: string[], fake?: FakeOptions) {
  const { shell, seen } = fakeShell(fake)
  const status = await run(args, shell)
  return { status, ...seen }
}

async function report(args: string[], devices: Device[]): Promise<ModelReport> {
  const { status, stdout, stderr } = await m2(['info', ...args, '--json'], { devices })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return JSON.parse(stdout)
}

describe('m2 info', () => {
  it('says in words what the embedded model is and that it fits', async () => {
    const { status, stdout, stderr, loads } = await m2(['info'], { devices: [device('cpu', 8 * GiB)] })
    expect({ status, stderr, loads }).toEqual({ status: 0, stderr: '', loads: [] })
    expect(stdout).toContain('MiniMax-M2: 3 layers, hidden size 256, 4 query heads and 2 KV heads of 128\n')
    expect(stdout).toContain('6.7 million, 2.6 million active per token\n')
    expect(stdout).toMatch(/stored as +BF16: 12\.8 MiB in 318 tensors: embed_tokens, .*experts\.\*\.w1.*lm_head\n/)
    expect(stdout).toMatch(/\n +F32: 384 bytes in 3 tensors: e_score_correction_bias\n/)
    expect(stdout).toMatch(/cpu +A processor: fits, with 8 GiB free\n/)
    expect(stdout).toContain('65,536 tokens of KV cache (192 MiB): 64 sequences of 1,024 tokens, the full context\n')
  })

  it('gives with --json what loading would: the same numbers as the fit', async () => {
    const { devices, ...model } = await report([], [device('cpu', 8 * GiB), device('cuda:0', 700 * MiB)])
    expect(model).toMatchObject({
      directory: expect.stringContaining('nano'),
      config: { layers: 3, experts: 32, maxPositionEmbeddings: 1024 },
      parameters: { total: 6_713_440, active: 2_584_672 },
      files: { count: 1, bytes: 13_465_872 },
      stored: [
        { dtype: 'BF16', tensors: 318 },
        { dtype: 'F32', tensors: 3, bytes: 384, names: ['model.layers.*.block_sparse_moe.e_score_correction_bias'] },
      ],
      quantization: null,
      skippedTensors: [],
      tokenizer: true,
      unsupported: null,
      kv: { dtype: 'bf16', bytesPerToken: 3072 },
    })
    const config = parseConfig(await readConfigFiles(model.directory))
    const options = { kvDtype: 'bf16', pageSize: 64, kvMemory: undefined, maxContext: undefined } as const
    const weights = weightBytes(config)
    const sizes = { ...options, maxSequences: 64, maxStepTokens: undefined }
    for (const [i, dedicated] of [false, true].entries()) {
      const fit = fitMemory(fitRequest(config, { available: devices[i]!.free, dedicated, weights }, sizes))
      expect(devices[i]).toMatchObject({
        fits: true,
        problem: null,
        weights: { format: 'bf16', bytes: weights },
        kv: { bytes: fit.kvBytes, tokens: 64 * fit.pages, context: 1024, sequences: Math.floor(fit.pages / 16) },
      })
    }
  })

  it('counts with the KV cache of --kv-dtype', async () => {
    const devices = [device('cpu', 15 * MiB)]
    for (const [flags, dtype, bytesPerToken] of [
      [[], 'bf16', 3072],
      [['--kv-dtype', 'f32'], 'f32', 6144],
      [['--kv-dtype', 'fp8'], 'fp8', 1536],
    ] as const) {
      const { stdout } = await m2(['info', '--json', ...flags], { devices })
      expect(JSON.parse(stdout).kv).toEqual({ dtype, bytesPerToken })
    }
    const { stdout } = await m2(['info'], { devices })
    expect(stdout).toMatch(/\n +kvDtype: "fp8" gives a context of [\d,]+ tokens\n/)
    const wrong = await m2(['info', '--kv-dtype', 'int8'], { devices })
    expect(wrong.status).toBe(2)
    expect(wrong.stderr).toContain('kvDtype: expected "auto", "f32", "bf16" or "fp8", found "int8"')
  })

  it('counts with the weights of --weight-dtype', async () => {
    const devices = [device('cpu', 100 * MiB)]
    const weights = async (...flags: string[]) => {
      const { stdout } = await m2(['info', '--json', ...flags], { devices })
      return JSON.parse(stdout).devices[0].weights
    }
    const [stored, quantised] = [await weights(), await weights('--weight-dtype', 'int4')]
    expect([stored.format, quantised.format]).toEqual(['bf16', 'int4'])
    expect(quantised.bytes).toBeLessThan(stored.bytes / 2)
    const wrong = await m2(['info', '--weight-dtype', 'fp8'], { devices })
    expect(wrong.status).toBe(2)
    expect(wrong.stderr).toContain('weightDtype: "fp8" needs a checkpoint whose matrices are FP8')
  })

  it('exits with 0 where nothing fits, and says what is missing and which option helps', async () => {
    const devices = [device('cpu', 10 * MiB), device('cuda:0', 281 * MiB), device('cuda:1', 50 * MiB)]
    const { status, stdout } = await m2(['info'], { devices })
    expect(status).toBe(0)
    expect(stdout).toMatch(
      /cpu +A processor cannot take it: memory: expected room for 12\.9 MiB of weights .*found 10 MiB/,
    )
    expect(stdout).toMatch(/\n +13\.1 MiB must be free for it to load: 3\.1 MiB more than there is\n/)
    expect(stdout).toMatch(
      /cuda:0 +NVIDIA H200 cannot take it: .*12\.9 MiB of weights, \S+ MiB for steps .*found 281 MiB/,
    )
    expect(stdout).toMatch(/\n +maxStepTokens: 512 makes it fit, with a context of [\d,]+ tokens\n/)
    expect(stdout).toMatch(/\n +maxSequences: \d+ makes it fit, with a context of [\d,]+ tokens\n/)
    const [cpu, , small] = (await report([], devices)).devices
    expect(cpu).toMatchObject({ fits: false, kv: null, free: 10 * MiB })
    expect(small?.advice).toEqual([expect.stringMatching(/must be free for it to load/)])
  })

  it('says how much of the context there is room for where it is not whole', async () => {
    const { stdout } = await m2(['info'], { devices: [device('cpu', 15 * MiB)] })
    expect(stdout).toMatch(/less than one full context; a sequence may have \d+ tokens\n/)
    expect(stdout).toMatch(/MiB must be free for the whole context of 1,024 tokens: \S+ \S+ more than there is\n/)
  })

  it('names a GPU that cannot be used and why', async () => {
    const problem = 'expected compute capability 8.0 or newer, found 7.5'
    const { status, stdout } = await m2(['info'], { devices: [device('cuda:0', 0, problem)] })
    expect(status).toBe(0)
    expect(stdout).toContain(`NVIDIA H200 cannot take it: ${problem}\n`)
    expect((await report([], [device('cuda:0', 0, problem)])).devices[0]).toMatchObject({ fits: false, advice: [] })
  })

  it('describes an FP8 checkpoint, and that it is held as it is', async () => {
    const dir = modelFolder({ fp8: true })
    const found = await report([dir], [device('cpu', GiB), device('cuda:0', 20 * GiB)])
    expect(found.quantization).toEqual({
      method: 'fp8',
      format: 'float8_e4m3fn',
      blockSize: [128, 128],
      bits: null,
      group: null,
      zeros: null,
      exempt: ['gate', 'e_score_correction_bias', 'lm_head'],
    })
    expect(found.unsupported).toBe(null)
    expect(found.stored.map(({ dtype }) => dtype)).toEqual(expect.arrayContaining(['F8_E4M3', 'F32', 'BF16']))
    const [cpu, gpu] = found.devices
    expect([cpu!.weights.format, gpu!.weights.format]).toEqual(['fp8', 'fp8'])
    expect(cpu!.weights.bytes).toBeLessThan(0.7 * weightBytes(found.config))
    const { status, stdout } = await m2(['info', dir], { devices: [device('cpu', GiB)] })
    expect(status).toBe(0)
    expect(stdout).toMatch(
      /quantization +fp8, float8_e4m3fn, a scale for each block of 128 x 128, not quantised: gate, /,
    )
    expect(stdout).toMatch(/F8_E4M3: .*experts\.\*\.w1/)
    expect(stdout).toContain('of weights (matrices fp8, norms and router f32)\n')
  })

  it('describes a checkpoint in 4 bits, and that it is held as it is', async () => {
    const int4 = { form: 'gptq', group: 32, symmetric: false, scaleDtype: 'F16' } as const
    const dir = modelFolder({ int4 })
    const [cpu, gpu] = (await report([dir], [device('cpu', GiB), device('cuda:0', 20 * GiB)])).devices
    expect([cpu!.weights.format, gpu!.weights.format]).toEqual(['int4', 'int4'])
    const { stdout } = await m2(['info', dir], { devices: [device('cpu', GiB)] })
    expect(stdout).toMatch(/quantization +int4 \(gptq, groups of 32, zeros\)\n/)
    expect(stdout).toContain('of weights (matrices int4, norms and router f32)\n')
  })

  it('proposes to quantise what does not fit otherwise', async () => {
    const [cpu, gpu] = (await report([], [device('cpu', 11 * MiB), device('cuda:0', 281 * MiB)])).devices
    for (const { advice } of [cpu!, gpu!]) {
      expect(advice[0]).toMatch(
        /^weightDtype: "int4" makes it fit, with \S+ MiB of weights and a context of [\d,]+ tokens, for some quality$/,
      )
    }
    const dir = modelFolder({ int4: { form: 'awq', group: 32, symmetric: true, scaleDtype: 'F16' } })
    const [packed] = (await report([dir], [device('cpu', 20_000)])).devices
    expect(packed!.advice).toEqual([expect.stringMatching(/must be free/)])
  })

  it('describes a checkpoint that cannot be loaded yet, and what it would take as bf16', async () => {
    const dir = modelFolder({ config: { quantization_config: { quant_method: 'mxfp4' } } })
    const { status, stdout } = await m2(['info', dir], { devices: [device('cpu', GiB)] })
    expect(status).toBe(0)
    expect(stdout).toMatch(/cannot load .*quantization_config\.quant_method: expected "fp8", "awq", .*found "mxfp4"/)
    expect(stdout).toContain('of weights (matrices bf16, norms and router f32)\n')
  })

  it('tells a model without a tokenizer', async () => {
    const { stdout } = await m2(['info', modelFolder()])
    expect(stdout).toMatch(/tokenizer +none: the model takes and gives token ids\n/)
  })

  const broken: [string, () => string, RegExp][] = [
    ['no folder', () => path.join(temporaryFolder(), 'none'), /none: expected a model folder, found no such folder/],
    ['an empty folder', temporaryFolder, /found no config\.json/],
    ['broken JSON', () => spoiled((dir) => writeJson(dir, 'config.json', '{')), /config\.json: expected JSON/],
    ['another architecture', () => modelFolder({ config: { model_type: 'llama' } }), /"minimax_m2".*found "llama"/],
    ['no weights', () => spoiled((dir) => rmSync(path.join(dir, 'model.safetensors'))), /found no weights/],
    ['weights cut short', () => spoiled((dir) => writeFileSync(path.join(dir, 'model.safetensors'), 'abc')), /header/],
    ['another shape', () => modelFolder({ config: { num_local_experts: 5 } }), /tensors|expected shape/],
    ['a broken quantization', () => modelFolder({ config: { quantization_config: 7 } }), /quantization_config/],
    [
      'a broken block size',
      () => modelFolder({ config: { quantization_config: { weight_block_size: [128] } } }),
      /quantization_config\.weight_block_size: expected two integers/,
    ],
    ['a broken tokenizer', () => spoiled((dir) => writeJson(dir, 'tokenizer.json', '[]')), /tokenizer\.json/],
  ]
  it.each(broken)('%s: one line, status 2', async (_, folder, message) => {
    const { status, stdout, stderr } = await m2(['info', folder()])
    expect(stderr).toMatch(/^m2: [^\n]+\n$/)
    expect(stderr).toMatch(message)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  })
})

it('m2 info as a process describes the embedded model', async () => {
  const { status, stdout, stderr } = await m2Process(['info'])
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toMatch(/\ncpu +.*: fits, with .* free\n/)
})

function spoiled(spoil: (dir: string) => void): string {
  const dir = modelFolder()
  spoil(dir)
  return dir
}

describe('inspectModel refuses', () => {
  it.each<[unknown, object, string]>([
    [7, {}, 'BAD_OPTION model: expected the path of a folder, or the owner/name of a downloaded model, found 7'],
    ['', {}, 'BAD_OPTION model: expected the path of a folder, or the owner/name of a downloaded model, found ""'],
    [undefined, { threads: 2 }, 'BAD_OPTION inspectModel: unknown option "threads"'],
    [undefined, { pageSize: 0 }, 'BAD_OPTION pageSize: expected an integer of at least 1'],
  ])('%j with %j', async (model, options, line) => {
    expect(await failure(() => inspectModel(model as string, options))).toContain(line)
  })
})

describe('listDevices', () => {
  const h200 = { device: 'cuda:0', name: 'NVIDIA H200', architecture: 90, memory: 140 * GiB, usable: true }
  const t4 = { device: 'cuda:1', name: 'Tesla T4', architecture: 75, memory: 15 * GiB, usable: false }
  const doors = (deviceMemory: (device: string) => Promise<{ free: number; total: number }>) => ({
    cudaProbe: async () => ({ compiled: true, driver: 13000, devices: [h200, t4] }),
    deviceMemory,
  })

  it('asks each GPU that can be used what it has free', async () => {
    const [cpu, ...gpus] = await listDevices(doors(async () => ({ free: 120 * GiB, total: 140 * GiB })))
    expect(cpu).toMatchObject({ device: 'cpu', problem: null })
    expect(gpus).toEqual([
      { device: 'cuda:0', name: 'NVIDIA H200', total: 140 * GiB, free: 120 * GiB, problem: null },
      {
        device: 'cuda:1',
        name: 'Tesla T4',
        total: 15 * GiB,
        free: 0,
        problem: 'expected compute capability 8.0 or newer, found 7.5',
      },
    ])
  })

  it('names the problem of a GPU that does not answer', async () => {
    const [, h200] = await listDevices(doors(async () => Promise.reject(new M2Error('DEVICE_UNAVAILABLE', 'in use'))))
    expect(h200).toMatchObject({ free: 0, problem: 'in use' })
  })
})
