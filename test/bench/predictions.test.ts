import { describe, expect, it } from 'vitest'
import { OPS } from '../../bench/gpu/plan'
import { floorOnH200, H200, predict } from '../../bench/gpu/predictions'
import { M2, type Spec, specs } from '../../bench/gpu/specs'

const ALL = specs(M2, OPS.decodes, OPS.contexts, OPS.prefills)
const norm = (rows: number): Spec => ({ op: 'rmsNorm', rows, sizes: M2 })

describe('predict', () => {
  it('never promises less than the floor', () => {
    for (const spec of ALL) expect(predict(spec).us).toBeGreaterThan(floorOnH200(spec))
    expect(ALL.length).toBeGreaterThan(20)
  })
  it('counts the sum of a token’s experts where it is: in the product of few rows, behind that of many', () => {
    const [few, many] = [16, 8192].map((rows) => predict({ op: 'expertsDown', rows, sizes: M2, format: 'bf16' }))
    expect(few!.kernels).toBe('gemm_small_kernel')
    expect(many!.kernels).toBe('gemm_wgmma_kernel, unpermute_kernel')
    expect(many!.waits).toBeGreaterThan((1e6 * 2 * 8192 * 8 * 3072) / 4.3e12)
  })
  it('is bound by waits for one token, and by memory for many', () => {
    expect(predict(norm(1)).us).toBeCloseTo(predict(norm(1)).waits + H200.latency, 3)
    expect(predict(norm(8192)).us).toBeCloseTo(floorOnH200(norm(8192)) + predict(norm(1)).waits, 3)
  })
  it('counts each product of the router as six of bf16', () => {
    const route: Spec = { op: 'route', rows: 8192, sizes: M2 }
    expect(floorOnH200(route)).toBeCloseTo((6 * 1e6 * 2 * 8192 * 256 * 3072) / 790e12, 3)
  })
})

describe('specs', () => {
  it('are of the ops that a model runs', () => {
    const run = ['rmsNorm', 'qkNormRopeStore', 'route', 'linear', 'gateUp', 'expertsDown', 'attention', 'sample']
    expect(new Set(ALL.map((spec) => spec.op))).toEqual(new Set(run))
  })
})
