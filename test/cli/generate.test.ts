import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from '../../lib/cli/program'
import { M2Error, type M2ErrorCode } from '../../lib/index'
import { CHUNKS, type FakeOptions, fakeShell, RESULT } from './fake-shell'

let dir: string
const file = (name: string) => path.join(dir, name)
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-cli-'))
  writeFileSync(file('prompt.txt'), 'from a file\n')
  writeFileSync(file('ids.json'), '[5, 6, 7]')
  writeFileSync(file('broken.json'), '[5, 6')
  writeFileSync(file('object.json'), '{"ids": [5]}')
  writeFileSync(file('fraction.json'), '[5, 6.5]')
  writeFileSync(file('latin1.txt'), Buffer.from([0x63, 0x61, 0x66, 0xe9]))
})
afterAll(() => rmSync(dir, { recursive: true }))

async function m2(args: string[], fake?: FakeOptions) {
  const { shell, seen } = fakeShell(fake)
  const status = await run(args, shell)
  return { status, ...seen }
}

describe('the prompt', () => {
  it('is a user message by default', async () => {
    const { status, calls, loads, closed } = await m2(['generate', 'hello'])
    expect(status).toBe(0)
    expect(calls).toEqual([{ kind: 'chat', prompt: [{ role: 'user', content: 'hello' }], options: {} }])
    expect(loads).toEqual([[undefined, {}]])
    expect(closed).toBe(1)
  })

  it('follows a system message', async () => {
    const { calls } = await m2(['generate', 'hello', '--system', 'be brief'])
    expect(calls[0]?.prompt).toEqual([
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'hello' },
    ])
  })

  it('is continued as it stands with --raw', async () => {
    const { calls } = await m2(['generate', '--raw', 'Once upon'])
    expect(calls).toEqual([{ kind: 'generate', prompt: 'Once upon', options: {} }])
  })

  it.each([
    ['a file', () => ['--prompt-file', file('prompt.txt')], 'from a file'],
    ['stdin by -', () => ['-'], 'from stdin\nin two lines'],
    ['stdin by --prompt-file -', () => ['--prompt-file', '-'], 'from stdin\nin two lines'],
  ])('is read from %s, without the last line end', async (_, args, content) => {
    const { calls } = await m2(['generate', ...args()], { stdin: 'from stdin\nin two lines\n' })
    expect(calls[0]?.prompt).toEqual([{ role: 'user', content }])
  })

  it('is answered with token ids by a model that has no tokenizer', async () => {
    const { stdout } = await m2(['generate', '--token-ids', file('ids.json')], {
      idsOnly: true,
      chunks: [{ text: '', tokenIds: [7, 8, 9], index: 0 }],
    })
    expect(stdout).toBe('[7,8,9]\n')
  })

  it('is token ids with --token-ids, which implies --raw', async () => {
    const { calls } = await m2(['generate', '--token-ids', file('ids.json')])
    expect(calls).toEqual([{ kind: 'generate', prompt: [5, 6, 7], options: {} }])
  })
})

describe('options', () => {
  it('reach the engine under the names of the library', async () => {
    const { calls, loads } = await m2([
      ...['generate', 'hi', '--model', 'some/dir', '--device', 'cpu', '--max-tokens', '12', '--temperature', '0.5'],
      ...['--top-p', '.9', '--top-k', '40', '--min-p', '1e-2', '--seed', '7', '--stop', 'a', '--stop', 'b'],
      ...['--ignore-eos', '--logprobs', '2', '--kv-dtype', 'fp8', '--weight-dtype', 'int4'],
    ])
    expect(loads).toEqual([['some/dir', { device: 'cpu', kvDtype: 'fp8', weightDtype: 'int4' }]])
    expect(calls[0]?.options).toEqual({
      maxTokens: 12,
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      minP: 0.01,
      seed: 7,
      stop: ['a', 'b'],
      ignoreEos: true,
      logprobs: 2,
    })
  })
})

describe('what is wrong with the arguments', () => {
  const wrong: [string, () => string[], RegExp][] = [
    ['no command', () => [], /no command/],
    ['an unknown command', () => ['frobnicate'], /unknown command 'frobnicate'/],
    ['an unknown option', () => ['generate', 'hi', '--frobnicate'], /--frobnicate/],
    ['a misspelt option', () => ['generate', 'hi', '--temprature', '0'], /--temprature.*--temperature/],
    ['two prompts', () => ['generate', 'hi', 'there'], /too many arguments/],
    ['no prompt', () => ['generate'], /no prompt/],
    ['a prompt twice', () => ['generate', 'hi', '--prompt-file', file('prompt.txt')], /argument and --prompt-file/],
    ['an option without its value', () => ['generate', 'hi', '--seed'], /--seed/],
    ['a word for a number', () => ['generate', 'hi', '--temperature', 'abc'], /--temperature.*'abc'/],
    ['a number with a tail', () => ['generate', 'hi', '--temperature', '0.5x'], /--temperature.*'0.5x'/],
    ['no number at all', () => ['generate', 'hi', '--temperature', ''], /--temperature/],
    ['an infinite temperature', () => ['generate', 'hi', '--temperature', 'Infinity'], /--temperature/],
    ['a temperature below 0', () => ['generate', 'hi', '--temperature', '-1'], /--temperature/],
    ['negative tokens', () => ['generate', 'hi', '--max-tokens', '-5'], /--max-tokens.*'-5'/],
    ['half a token', () => ['generate', 'hi', '--max-tokens', '1.5'], /--max-tokens.*'1.5'/],
    ['a probability above 1', () => ['generate', 'hi', '--top-p', '1.5'], /--top-p.*above 0 and at most 1/],
    ['a probability of 0', () => ['generate', 'hi', '--top-p', '0'], /--top-p.*above 0/],
    ['too many alternatives', () => ['generate', 'hi', '--logprobs', '21'], /--logprobs.*at most 20/],
    ['an empty stop', () => ['generate', 'hi', '--stop', ''], /--stop/],
    ['a seed past 2^53', () => ['generate', 'hi', '--seed', '9007199254740993'], /--seed/],
    ['a file that is not there', () => ['generate', '--prompt-file', file('none')], /none: no such file/],
    ['a folder for a file', () => ['generate', '--prompt-file', dir], /directory/],
    ['a prompt that is not text', () => ['generate', '--prompt-file', file('latin1.txt')], /UTF-8/],
    ['ids that are not JSON', () => ['generate', '--token-ids', file('broken.json')], /--token-ids.*JSON/],
    ['ids that are no array', () => ['generate', '--token-ids', file('object.json')], /--token-ids.*array/],
    ['a fraction for an id', () => ['generate', '--token-ids', file('fraction.json')], /6\.5 at index 1/],
    ['a system message without a chat', () => ['generate', 'hi', '--raw', '--system', 's'], /--system/],
  ]
  it.each(wrong)('%s: one line that names it, status 2, and nothing is loaded', async (_, args, message) => {
    const { status, stdout, stderr, loads } = await m2(args())
    expect(status).toBe(2)
    expect(stderr).toMatch(/^m2: [^\n]+\n$/)
    expect(stderr).toMatch(message)
    expect(stdout).toBe('')
    expect(loads).toEqual([])
  })

  it('--help and --version answer on stdout', async () => {
    const help = await m2(['generate', '--help'])
    expect(help).toMatchObject({ status: 0, stderr: '' })
    expect(help.stdout).toContain('--max-tokens')
    const version = await m2(['--version'])
    expect(version).toMatchObject({ status: 0, stderr: '' })
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

describe('errors of the engine', () => {
  const cases: [M2ErrorCode, number][] = [
    ['MODEL_NOT_FOUND', 2],
    ['BAD_CHECKPOINT', 2],
    ['UNSUPPORTED_MODEL', 2],
    ['CONTEXT_LENGTH_EXCEEDED', 2],
    ['BAD_OPTION', 2],
    ['BAD_INPUT', 2],
    ['DEVICE_UNAVAILABLE', 2],
    ['QUEUE_FULL', 1],
    ['OUT_OF_MEMORY', 1],
    ['DEVICE_ERROR', 1],
    ['CLOSED', 1],
  ]
  it.each(cases)('%s ends with one line and status %i', async (code, status) => {
    const loading = await m2(['generate', 'hi', '--quiet'], { loadError: new M2Error(code, 'what\n  happened') })
    expect(loading).toMatchObject({ status, stdout: '', stderr: 'm2: what happened\n' })
    const running = await m2(['generate', 'hi', '--quiet'], { error: new M2Error(code, 'what happened') })
    expect(running).toMatchObject({ status, stdout: '85\n', stderr: 'm2: what happened\n', closed: 1 })
  })

  it('an error that is not ours is shown as the bug it is, status 1', async () => {
    const { status, stderr } = await m2(['generate', 'hi', '--quiet'], {
      loadError: new TypeError('x is not a function'),
    })
    expect(status).toBe(1)
    expect(stderr).toContain('bug of m2-engine')
    expect(stderr).toContain('x is not a function')
  })
})

describe('the answer', () => {
  it('goes to a pipe without the thinking, and the summary to stderr', async () => {
    const { stdout, stderr } = await m2(['generate', 'hi'])
    expect(stdout).toBe('85\n')
    expect(stderr).toBe('3 tokens (2 thinking), 100.0 tokens/s; prompt 2 tokens in 4 ms; finished: stop\n')
  })

  it('goes to a terminal after the dimmed thinking', async () => {
    const { stdout } = await m2(['generate', 'hi', '--quiet'], { terminal: true })
    expect(stdout).toBe('\x1b[2m47 + 38\x1b[22m\x1b[2m = 85\x1b[22m\n\n85\n')
  })

  it('marks the thinking with its tags where colour is off', async () => {
    const { stdout } = await m2(['generate', 'hi', '--quiet'], { terminal: true, env: { NO_COLOR: '1' } })
    expect(stdout).toBe('<think>\n47 + 38 = 85\n</think>\n\n85\n')
  })

  it('says on stderr that it was cut off while thinking', async () => {
    const cut = { ...RESULT, text: '', finishReason: 'length' as const }
    const { stdout, stderr } = await m2(['generate', 'hi'], { chunks: [], result: cut })
    expect(stdout).toBe('')
    expect(stderr).toContain('finished: length while still thinking')
  })

  it('ends its last line once', async () => {
    const chunks = [{ text: 'a line\n', tokenIds: [1], index: 0 }]
    expect((await m2(['generate', 'hi', '--quiet'], { chunks })).stdout).toBe('a line\n')
  })

  it('shows the calls of tools that nobody offered', async () => {
    const deltas = [
      { index: 0, id: 'c1', name: 'clock', arguments: '{"zone":' },
      { index: 0, arguments: '"UTC"}' },
    ]
    const calls = deltas.map((delta) => ({ text: '', toolCalls: [delta], tokenIds: [1], index: 0 }))
    const chunks = [...CHUNKS, ...calls]
    expect((await m2(['generate', 'hi', '--quiet'], { chunks })).stdout).toBe('85\nclock {"zone":"UTC"}\n')
  })

  it('is with --json one object: the result, the model and the device', async () => {
    const { stdout, stderr } = await m2(['generate', 'hi', '--json', '--quiet'])
    expect(JSON.parse(stdout)).toEqual({ ...RESULT, model: { directory: 'somewhere' }, device: 'cpu' })
    expect(stdout.endsWith('}\n')).toBe(true)
    expect(stderr).toBe('')
  })

  it('lists the log probabilities on stderr', async () => {
    const logprobs = [
      {
        id: 7,
        logprob: -0.25,
        top: [
          { id: 7, logprob: -0.25 },
          { id: 3, logprob: -2 },
        ],
      },
    ]
    const { stdout, stderr } = await m2(['generate', 'hi', '--logprobs', '2', '--quiet'], {
      result: { ...RESULT, logprobs },
    })
    expect(stdout).toBe('85\n')
    expect(stderr).toBe('-0.2500 "<7>"  of "<7>" -0.2500, "<3>" -2.0000\n')
  })
})

describe('Ctrl-C', () => {
  it('ends with what there is and status 130', async () => {
    const { status, stdout, closed } = await m2(['generate', 'hi', '--quiet'], {
      chunks: [
        { text: 'one ', tokenIds: [1], index: 0 },
        { text: 'two ', tokenIds: [2], index: 0 },
      ],
      interruptAfter: 1,
    })
    expect({ status, stdout, closed }).toEqual({ status: 130, stdout: 'one \n', closed: 1 })
  })

  it('with --json prints the result so far', async () => {
    const { status, stdout } = await m2(['generate', 'hi', '--json', '--quiet'], { interruptAfter: 0 })
    expect(status).toBe(130)
    expect(JSON.parse(stdout)).toMatchObject({ finishReason: 'abort', device: 'cpu' })
  })
})
