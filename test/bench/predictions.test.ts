import { describe, expect, it } from 'vitest'
import { OPS } from '../../bench/gpu/plan'
import { floorOnH200, H200, predict } from '../../bench/gpu/predictions'
import { M2, type Spec, specs } from '../../bench/gpu/specs'

const ALL = specs(M2, OPS.decodes, OPS.contexts, OPS.prefills)
const norm = (rows: number): Spec => ({ op: 'rmsNorm', rows, sizes: M2 })

describe('predict', () => {
  it('never promises less than the floor', () => {
    for (const spec of ALL) {
      const known = predict(spec)
      if (known) expect(known.us).toBeGreaterThan(floorOnH200(spec))
    }
    expect(ALL.filter((spec) => predict(spec)).length).toBeGreaterThan(20)
  })
  it('is bound by waits for one token, and by memory for many', () => {
    expect(predict(norm(1))!.us).toBeCloseTo(predict(norm(1))!.waits + H200.latency, 3)
    expect(predict(norm(8192))!.us).toBeCloseTo(floorOnH200(norm(8192)) + predict(norm(1))!.waits, 3)
  })
  it('counts each product of the router as six of bf16', () => {
    const route: Spec = { op: 'route', rows: 8192, sizes: M2 }
    expect(floorOnH200(route)).toBeCloseTo((6 * 1e6 * 2 * 8192 * 256 * 3072) / 790e12, 3)
  })
})
