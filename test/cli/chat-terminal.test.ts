/** The line editor over streams that pretend to be a terminal. */
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReadStream, WriteStream } from 'node:tty'
import { describe, expect, it } from 'vitest'
import { completions } from '../../lib/cli/chat/commands'
import { Terminal } from '../../lib/cli/chat/terminal'

const PASTE = (text: string) => `\x1b[200~${text.replaceAll('\n', '\r')}\x1b[201~`
const [ENTER, CTRL_C, CTRL_D, UP, LEFT, TAB] = ['\r', '\x03', '\x04', '\x1b[A', '\x1b[D', '\t']

function open({ history = [] as string[], isDumb = false } = {}) {
  const seen = { raw: false, shown: '', remembered: [] as string[] }
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    setRawMode: (raw: boolean) => {
      seen.raw = raw
    },
  })
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 40, rows: 10 })
  output.on('data', (bytes) => {
    seen.shown += bytes
  })
  const terminal = new Terminal(input as unknown as ReadStream, output as unknown as WriteStream, {
    history,
    remember: (line) => seen.remembered.push(line),
    complete: completions,
    isDumb,
  })
  /** What is read when `keys` are pressed, one after the other. */
  const type = async (...keys: string[]) => {
    const read = terminal.read('> ')
    for (const key of keys) {
      input.write(key)
      await sleep(1)
    }
    return read
  }
  return { terminal, input, seen, type, press: (key: string) => input.write(key) }
}

describe('the terminal', () => {
  it('takes keys, in raw mode, only while a line is read', async () => {
    const { terminal, input, seen, type } = open()
    const states = () => ({ raw: seen.raw, paused: input.isPaused() })
    expect(states()).toEqual({ raw: false, paused: true })
    const read = terminal.read('> ')
    expect(states()).toEqual({ raw: true, paused: false })
    terminal.close()
    expect(await read).toBe('end')
    expect(states()).toEqual({ raw: false, paused: true })
    expect(await type()).toBe('end')
  })

  it('edits and goes back in the history, which lines with a space in front stay out of', async () => {
    const { seen, type } = open({ history: ['older', 'newer'] })
    expect(await type(UP, UP, ENTER)).toEqual({ line: 'older' })
    expect(await type('ad', LEFT, 'bc', ENTER)).toEqual({ line: 'abcd' }) // two keys at once, in mid-line
    expect(await type(' secret', ENTER)).toEqual({ line: ' secret' })
    expect(await type(UP, ENTER)).toEqual({ line: 'abcd' })
    expect(seen.remembered).not.toContain(' secret')
    expect(seen.remembered).toContain('abcd')
  })

  it('takes a paste as one, wherever the cursor is, and sends nothing before Enter', async () => {
    const { type } = open()
    expect(await type('a日d', LEFT, PASTE('b\n\tc\n日'), '!', ENTER)).toEqual({ line: 'a日b\n\tc\n日!d' })
    expect(await type(PASTE('x\ny\n'), ENTER)).toEqual({ line: 'x\ny\n' })
    const halves = ['\x1b[20', '0~x\r', '\ny\x1b[2', '01~z']
    expect(await type(...halves, ENTER)).toEqual({ line: 'x\nyz' })
    expect(await type('z', ENTER)).toEqual({ line: 'z' })
  })

  it('redraws a paste that is longer than a row from its first row on', async () => {
    const { seen, type, press } = open()
    const read = type(PASTE('w'.repeat(70)))
    await sleep(5)
    seen.shown = ''
    press('\x01') // to the beginning
    press('x')
    press(ENTER)
    expect(await read).toEqual({ line: `x${'w'.repeat(70)}` })
    expect(seen.shown).toContain('\x1b[1A')
  })

  it('keeps lines that came before they were asked for', async () => {
    const { terminal, type } = open()
    expect(await type(`a${ENTER}b${ENTER}`)).toEqual({ line: 'a' })
    expect(await terminal.read('> ')).toEqual({ line: 'b' })
  })

  it('clears the line by Ctrl-C, and says so only where there was none', async () => {
    const { type } = open()
    expect(await type('gone', LEFT, CTRL_C, 'b', ENTER)).toEqual({ line: 'b' })
    expect(await type(PASTE('x\ny'), CTRL_C, CTRL_C)).toBe('interrupt')
    expect(await type(CTRL_D)).toBe('end')
  })

  it('completes commands', async () => {
    const { type } = open()
    expect(await type('/thi', TAB, 'on', ENTER)).toEqual({ line: '/thinkingon' })
  })

  it('has pastes marked while it reads, unless the terminal is dumb', async () => {
    const able = open()
    await able.type('a', ENTER)
    expect(able.seen.shown).toContain('\x1b[?2004h')
    expect(able.seen.shown.endsWith('\x1b[?2004l')).toBe(true)
    const dumb = open({ isDumb: true })
    await dumb.type('a', ENTER)
    expect(dumb.seen.shown).not.toContain('2004')
  })
})
