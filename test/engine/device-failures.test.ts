/** An engine whose device is lost, or too small, in a process of its own: one clear error, and then it is closed. The core's side: test/failures. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GPUS } from '../devices'
import { TINY } from '../model/folder'
import { writeRandomModel } from '../reference/checkpoint-writer'

const ROOT = path.join(__dirname, '..', '..')

interface Report {
  /** Of Engine.load, or of each of three generations; null: none. */
  load: string | null
  results: (string | null)[]
  /** Of a generation after those, and of close(). */
  after: string | null
  close: string | null
}

const SCRIPT = `
const { Engine } = require('./dist/index.js')
const of = (work) => work.then(() => null, ({ code, message }) => code + ' ' + message)
const report = { load: null, results: [], after: null, close: null }
Engine.load(process.argv[1], { device: 'emulated', maxContext: 64, maxSequences: 4, kvMemory: 1 << 20 }).then(
  async (engine) => {
    const ask = () => of(engine.generate([1, 2, 3], { maxTokens: 8, temperature: 0, ignoreEos: true }).result())
    report.results = await Promise.all([ask(), ask(), ask()])
    report.after = await ask()
    report.close = await of(engine.close())
  },
  ({ code, message }) => { report.load = code + ' ' + message },
).then(() => console.log(JSON.stringify(report)))`

describe.runIf(GPUS.includes('emulated'))('a device', () => {
  let dir: string
  beforeAll(() => {
    dir = mkdtempSync(path.join(os.tmpdir(), 'm2-lost-'))
    writeRandomModel(dir, { geometry: TINY, seed: 3 })
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const run = (environment: Record<string, string>): Promise<Report> =>
    new Promise((resolve, reject) => {
      const options = { cwd: ROOT, timeout: 60_000, env: { ...process.env, ...environment } }
      execFile(process.execPath, ['-e', SCRIPT, dir], options, (error, out) =>
        error ? reject(error) : resolve(JSON.parse(out)),
      )
    })

  it('that is lost ends what runs with one error, refuses what comes after and can be closed', async () => {
    const reports = await Promise.all(
      Array.from({ length: 13 }, (_, i) => run({ M2_EMULATOR_FAIL: String(2 + 30 * i) })),
    )
    const running = reports.filter(({ load }) => load === null)
    expect(running.length).toBeGreaterThan(0)
    expect(running.length).toBeLessThan(reports.length)
    for (const { load } of reports.filter(({ load }) => load !== null)) expect(load).toMatch(LOST)
    for (const { results, after, close } of running) {
      expect(results[0]).toMatch(LOST)
      expect(results).toEqual(new Array(3).fill(results[0]))
      expect(after).toMatch(/^CLOSED .*unspecified launch failure/)
      expect(close).toBeNull()
    }
  })

  it('that is too small says how much is needed and how much is free', async () => {
    for (const bytes of [1 << 16, 1 << 20, 18 << 20]) {
      const { load } = await run({ M2_EMULATED_MEMORY: String(bytes) })
      expect(load).toMatch(/^OUT_OF_MEMORY memory: expected room for .* found .* available/)
    }
  })
})

const LOST = /^DEVICE_(ERROR|UNAVAILABLE) .*unspecified launch failure/
