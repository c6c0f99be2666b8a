import { describe, expect, it } from 'vitest'
import { Progress } from '../../lib/cli/progress'

function progress(terminal: boolean) {
  const seen = { text: '', clock: 0 }
  const err = { write: (text: string) => (seen.text += text), isTTY: terminal }
  return { seen, shown: new Progress(err, () => seen.clock) }
}

describe('Progress', () => {
  it('renews one line on a terminal and takes it away', () => {
    const { seen, shown } = progress(true)
    shown.report({ phase: 'weights', done: 0, total: 200 })
    shown.report({ phase: 'weights', done: 10, total: 200 }) // too soon to be shown
    seen.clock = 150
    shown.report({ phase: 'weights', done: 50, total: 200 })
    shown.end()
    expect(seen.text).toBe(
      '\rloading: weights 0 bytes of 200 bytes\x1b[K\rloading: weights 50 bytes of 200 bytes, 333 bytes/s, 1 s left\x1b[K\r\x1b[K',
    )
  })

  it('writes a line every five seconds elsewhere, and nothing for a quick load', () => {
    const { seen, shown } = progress(false)
    shown.report({ phase: 'files', done: 0, total: 0 })
    shown.report({ phase: 'weights', done: 0, total: 100 })
    seen.clock = 4900
    shown.report({ phase: 'weights', done: 40, total: 100 })
    expect(seen.text).toBe('')
    seen.clock = 5000
    shown.report({ phase: 'weights', done: 50, total: 100 })
    shown.report({ phase: 'weights', done: 60, total: 100 })
    seen.clock = 10_000
    shown.report({ phase: 'weights', done: 90, total: 100 })
    shown.end()
    expect(seen.text).toBe(
      'loading: weights 50 bytes of 100 bytes, 10 bytes/s, 5 s left\nloading: weights 90 bytes of 100 bytes, 9 bytes/s, 2 s left\n',
    )
  })
})
