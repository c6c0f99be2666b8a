import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'
import { run } from '../../lib/cli/program'
import { modelFolder, temporaryFolder } from '../model/folder'
import { fakeShell } from './fake-shell'

const target = () => path.join(temporaryFolder(), 'int4')

it('quantises a model, with a line for each layer, and prints its folder', async () => {
  const { shell, seen } = fakeShell()
  const to = target()
  expect(await run(['quantize', modelFolder(), to], shell)).toBe(0)
  expect(seen.stdout).toBe(`${to}\n`)
  expect(readdirSync(to)).toContain('config.json')
  const [first, second, summary] = seen.stderr.split('\n')
  for (const [i, line] of [first, second].entries())
    expect(line).toMatch(
      new RegExp(
        `^layer ${i}: relative error w1 \\d+\\.\\d\\d %, w3 \\d+\\.\\d\\d %, w2 \\d+\\.\\d\\d %; \\d+\\.\\d\\d % of the groups clipped; worst: w\\d of expert \\d, \\d+\\.\\d\\d %$`,
      ),
    )
  expect(summary).toMatch(/^.* became .*; relative error of the experts \d+\.\d\d %$/)
})

it('prints one JSON object with --json, and nothing else with --quiet', async () => {
  const { shell, seen } = fakeShell()
  expect(await run(['quantize', '--json', '--quiet', modelFolder(), target()], shell)).toBe(0)
  expect(seen.stderr).toBe('')
  const made = JSON.parse(seen.stdout)
  expect(Object.keys(made)).toEqual(['directory', 'bytes', 'error', 'layers', 'skippedTensors'])
  expect(made.layers).toHaveLength(2)
})

it('says in one line why not', async () => {
  const { shell, seen } = fakeShell()
  const from = modelFolder()
  expect(await run(['quantize', from, from], shell)).toBe(2)
  expect(seen.stderr).toBe(`m2: ${from}: expected an empty folder, or none, found config.json, model.safetensors\n`)
  const other = fakeShell()
  expect(await run(['quantize', path.join(from, 'nothing'), target()], other.shell)).toBe(2)
  expect(other.seen.stderr).toMatch(/^m2: .*nothing.*\n$/)
})

it('stops at Ctrl-C with status 130, and can go on', async () => {
  const { shell, seen } = fakeShell()
  const [from, to] = [modelFolder(), target()]
  const interrupted = { ...shell, onInterrupt: (handler: () => void) => handler() }
  expect(await run(['quantize', from, to], interrupted)).toBe(130)
  expect(seen.stderr).toBe('stopped; the same command goes on from here\n')
  expect(existsSync(path.join(to, 'config.json'))).toBe(false)
  expect(await run(['quantize', from, to], shell)).toBe(0)
})
