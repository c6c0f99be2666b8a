import { describe, expect, it } from 'vitest'
import { Printer } from '../../lib/cli/printer'

function printer({ terminal = true, plain = false, hideThinking = false } = {}) {
  const seen = { text: '', clock: 0 }
  const out = { write: (text: string) => (seen.text += text), isTTY: terminal }
  return { seen, shown: new Printer(out, { plain, hideThinking }, () => seen.clock) }
}

const CLEAR = '\r\x1b[K'
const line = (text: string) => `\r\x1b[2m${text}\x1b[22m\x1b[K`

describe('the line in the place of an answer', () => {
  it('says that the prompt is read, until the thinking begins', () => {
    const { seen, shown } = printer()
    shown.wait(1200)
    shown.push({ text: '', reasoning: 'hm', tokenIds: [1] })
    shown.end()
    expect(seen.text).toBe(`${line('reading 1,200 tokens…')}${CLEAR}\x1b[2mhm\x1b[22m\n`)
  })

  it('counts the thinking, and goes when the answer begins', () => {
    const { seen, shown } = printer({ hideThinking: true })
    for (const tokenIds of [[1], [2], [3, 4]]) {
      shown.push({ text: '', reasoning: 'x', tokenIds })
      seen.clock += 60 // renewed every 100 ms
    }
    shown.push({ text: '85', tokenIds: [5] })
    shown.end()
    expect(seen.text).toBe(`${line('thinking… 1 tokens')}${line('thinking… 4 tokens')}${CLEAR}85\n`)
  })

  it('goes also when no answer comes', () => {
    const { seen, shown } = printer({ hideThinking: true })
    shown.push({ text: '', reasoning: 'x', tokenIds: [1, 2] })
    shown.end()
    expect(seen.text).toBe(`${line('thinking… 2 tokens')}${CLEAR}`)
  })

  it.each([{ terminal: false }, { plain: true }])('is not there with %o', (look) => {
    const { seen, shown } = printer(look)
    shown.wait(1200)
    expect(seen.text).toBe('')
  })
})
