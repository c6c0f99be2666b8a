import { readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const TABLE = path.join(__dirname, '..', '..', 'csrc', 'text', 'unicode_categories.inc')

describe('the table of general categories', () => {
  const text = readFileSync(TABLE, 'utf8')
  const runs = [...text.matchAll(/\{0x([0-9a-f]+),"([A-Z][a-z])"\}/g)].map(([, first, name]) => ({
    first: Number.parseInt(first!, 16),
    name: name!,
  }))

  it('covers all code points in order', () => {
    expect(runs[0]!.first).toBe(0)
    for (let i = 1; i < runs.length; i++) {
      expect(runs[i]!.first).toBeGreaterThan(runs[i - 1]!.first)
      expect(runs[i]!.name).not.toBe(runs[i - 1]!.name)
    }
  })

  // Another version of Unicode has other characters, so only a Node of the table's version can judge it.
  const version = /Unicode ([0-9.]+)/.exec(text)![1]
  it.skipIf(process.versions.unicode !== version)('is what Node says of every code point', () => {
    for (const [i, { first, name }] of runs.entries()) {
      const length = (runs[i + 1]?.first ?? 0x110000) - first
      const tests = new RegExp(`^\\p{${name}}$`, 'u')
      for (let code = first; code < first + length; code++) {
        if (!tests.test(String.fromCodePoint(code))) expect.fail(`U+${code.toString(16)} is not ${name}`)
      }
    }
  })
})
