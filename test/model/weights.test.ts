import { describe, expect, it } from 'vitest'
import { type Checkpoint, type CheckpointTensor, readCheckpoint } from '../../lib/model/checkpoint'
import { loadConfig, type ModelShape } from '../../lib/model/config'
import { planWeights } from '../../lib/model/weights'
import { FORMS, PARTS, TENSOR_KINDS } from '../../lib/native'
import { failure, modelFolder, TINY } from './folder'

const SHAPE: ModelShape = { ...TINY, tieWordEmbeddings: false, useRoutingBias: true }
const GATE = 'model.layers.1.block_sparse_moe.gate.weight'

const tiny = () => readCheckpoint(modelFolder())

function changed(checkpoint: Checkpoint, name: string, change: Partial<CheckpointTensor>): Checkpoint {
  checkpoint.tensors.set(name, { ...checkpoint.tensors.get(name)!, ...change })
  return checkpoint
}

describe('planWeights', () => {
  it('binds every tensor of a checkpoint once, with its place, shape and bytes', async () => {
    const checkpoint = await readCheckpoint(modelFolder({ shards: 2, dtype: 'F16' }))
    const { table: plan, skipped } = planWeights(SHAPE, checkpoint)
    expect(skipped).toEqual([])
    expect([...plan.names].sort()).toEqual([...checkpoint.tensors.keys()].sort())
    const row = (name: string) => {
      const i = plan.names.indexOf(name)
      return [
        TENSOR_KINDS[plan.kind[i]!],
        plan.layer[i],
        plan.expert[i],
        FORMS[plan.form[i]!],
        plan.rows[i],
        plan.cols[i],
      ]
    }
    expect(row('model.embed_tokens.weight')).toEqual(['embed', -1, -1, 'F16', 40, 32])
    expect(row('model.norm.weight')).toEqual(['finalNorm', -1, -1, 'F16', 1, 32])
    expect(row('model.layers.1.self_attn.k_proj.weight')).toEqual(['kProj', 1, -1, 'F16', 64, 32])
    expect(row('model.layers.0.self_attn.o_proj.weight')).toEqual(['oProj', 0, -1, 'F16', 32, 192])
    expect(row('model.layers.0.self_attn.q_norm.weight')).toEqual(['qNorm', 0, -1, 'F16', 1, 192])
    expect(row('model.layers.1.block_sparse_moe.e_score_correction_bias')).toEqual(['routerBias', 1, -1, 'F32', 1, 4])
    expect(row('model.layers.1.block_sparse_moe.experts.3.w2.weight')).toEqual(['w2', 1, 3, 'F16', 32, 32])
    for (const [i, name] of plan.names.entries()) {
      expect([plan.file[i * PARTS.length], plan.offset[i * PARTS.length]]).toEqual([
        checkpoint.tensors.get(name)!.file,
        checkpoint.tensors.get(name)!.offset,
      ])
    }
  })

  it('uses the embedding as the head when they are tied', async () => {
    const dir = modelFolder({ tied: true })
    const { table: plan, skipped } = planWeights(await loadConfig(dir), await readCheckpoint(dir))
    const [embed, head] = ['embed', 'lmHead'].map((kind) => plan.kind.indexOf(TENSOR_KINDS.indexOf(kind as 'embed')))
    expect(plan.offset[head! * PARTS.length]).toBe(plan.offset[embed! * PARTS.length])
    expect(skipped).toEqual([])
    expect(planWeights({ ...SHAPE, tieWordEmbeddings: true }, await tiny()).skipped).toEqual(['lm_head.weight'])
  })

  it('skips tensors that are no part of the model', async () => {
    const checkpoint = await tiny()
    const norm = checkpoint.tensors.get('model.norm.weight')!
    const extra = ['model.layers.2.eh_proj.weight', 'model.layers.2.mtp.weight_scale_inv']
    for (const name of extra) checkpoint.tensors.set(name, { ...norm, name, dtype: 'F8_E4M3' })
    expect(planWeights(SHAPE, checkpoint).skipped).toEqual(extra)
  })

  it('knows where the scales of FP8 matrices are, and what can stay FP8', async () => {
    const checkpoint = await readCheckpoint(modelFolder({ fp8: true, shards: 2 }))
    const { table, stored, skipped } = planWeights(SHAPE, checkpoint)
    expect(skipped).toEqual([])
    const i = table.names.indexOf('model.layers.1.self_attn.o_proj.weight')
    const scales = checkpoint.tensors.get(`${table.names[i]}_scale_inv`)!
    const at = i * PARTS.length + PARTS.indexOf('scales')
    expect([FORMS[table.form[i]!], table.file[at], table.offset[at]]).toEqual(['F8_E4M3', scales.file, scales.offset])
    const head = table.names.indexOf('lm_head.weight')
    expect(table.file[head * PARTS.length + PARTS.indexOf('scales')]).toBe(-1)
    const formats = (types: typeof stored) => types.map(({ format }) => format)
    expect(formats(stored)).toEqual(['bf16', ...Array(8).fill('fp8')])
    // One that is not FP8 takes all that are one weight with it.
    const k = 'model.layers.1.self_attn.k_proj.weight'
    checkpoint.tensors.delete(`${k}_scale_inv`)
    const mixed = planWeights(SHAPE, changed(checkpoint, k, { dtype: 'BF16' }))
    expect(formats(mixed.stored)).toEqual(['bf16', 'fp8', 'fp8', 'fp8', 'fp8', 'bf16', 'fp8', 'fp8', 'fp8'])
  })

  it.each(['awq', 'gptq', 'gptq_v2', 'compressed-tensors'] as const)(
    'binds all parts of matrices in %s',
    async (form) => {
      const dir = modelFolder({ int4: { form, group: 32, symmetric: false, scaleDtype: 'F16' } })
      const checkpoint = await readCheckpoint(dir)
      const { table, stored, skipped } = planWeights(await loadConfig(dir), checkpoint)
      expect(skipped).toEqual([])
      const i = table.names.indexOf('model.layers.1.block_sparse_moe.experts.2.w1.weight')
      const packed = form === 'compressed-tensors'
      const parts = packed ? ['weight_packed', 'weight_scale', 'weight_zero_point'] : ['qweight', 'scales', 'qzeros']
      for (const [part, suffix] of parts.entries()) {
        const tensor = checkpoint.tensors.get(table.names[i]!.replace(/weight$/, suffix))!
        expect(table.offset[i * PARTS.length + part]).toBe(tensor.offset)
      }
      expect(FORMS[table.form[i]!]).toBe(packed ? 'PACKED' : form.toUpperCase())
      expect([table.group[i], table.symmetric[i], table.scaleDtype[i]]).toEqual([32, 0, FORMS.indexOf('F16')])
      expect(stored.map(({ format }) => format)).toEqual(['bf16', ...Array(8).fill('int4')])
      expect(stored[1]).toEqual({ format: 'int4', group: 32, zeros: true })
    },
  )

  it('needs no router bias when the model has none', async () => {
    const { table: plan } = planWeights({ ...SHAPE, useRoutingBias: false }, await tiny())
    expect(plan.kind).not.toContain(TENSOR_KINDS.indexOf('routerBias'))
  })

  it('plans as many tensors as the largest MiniMax-M2 has', () => {
    const large: ModelShape = { ...SHAPE, layers: 62, experts: 256, expertsPerToken: 8 }
    const names = new Map<string, CheckpointTensor>()
    const answers = (name: string) =>
      !/qweight$|weight_packed$/.test(name) && {
        name,
        dtype: 'BF16',
        shape: shapes(large, name),
        offset: 0,
        bytes: 0,
        file: 0,
      }
    const tensors = Object.assign(names, { get: answers })
    expect(planWeights(large, { files: ['x'], tensors }).table.names).toHaveLength(3 + 62 * (10 + 3 * 256))
  })
})

/** By name, what planWeights asks for; only the kinds whose shapes differ are told apart. */
function shapes(g: ModelShape, name: string): number[] {
  const [C, F, queries, keys] = [g.hiddenSize, g.expertHidden, g.heads * g.headDim, g.kvHeads * g.headDim]
  const patterns: [RegExp, number[]][] = [
    [/embed_tokens|lm_head/, [g.vocabSize, C]],
    [/q_proj/, [queries, C]],
    [/[kv]_proj/, [keys, C]],
    [/o_proj/, [C, queries]],
    [/q_norm/, [queries]],
    [/k_norm/, [keys]],
    [/gate/, [g.experts, C]],
    [/bias/, [g.experts]],
    [/w[13]/, [F, C]],
    [/w2/, [C, F]],
    [/norm/, [C]],
  ]
  return patterns.find(([pattern]) => pattern.test(name))![1]
}

describe('planWeights refuses', () => {
  const plan = (checkpoint: Checkpoint, shape = SHAPE) => failure(() => planWeights(shape, checkpoint))

  it('a checkpoint with tensors missing, naming the first and their number', async () => {
    const checkpoint = await tiny()
    checkpoint.tensors.delete(GATE)
    expect(await plan(checkpoint)).toBe(
      `BAD_CHECKPOINT ${GATE}: expected by config.json, found 1 of 47 tensors missing from the 46 in the files`,
    )
    const deeper = await plan(await tiny(), { ...SHAPE, layers: 3 })
    expect(deeper).toContain(
      'model.layers.2.input_layernorm.weight: expected by config.json, found 22 of 69 tensors missing',
    )
  })

  it('shapes that are not those of config.json', async () => {
    expect(await plan(changed(await tiny(), GATE, { shape: [4, 64] }))).toMatch(
      /^BAD_CHECKPOINT \S+model\.safetensors: \S+gate\.weight: expected shape \[4,32\] by config\.json, found \[4,64\]$/,
    )
    expect(await plan(changed(await tiny(), GATE, { shape: [128] }))).toContain('found [128]')
  })

  it('FP8 where no product takes it, and scales where there is no FP8', async () => {
    expect(await plan(changed(await tiny(), GATE, { dtype: 'F8_E4M3' }))).toMatch(
      /^UNSUPPORTED_MODEL .*gate\.weight: expected F32, BF16, F16, found F8_E4M3$/,
    )
    expect(await plan(changed(await tiny(), `${GATE}_scale_inv`, { dtype: 'F32' }))).toMatch(
      /^UNSUPPORTED_MODEL .*gate\.weight: expected F8_E4M3 where there are scales, found BF16 with \S+gate\.weight_scale_inv$/,
    )
  })

  it('FP8 without its scales, or with others', async () => {
    const fp8 = () => readCheckpoint(modelFolder({ fp8: true }))
    const name = 'model.layers.0.self_attn.o_proj.weight'
    const scales = `${name}_scale_inv`
    const missing = await fp8()
    missing.tensors.delete(scales)
    const expected = 'expected F32 \\[1,2\\] in \\S+o_proj\\.weight_scale_inv, one scale for each 128 x 128, found'
    expect(await plan(missing)).toMatch(
      new RegExp(`^BAD_CHECKPOINT \\S+: \\S+o_proj\\.weight: ${expected} no such tensor$`),
    )
    expect(await plan(changed(await fp8(), scales, { shape: [2, 2] }))).toMatch(
      new RegExp(`^UNSUPPORTED_MODEL \\S+: \\S+o_proj\\.weight: ${expected} F32 \\[2,2\\]$`),
    )
    expect(await plan(changed(await fp8(), scales, { dtype: 'BF16' }))).toContain('found BF16 [1,2]')
  })

  it('dtypes that are not read', async () => {
    expect(await plan(changed(await tiny(), GATE, { dtype: 'I32' }))).toMatch(
      /^UNSUPPORTED_MODEL .*gate\.weight: expected F32, BF16, F16, found I32$/,
    )
  })

  it('a config.json that asks for more experts than there could be', async () => {
    const line = await plan(await tiny(), { ...SHAPE, experts: 2 ** 31 - 1 })
    expect(line).toMatch(
      /^BAD_CHECKPOINT config\.json: expected at most 500000 experts in all, found 2 layers of 2147483647/,
    )
  })
})
