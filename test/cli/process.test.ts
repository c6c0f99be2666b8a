/** The program as it is installed: dist/cli/main.js in a process of its own, with the embedded model. */
import { cpSync, mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { m2, ROOT, start } from './process'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-process-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

describe('m2 generate', () => {
  it('answers with the embedded model', async () => {
    const { status, stdout, stderr } = await m2(['generate', 'What is 47 + 38?'])
    expect(status).toBe(0)
    expect(stdout).toMatch(/\b85\b/)
    expect(stdout).not.toContain('think')
    expect(stderr).toMatch(/tokens\/s.*finished: stop\n$/)
  })

  it('reads the prompt from stdin and prints one JSON object', async () => {
    const { status, stdout, stderr } = await m2(['generate', '-', '--json', '--quiet'], 'What is 47 + 38?\n')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const result = JSON.parse(stdout)
    expect(result).toMatchObject({ finishReason: 'stop', device: 'cpu', toolCalls: [] })
    expect(result.text).toMatch(/\b85\b/)
    expect(result.reasoning).not.toBe('')
    expect(result.tokenIds).toHaveLength(result.usage.completionTokens)
    expect(result.promptTokenIds).toHaveLength(result.usage.promptTokens)
    expect(result.model.directory).toContain('nano')
  })

  it('continues raw token ids, and counts a token limit as length', async () => {
    const { stdout } = await m2(
      ['generate', '--token-ids', '-', '--max-tokens', '3', '--json', '--quiet'],
      '[1, 2, 50]',
    )
    expect(JSON.parse(stdout)).toMatchObject({
      promptTokenIds: [1, 2, 50],
      finishReason: 'length',
      usage: { completionTokens: 3 },
    })
  })

  it('draws the same tokens for the same seed', async () => {
    const draw = () =>
      m2(['generate', '--raw', 'Hi', '--temperature', '2', '--seed', '7', '--max-tokens', '20', '--quiet'])
    const [first, second] = [await draw(), await draw()]
    expect(first.stdout).not.toBe('')
    expect(second.stdout).toBe(first.stdout)
  })

  it.each([
    ['a model that is not there', () => ['--model', path.join(dir, 'none')], /none/],
    ['a device that is not one', () => ['--device', 'abacus'], /abacus/],
    ['a word for a number', () => ['--temperature', 'abc'], /--temperature/],
  ])('%s: one line, status 2', async (_, args, message) => {
    const { status, stdout, stderr } = await m2(['generate', 'hi', ...args()])
    expect(stderr).toMatch(/^m2: [^\n]+\n$/)
    expect(stderr).toMatch(message)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  })

  it('a truncated checkpoint: one line, status 2', async () => {
    const model = path.join(dir, 'truncated')
    cpSync(path.join(ROOT, 'models', 'nano'), model, { recursive: true })
    truncateSync(path.join(model, 'model.safetensors'), 1_000_000)
    const { status, stderr } = await m2(['generate', 'hi', '--model', model])
    expect(stderr).toMatch(/^m2: [^\n]*model\.safetensors[^\n]*\n$/)
    expect(status).toBe(2)
  })

  it('Ctrl-C ends with what there is, status 130', async () => {
    // A prompt of one token that never ends: some nine hundred tokens are left when the signal comes after the first.
    const { child, ended } = start(['generate', '--raw', 'a', '--ignore-eos', '--temperature', '2', '--seed', '1'])
    child.stdout?.once('data', () => child.kill('SIGINT'))
    const { status, stdout, stderr } = await ended
    expect({ status, tail: stderr.split('; ').at(-1) }).toEqual({ status: 130, tail: 'finished: abort\n' })
    expect(stdout).not.toBe('')
  })

  it('ends quietly when nobody reads on', async () => {
    const { child, ended } = start([
      'generate',
      '--raw',
      'a',
      '--ignore-eos',
      '--temperature',
      '2',
      '--seed',
      '1',
      '--quiet',
    ])
    child.stdout?.once('data', () => child.stdout?.destroy())
    const { status, stderr } = await ended
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })
})
