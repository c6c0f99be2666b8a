import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { M2Error } from '../../lib/index'
import { chat } from './chat-fakes'

let dir: string
const file = (name: string) => path.join(dir, name)
beforeAll(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-chat-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

const user = (content: string) => ({ role: 'user', content })
const said = (content: string, reasoning_content = '') => ({ role: 'assistant', content, reasoning_content })
const overflow = new M2Error('CONTEXT_LENGTH_EXCEEDED', 'prompt: expected at most 999 tokens, found 1200')
const call = { id: 'c1', name: 'clock', arguments: { zone: 'UTC' } }

describe('a script', () => {
  it('gets the answers on stdout and everything else on stderr', async () => {
    const { status, stdout, stderr, asked, closed } = await chat([], {
      stdin: 'one\r\n\n/stats\ntwo',
      answers: [{ text: 'first answer', reasoning: 'hm' }, { text: 'second' }],
    })
    expect({ status, stdout, closed }).toEqual({ status: 0, stdout: 'first answer\nsecond\n', closed: 1 })
    expect(asked.map(({ messages }) => messages)).toEqual([
      [user('one')],
      [user('one'), said('first answer', 'hm'), user('two')],
    ])
    expect(stderr).toMatch(/^last answer +3 tokens[\s\S]*context +6 of 1,000 tokens\n$/)
    expect(stderr).not.toContain('\x1b')
  })

  it('goes on a line that ends in a backslash in the next, and says a slash by two', async () => {
    const { asked } = await chat([], { stdin: 'a\\\n b \\\n', answers: [{ text: '1' }] })
    expect(asked[0]?.messages).toEqual([user('a\n b')])
    const slash = await chat([], { stdin: '//etc is a folder', answers: [{ text: '1' }] })
    expect(slash.asked[0]?.messages).toEqual([user('/etc is a folder')])
  })

  it('ends by Ctrl-C with what there is, status 130', async () => {
    const { status, stdout, asked } = await chat([], {
      stdin: 'one\ntwo\n',
      answers: [{ text: 'never said whole', meanwhile: 'SIGINT' }],
    })
    expect({ status, stdout, turns: asked.length }).toEqual({ status: 130, stdout: 'never \n', turns: 1 })
  })

  it('ends by SIGTERM in the same way, status 143', async () => {
    const { status, stdout, closed } = await chat([], {
      stdin: 'one\ntwo\n',
      answers: [{ text: 'never said whole', meanwhile: 'SIGTERM' }],
    })
    expect({ status, stdout, closed }).toEqual({ status: 143, stdout: 'never \n', closed: 1 })
  })
})

describe('a terminal', () => {
  it('shows the thinking dimmed, or a line in its place', async () => {
    const { stdout, stderr } = await chat([], {
      typed: ['one', '/thinking off', 'two'],
      answers: [
        { text: 'first', reasoning: 'hm' },
        { text: 'second', reasoning: 'hm' },
      ],
    })
    expect(stdout).toBe('\x1b[2mhm\x1b[22m\n\nfirst\n\n\r\x1b[2mthinking… 2 tokens\x1b[22m\x1b[K\r\x1b[Ksecond\n\n')
    expect(stderr).toContain('nano on cpu, 1,000 tokens of context')
  })

  it.each([
    ['NO_COLOR', '1'],
    ['TERM', 'dumb'],
  ])('sees no escapes with %s=%s', async (name, value) => {
    const { stdout, stderr } = await chat([], {
      typed: ['one', '/thinking off', 'two', 'three'],
      answers: [{ text: 'first', reasoning: 'hm' }, { text: 'second', reasoning: 'hm' }, { text: '\x1b[2Jthird\x9b' }],
      env: { [name]: value },
    })
    expect(stdout).toBe('<think>\nhm\n</think>\n\nfirst\n\nthinking…\nsecond\n\n�[2Jthird�\n\n')
    expect(stderr).not.toContain('\x1b')
  })

  it('stops the answer by Ctrl-C and not the program; what there is stays', async () => {
    const { status, stdout, stderr, asked } = await chat([], {
      typed: ['one', 'two'],
      answers: [{ text: 'never said whole', meanwhile: 'SIGINT' }, { text: 'yes' }],
    })
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'never \n\nyes\n\n' })
    expect(stderr).toContain('stopped')
    expect(asked[1]?.messages).toEqual([user('one'), said('never '), user('two')])
  })

  it('leaves by Ctrl-C only where it comes twice in a row', async () => {
    const { status, asked } = await chat([], {
      typed: [
        'interrupt',
        'one',
        'interrupt',
        'two\\',
        'interrupt',
        'interrupt',
        'three',
        'interrupt',
        'interrupt',
        'x',
      ],
      answers: [{ text: '1' }, { text: '3' }],
    })
    expect(status).toBe(0)
    expect(asked.map(({ messages }) => messages.at(-1))).toEqual([user('one'), user('three')])
  })

  it('leaves by the end of the input and by /exit', async () => {
    for (const typed of [['end', 'x'], ['/exit', 'x'], ['/quit']] as string[][]) {
      expect(await chat([], { typed })).toMatchObject({ status: 0, asked: [], closed: 1 })
    }
  })

  it('keeps its history in the state folder, but for what cannot be written', async () => {
    const env = { XDG_STATE_HOME: file('state') }
    const { terminal } = await chat([], { typed: [], env })
    for (const line of ['one', 'two', 'two', '/stats']) terminal?.remember(line)
    expect((await chat([], { typed: [], env })).terminal?.history).toEqual(['one', 'two', '/stats'])
    const history = path.join(env.XDG_STATE_HOME, 'm2', 'chat-history')
    expect(statSync(history).mode & 0o777).toBe(0o600)
    writeFileSync(history, Array.from({ length: 1500 }, (_, i) => `${i}\n`).join(''))
    await chat([], { typed: [], env })
    expect(readFileSync(history, 'utf8').split('\n')).toHaveLength(1001)
    const unwritable = await chat([], { typed: [], env: { HOME: '/dev/null' } })
    unwritable.terminal?.remember('x')
    expect(unwritable).toMatchObject({ status: 0, terminal: { history: [] } })
  })
})

describe('commands', () => {
  const errorsOf = async (...lines: string[]) => (await chat([], { stdin: lines.join('\n') })).stderr

  it('are listed by /help, each of them', async () => {
    const help = await errorsOf('/help')
    for (const name of ['/system', '/save', '/load', '/reset', '/undo', '/retry', '/thinking', '/stats', '/set']) {
      expect(help).toContain(name)
    }
  })

  it.each([
    ['/sats', /no such command; did you mean \/stats\?/],
    ['/constructor', /no such command/],
    ['/save', /expected \/save FILE, found nothing/],
    ['/thinking maybe', /expected \/thinking on\|off, found "maybe"/],
    ['/undo all', /expected \/undo, found "all"/],
    ['/set temprature 1', /did you mean temperature\?/],
    ['/set temperature', /expected one value/],
    ['/set top_p 0', /top_p 0: Expected a number above 0/],
    ['/set', /max_tokens +default\ntemperature +default/],
    ['/undo', /nothing to undo/],
    ['/retry', /nothing to answer again/],
    ['/system', /there is no system message/],
  ])('%s is answered in plain words', async (line, message) => {
    expect(await errorsOf(line)).toMatch(message)
  })

  it('/set changes how the next answers are drawn', async () => {
    const { asked } = await chat(['--temperature', '0.5', '--seed', '3'], {
      stdin: 'one\n/set temperature 0.7\n/set top-k 5\n/set seed default\ntwo',
      answers: [{ text: '1' }, { text: '2' }],
    })
    expect(asked.map(({ options }) => options)).toEqual([
      { temperature: 0.5, seed: 3 },
      { temperature: 0.7, topK: 5 },
    ])
  })

  it('/undo drops the last message and its answer, also of what was loaded', async () => {
    await chat([], { stdin: `one\ntwo\n/save ${file('undo.json')}`, answers: [{ text: '1' }, { text: '2' }] })
    const { asked } = await chat(['--load', file('undo.json')], {
      stdin: 'three\n/undo\n/undo\nfour',
      answers: [{ text: '3' }, { text: '4' }],
    })
    expect(asked[1]?.messages).toEqual([user('one'), said('1'), user('four')])
  })

  it('/retry asks the same with another seed each time, and says where chance has no say', async () => {
    const { asked, stderr } = await chat(['--seed', '3'], {
      stdin: 'one\n/retry\n/retry\ntwo\n/retry',
      answers: ['1', 'one', 'one', '2', 'two'].map((text) => ({ text })),
    })
    expect(asked.slice(0, 3).map(({ messages }) => messages)).toEqual(Array(3).fill([user('one')]))
    expect(asked.map(({ options }) => options.seed)).toEqual([3, 4, 5, 3, 4])
    expect(stderr.match(/the same answer/g)).toHaveLength(1)
  })

  it('/system and /reset begin a new conversation; the system message outlives a reset', async () => {
    const { asked, stderr } = await chat(['--system', 'Be brief.'], {
      stdin: '/system\none\n/system Be long.\ntwo\n/reset\nthree\n/system ""\nfour',
      answers: ['1', '2', '3', '4'].map((text) => ({ text })),
    })
    const long = { role: 'system', content: 'Be long.' }
    expect(asked.map(({ messages }) => messages)).toEqual([
      [{ role: 'system', content: 'Be brief.' }, user('one')],
      [long, user('two')],
      [long, user('three')],
      [user('four')],
    ])
    expect(stderr).toMatch(/^Be brief\.\na new conversation begins/)
  })
})

describe('saved conversations', () => {
  it('come back as they were, and only they are overwritten', async () => {
    const saved = file('saved.json')
    const first = await chat(['--system', 'Be brief.'], {
      stdin: `/save ${saved}\none\n/save ${saved}`,
      answers: [{ text: '1', reasoning: 'hm' }],
    })
    expect(first.stderr.match(/saved in/g)).toHaveLength(2)
    expect(JSON.parse(readFileSync(saved, 'utf8'))).toMatchObject({ model: 'nano', system: 'Be brief.' })
    expect(statSync(saved).mode & 0o777).toBe(0o600)
    const second = await chat([], { stdin: `zero\n/load ${saved}\ntwo`, answers: [{ text: '0' }, { text: '2' }] })
    expect(second.asked[1]?.messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      user('one'),
      said('1', 'hm'),
      user('two'),
    ])
  })

  it('are never written over another file', async () => {
    const other = file('other.json')
    writeFileSync(other, '{"precious": true}')
    const { stderr } = await chat([], { stdin: `/save ${other}` })
    expect(stderr).toMatch(/^m2: [^\n]*other\.json: [^\n]*not overwritten[^\n]*\n$/)
    expect(readFileSync(other, 'utf8')).toBe('{"precious": true}')
  })

  it.each([
    ['not JSON', '{"for'],
    ['other JSON', '{"format": "x"}'],
    ['no object', 'null'],
    ['messages without text', '{"format":"m2-chat-1","model":"m","system":"","messages":[{"role":"user"}]}'],
  ])('are refused when they are %s: one line, and the conversation stays', async (_, text) => {
    const bad = file('bad.json')
    writeFileSync(bad, text)
    const { stderr, asked } = await chat([], {
      stdin: `one\n/load ${bad}\n/load ${file('none')}\ntwo`,
      answers: [{ text: '1' }, { text: '2' }],
    })
    expect(stderr).toMatch(/^m2: [^\n]*bad\.json: expected a chat[^\n]*\nm2: [^\n]*none: no such file[^\n]*\n$/)
    expect(asked[1]?.messages).toEqual([user('one'), said('1'), user('two')])
    expect(await chat(['--load', bad], { stdin: 'x' })).toMatchObject({ status: 2, stdout: '', closed: 1 })
  })
})

describe('errors', () => {
  it('of a turn are one line, leave the conversation as it was, and the chat goes on', async () => {
    const { status, stderr, asked } = await chat([], {
      stdin: 'one\nwhole\ntwo\n/retry\n/undo\nthree',
      answers: [{ text: '1' }, { text: '2' }, { error: overflow }, { error: overflow }, { text: '3' }],
    })
    expect(status).toBe(0)
    const line = 'm2: prompt: expected at most 999 tokens, found 1200; /undo or /reset makes room\n'
    expect(stderr).toBe(`${line}${line}dropped: whole\n`)
    expect(asked[4]?.messages).toEqual([user('one'), said('1'), user('three')])
  })

  it.each(['DEVICE_ERROR', 'CLOSED'] as const)('%s ends the chat with status 1', async (code) => {
    const { status, stderr } = await chat([], {
      stdin: 'one\ntwo',
      answers: [{ error: new M2Error(code, 'what happened') }],
    })
    expect({ status, stderr }).toEqual({ status: 1, stderr: 'm2: what happened\n' })
  })

  it('of the options are found before the chat begins', async () => {
    writeFileSync(file('broken.json'), '[{"name":')
    expect(await chat(['--tools', file('broken.json')], { stdin: 'x' })).toMatchObject({ status: 2, closed: 0 })
    const both = await chat(['--system', 's', '--load', file('x')], { stdin: 'x' })
    expect(both).toMatchObject({ status: 2, stderr: expect.stringContaining('--system') })
  })
})

describe('tools', () => {
  let offered: string[]
  beforeAll(() => {
    offered = ['--tools', file('tools.json')]
    writeFileSync(file('tools.json'), '[{"name": "clock"}]')
  })

  it('are asked of the person, call by call; nothing is an error', async () => {
    const calls = [call, { ...call, id: 'c2' }]
    const { stdout, asked, prompts, conversations } = await chat(offered, {
      typed: ['what time?', '/10:15', '', '/exit'],
      answers: [{ text: '', calls }, { text: 'late' }],
    })
    expect(conversations[0]?.tools).toEqual([{ name: 'clock' }])
    expect(stdout).toBe('clock {"zone":"UTC"}\nclock {"zone":"UTC"}\n\nlate\n\n')
    expect(prompts).toEqual(['> ', 'clock = ', 'clock = ', '> '])
    expect(asked[1]?.messages.slice(2)).toEqual([
      { role: 'tool', tool_call_id: 'c1', content: '/10:15' },
      { role: 'tool', tool_call_id: 'c2', content: 'error: no result' },
    ])
  })

  it('leave the conversation as it was where the step after them fails', async () => {
    const { asked } = await chat(offered, {
      typed: ['one', 'what time?', '10:15', 'two'],
      answers: [{ text: '1' }, { calls: [call] }, { error: overflow }, { text: '2' }],
    })
    expect(asked[3]?.messages).toEqual([user('one'), said('1'), user('two')])
  })

  it('need no result after Ctrl-C', async () => {
    const { asked, stderr } = await chat(offered, {
      typed: ['what time?', 'interrupt', 'two'],
      answers: [{ calls: [call] }, { text: '2' }],
    })
    expect(stderr).toContain('without results')
    expect(asked[1]?.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user'])
  })
  it('that nobody offered are only shown', async () => {
    const { stdout, asked } = await chat([], { typed: ['one', 'two'], answers: [{ calls: [call] }, { text: '2' }] })
    expect(stdout).toBe('clock {"zone":"UTC"}\n\n2\n\n')
    expect(asked[1]?.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user'])
  })
})
