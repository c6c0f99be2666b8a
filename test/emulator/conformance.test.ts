import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = path.join(__dirname, '../..')
const PTX = path.join(ROOT, 'csrc/cuda/ptx')
const CASES = path.join(ROOT, 'test/emulator/conformance/cases')

/** The functions that a header defines: as they stand, and by the macros that take a function's name first. */
function functionsOf(header: string): string[] {
  const text = readFileSync(path.join(PTX, header), 'utf8')
  const written = [...text.matchAll(/M2_PTX \w+ (\w+)\(/g)].map((m) => m[1]!)
  const made = [...text.matchAll(/^\s*M2_\w+\((\w+), "/gm)].map((m) => m[1]!)
  return [...new Set([...written, ...made])].filter((name) => name !== 'name')
}

const headers = readdirSync(PTX).filter((file) => functionsOf(file).length > 0)

describe('the conformance program', () => {
  it('finds functions in every header of instructions', () => {
    expect(headers).toEqual(readdirSync(PTX).filter((file) => file !== 'wgmma_lists.h'))
    expect(functionsOf('mma.h')).toEqual(['mma_bf16', 'mma_f16', 'mma_s8', 'mma_e4m3'])
    expect(functionsOf('wgmma.h')).toEqual(expect.arrayContaining(['wgmma_bf16', 'wgmma_f16', 'wgmma_e4m3']))
    expect(functionsOf('tensor.h')).toEqual(expect.arrayContaining(['tensor_load', 'tensor_add']))
  })

  it.each(headers)('calls every function of %s, and names it in the first lines', (header) => {
    const text = readFileSync(path.join(CASES, header.replace(/h$/, 'cu')), 'utf8')
    const first = text.slice(0, text.indexOf('#include'))
    const isCalled = (name: string) => new RegExp(`ptx::${name}(<[^;]*?>)?\\(`).test(text)
    expect(functionsOf(header).filter((name) => !isCalled(name))).toEqual([])
    expect(functionsOf(header).filter((name) => !new RegExp(`\\b${name}\\b`).test(first))).toEqual([])
  })

  it('has a case for each number of dimensions and of columns', () => {
    const dimensions = readFileSync(path.join(PTX, 'tensor.h'), 'utf8').matchAll(/^M2_TENSOR\((\d)/gm)
    const boxes = readFileSync(path.join(CASES, 'tensor.cu'), 'utf8').matchAll(/boxes<(\d)>\(out\)/g)
    expect([...boxes].map((m) => m[1])).toEqual([...dimensions].map((m) => m[1]))
    expect(readFileSync(path.join(CASES, 'wgmma.cu'), 'utf8')).toContain('M2_FOR_EACH_WGMMA(')
  })
})
