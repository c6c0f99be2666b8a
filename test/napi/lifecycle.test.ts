/** How a process with an engine in it ends: cleanly, whatever it was doing. */
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const PROGRAM = path.join(__dirname, 'lifecycle-program.cjs')

describe('a process that', () => {
  it.each([
    ['is idle and not closed', 0, ''],
    ['exits in mid-step', 7, ''],
    ['closes in mid-step', 0, 'abort\n'],
    ['terminates a worker in mid-step', 0, '1\n'],
    ['drops engines without closing them', 0, ''],
    ['throws while it hears of progress', 0, 'the listener broke\n'],
  ])('%s ends with status %i', (what, status, stdout) => {
    const child = spawnSync(process.execPath, ['--expose-gc', PROGRAM, what], { encoding: 'utf8', timeout: 50_000 })
    expect({ status: child.status, signal: child.signal, stdout: child.stdout, stderr: child.stderr }).toEqual({
      status,
      signal: null,
      stdout,
      stderr: '',
    })
  })
})
