import { copyFileSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { readCheckpoint } from '../../lib/model/checkpoint'
import { failure, modelFolder, temporaryFolder, writeJson } from './folder'

const INDEX = 'model.safetensors.index.json'
const shard = (i: number) => `model-0000${i}-of-00003.safetensors`

/** A folder of three shards whose index has these entries beside or instead of the right ones. */
function shardedFolder(entries: Record<string, unknown> = {}): string {
  const dir = modelFolder({ shards: 3 })
  const index = require(path.join(dir, INDEX))
  writeJson(dir, INDEX, { ...index, weight_map: { ...index.weight_map, ...entries } })
  return dir
}

describe('readCheckpoint', () => {
  it('finds the same tensors in one file and in shards', async () => {
    const single = await readCheckpoint(modelFolder())
    const sharded = await readCheckpoint(modelFolder({ shards: 3 }))
    expect(single.files.map((file) => path.basename(file))).toEqual(['model.safetensors'])
    expect(sharded.files.map((file) => path.basename(file))).toEqual([shard(0), shard(1), shard(2)])
    expect([...sharded.tensors.keys()].sort()).toEqual([...single.tensors.keys()].sort())
    expect(new Set([...sharded.tensors.values()].map(({ file }) => file))).toEqual(new Set([0, 1, 2]))
  })
})

describe('readCheckpoint refuses', () => {
  it('a folder without weights, naming what is there instead', async () => {
    const dir = temporaryFolder()
    const expected = `MODEL_NOT_FOUND ${dir}: expected model.safetensors or ${INDEX}, found`
    expect(await failure(() => readCheckpoint(dir))).toBe(`${expected} no weights`)
    writeJson(dir, 'pytorch_model.bin', '')
    expect(await failure(() => readCheckpoint(dir))).toBe(`${expected} pytorch_model.bin`)
  })

  it('an index without a weight map', async () => {
    const dir = modelFolder()
    writeJson(dir, INDEX, { weight_map: [] })
    expect(await failure(() => readCheckpoint(dir))).toMatch(
      /^BAD_CHECKPOINT .*index\.json: weight_map: expected an object of tensor name to file name, found \[\]$/,
    )
  })

  it.each(['../model.safetensors', '/etc/passwd', 'a/b.safetensors', 'a\\b.safetensors', '..', '', 7, null])(
    'an index that sends a tensor to %j',
    async (target) => {
      const line = await failure(() => readCheckpoint(shardedFolder({ x: target })))
      const expected = 'weight_map.x: expected the name of a file in the same folder, found'
      expect(line).toContain(`${INDEX}: ${expected} ${JSON.stringify(target)}`)
      expect(line).toMatch(/^BAD_CHECKPOINT /)
    },
  )

  it('an index whose shard is missing', async () => {
    const dir = shardedFolder()
    rmSync(path.join(dir, shard(1)))
    expect(await failure(() => readCheckpoint(dir))).toBe(
      `BAD_CHECKPOINT ${dir}/${INDEX}: expected the shard ${shard(1)} beside it, found no such file`,
    )
    rmSync(path.join(dir, shard(2)))
    expect(await failure(() => readCheckpoint(dir))).toContain('found 2 of 3 shards missing')
  })

  it('an index that names a tensor its shard does not hold', async () => {
    const dir = shardedFolder({ 'a.weight': shard(0), 'model.embed_tokens.weight': shard(2) })
    expect(await failure(() => readCheckpoint(dir))).toBe(
      `BAD_CHECKPOINT ${dir}/${INDEX}: model.embed_tokens.weight: expected in ${shard(2)}, found it in ${shard(0)}`,
    )
    const absent = shardedFolder({ 'a.weight': shard(0) })
    expect(await failure(() => readCheckpoint(absent))).toBe(
      `BAD_CHECKPOINT ${absent}/${INDEX}: a.weight: expected in ${shard(0)}, found no such tensor`,
    )
  })

  it('a tensor that two shards hold', async () => {
    const dir = shardedFolder({ 'a.weight': 'copy.safetensors' })
    copyFileSync(path.join(dir, shard(0)), path.join(dir, 'copy.safetensors'))
    expect(await failure(() => readCheckpoint(dir))).toMatch(
      /^BAD_CHECKPOINT \S+: expected in one file, found in .* and /,
    )
  })

  it('a shard that is a folder', async () => {
    const dir = shardedFolder()
    rmSync(path.join(dir, shard(0)))
    mkdirSync(path.join(dir, shard(0)))
    expect(readdirSync(dir)).toContain(shard(0))
    expect(await failure(() => readCheckpoint(dir))).toMatch(/^BAD_CHECKPOINT .*00000-of-00003.*EISDIR/)
  })
})
