/** `m2 chat` as it is installed, with the embedded model and its input in a pipe. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { m2, startOpen } from './process'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-chat-process-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

const TOOL = {
  name: 'get_value',
  description: 'Look up the value of a key.',
  parameters: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
}

describe('m2 chat', () => {
  it('answers line by line, from what is cached of the lines before', async () => {
    const { status, stdout, stderr } = await m2(['chat'], 'What is 47 + 38?\nWhat is 20 + 30?\n/stats\n')
    expect({ status, stdout }).toEqual({ status: 0, stdout: '47 + 38 = 85.\n20 + 30 = 50.\n' })
    expect(stderr).toMatch(/^last answer .* tokens\/s\n +prompt \d+ tokens \(64 cached\)/)
    expect(stderr).toMatch(/context +\d+ of 1,024 tokens\n$/)
  })

  it('goes on where a saved conversation was', async () => {
    const file = path.join(dir, 'saved.json')
    const first = await m2(['chat'], `What is 47 + 38?\n/save ${file}\nWhat is 20 + 30?\n`)
    const second = await m2(['chat', '--load', file], `What is 20 + 30?\n/save ${file}\n`)
    expect([first.status, second.status]).toEqual([0, 0])
    expect(first.stdout).toBe(`47 + 38 = 85.\n${second.stdout}`)
    expect(JSON.parse(readFileSync(file, 'utf8')).messages).toHaveLength(4)
  })

  it('shows calls of tools and goes on with what it is told', async () => {
    const file = path.join(dir, 'tools.json')
    writeFileSync(file, JSON.stringify([TOOL]))
    const { stdout, stderr } = await m2(['chat', '--tools', file], 'Look up thunder.\n6319\n')
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^get_value \{"key":"thunder"\}\n[^\n]*6319[^\n]*\n$/)
  })

  it('says with numbers when the context is full, and stays as it was', async () => {
    const long = 'What is 47 + 38? '.repeat(100)
    const { status, stdout, stderr } = await m2(['chat'], `hi\n${long}\n/undo\n`)
    expect({ status, lines: stdout.split('\n').length }).toEqual({ status: 0, lines: 2 })
    expect(stderr).toMatch(
      /^m2: prompt: expected at most 1023 tokens[^\n]*found \d+; [^\n]*\/reset[^\n]*\ndropped: hi\n$/,
    )
  })

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('ends by %s though its input is open, status %i', async (signal, status) => {
    const { child, ended } = startOpen(['chat'])
    child.stdout?.once('data', () => child.kill(signal))
    child.stdin?.write('What is 47 + 38?\n')
    expect(await ended).toMatchObject({ status, stdout: expect.stringMatching(/^4/) }) // what came before the signal
  })

  it('leaves by /exit though its input is open', async () => {
    const { child, ended } = startOpen(['chat'])
    child.stdin?.write('/exit\n')
    expect(await ended).toEqual({ status: 0, signal: null, stdout: '', stderr: '' })
  })
})
