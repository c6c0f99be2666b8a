/**
 * Broken checkpoints by the hundred: sound small folders with a few seeded changes to one file, aimed at what its reader looks at. Each loads, or is refused
 * by one line with a code that names the file or the tensor; nothing else is thrown, and the process lives. M2_FUZZ_ROUNDS and M2_FUZZ_SEED for longer runs.
 */
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Engine, M2Error } from '../../lib/index'
import { changed, type Json } from '../json-changes'
import type { Int4Form } from '../reference/int4-formats'
import { Random } from '../reference/random'
import { modelFolder, TINY, temporaryFolder } from './folder'

const ROUNDS = Number(process.env.M2_FUZZ_ROUNDS ?? 60)
const SEED = Number(process.env.M2_FUZZ_SEED ?? 1)
const NANO = path.join(__dirname, '../../models/nano')

/** Bytes overwritten, cut off, doubled or left out. */
function spoiled(random: Random, bytes: Buffer): Buffer {
  const at = random.integer(bytes.length + 1)
  switch (random.integer(5)) {
    case 0:
      return bytes.subarray(0, at)
    case 1:
      return Buffer.concat([bytes, bytes.subarray(at)])
    case 2:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + 1 + random.integer(64)))])
    case 3:
      return Buffer.from(bytes.map((byte, i) => (i >= at && i < at + 8 ? random.integer(256) : byte)))
    default:
      return Buffer.from(bytes.map((byte, i) => (i === at ? byte ^ (1 << random.integer(8)) : byte)))
  }
}

/** The JSON header of a safetensors file changed, with a length that fits it, or not. */
function withOtherHeader(random: Random, bytes: Buffer): Buffer {
  const end = 8 + Number(bytes.readBigUInt64LE(0))
  let header: Json = JSON.parse(bytes.toString('utf8', 8, end))
  for (let i = random.integer(2); i >= 0; i--) header = changed(random, header)
  const json = Buffer.from(JSON.stringify(header) ?? '')
  const length = Buffer.alloc(8)
  const lies = random.integer(10) === 0
  length.writeBigUInt64LE(lies ? BigInt(ODD_LENGTHS[random.integer(ODD_LENGTHS.length)]!) : BigInt(json.length))
  return Buffer.concat([length, json, bytes.subarray(end)])
}
const ODD_LENGTHS = [0, 1, 7, 8, 2 ** 20, 2 ** 32, 2 ** 53 - 1]

async function outcome(dir: string): Promise<M2Error | null> {
  try {
    await using engine = await Engine.load(dir, { device: 'cpu', kvMemory: '16MiB', maxContext: 32 })
    const generation = engine.generate([1, 2, 3], { maxTokens: 2, ignoreEos: true })
    await generation.result()
    return null
  } catch (error) {
    if (error instanceof M2Error) return error
    throw error
  }
}

const CODES = ['MODEL_NOT_FOUND', 'BAD_CHECKPOINT', 'UNSUPPORTED_MODEL', 'OUT_OF_MEMORY', 'BAD_INPUT', 'DEVICE_ERROR']

describe('a checkpoint with a few things changed', () => {
  const plain = () => modelFolder({ geometry: TINY })
  const sharded = () => modelFolder({ geometry: TINY, shards: 2, fp8: true })
  const int4 = (form: Int4Form, shards = 0) => {
    return () => modelFolder({ geometry: TINY, shards, int4: { form, group: 32, symmetric: false, scaleDtype: 'F16' } })
  }
  const withTokenizer = () => {
    const dir = temporaryFolder()
    cpSync(NANO, dir, { recursive: true, filter: (file) => !file.includes('eval') && !file.includes('recipe') })
    return dir
  }
  const json = (random: Random, bytes: Buffer): Buffer =>
    Buffer.from(JSON.stringify(changed(random, JSON.parse(bytes.toString()))) ?? '')
  const cases: [string, () => string, string, (random: Random, bytes: Buffer) => Buffer, number][] = [
    ['config.json', plain, 'config.json', json, 4],
    ['the bytes of config.json', plain, 'config.json', spoiled, 1],
    ['the header', plain, 'model.safetensors', withOtherHeader, 4],
    ['the bytes of the weights', plain, 'model.safetensors', spoiled, 2],
    ['the header of an FP8 shard', sharded, 'model-00001-of-00002.safetensors', withOtherHeader, 4],
    ['the config.json of an AWQ checkpoint', int4('awq'), 'config.json', json, 1],
    ['the header of an AWQ checkpoint', int4('awq'), 'model.safetensors', withOtherHeader, 2],
    ['the header of a GPTQ shard', int4('gptq', 2), 'model-00000-of-00002.safetensors', withOtherHeader, 2],
    ['the bytes of GPTQ weights', int4('gptq_v2'), 'model.safetensors', spoiled, 2],
    ['the config.json of packed weights', int4('compressed-tensors'), 'config.json', json, 1],
    ['the header of packed weights', int4('compressed-tensors'), 'model.safetensors', withOtherHeader, 2],
    ['the index', sharded, 'model.safetensors.index.json', json, 2],
    ['tokenizer.json', withTokenizer, 'tokenizer.json', json, 1],
    ['the bytes of tokenizer.json', withTokenizer, 'tokenizer.json', spoiled, 0.5],
    ['generation_config.json', withTokenizer, 'generation_config.json', json, 1],
    ['tokenizer_config.json', withTokenizer, 'tokenizer_config.json', json, 1],
  ]
  it.each(cases)('in %s: loads, or one line that names it', async (_, folder, name, change, share) => {
    const dir = folder()
    const file = path.join(dir, name)
    const sound = readFileSync(file)
    let refused = 0
    for (let round = 0; round < ROUNDS * share; round++) {
      const random = new Random(SEED * 1_000_003 + round)
      writeFileSync(file, change(random, Buffer.from(sound)))
      const where = `seed ${SEED}, round ${round}`
      const error = await outcome(dir).catch((cause: Error) => {
        throw new Error(`${where}: ${cause.stack}`, { cause })
      })
      if (error === null) continue
      refused++
      expect(CODES, `${where}: ${error.message}`).toContain(error.code)
      expect(error.message, where).not.toMatch(/\n|internal:|undefined|\[object /)
      if (/^(BAD_CHECKPOINT|UNSUPPORTED_MODEL)$/.test(error.code)) {
        expect(error.message, where).toMatch(/\.json|\.safetensors|model\.|lm_head/)
      }
      expect(error.message.length, `${where}: ${error.message.slice(0, 200)}`).toBeLessThan(1000)
    }
    expect(refused, 'the changes are such that some are refused').toBeGreaterThan(0)
  })
})
