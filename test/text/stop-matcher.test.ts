import { describe, expect, it } from 'vitest'
import { StopMatcher } from '../../lib/text/stop-matcher'
import { Random } from '../reference/random'

/** All that a matcher gives for `chunks`: the text, the stop string, and the parts as they came. */
function run(stops: string[], chunks: string[]) {
  const matcher = new StopMatcher(stops)
  const results = chunks.map((chunk) => matcher.push(chunk))
  const parts = [...results.map(({ text }) => text), matcher.end()]
  return { text: parts.join(''), stopped: results.at(-1)?.stopped, parts }
}

/** The definition: grow the text by one unit at a time until it ends with a stop string; the longest such counts. */
function reference(stops: string[], text: string): { text: string; stopped: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const complete = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)
    if (complete[0] !== undefined) return { text: text.slice(0, end - complete[0].length), stopped: complete[0] }
  }
  return { text, stopped: undefined }
}

describe('a stop string', () => {
  it('ends the text before itself', () => {
    expect(run(['STOP'], ['go on STOP here'])).toMatchObject({ text: 'go on ', stopped: 'STOP' })
    expect(run(['STOP'], ['go on S', 'TO', 'P here', ' and on'])).toMatchObject({ text: 'go on ', stopped: 'STOP' })
  })

  it('is held back as long as it may still come, and no longer', () => {
    expect(run(['\n\nUser:'], ['a\n', '\n', 'Us', 'x', '\n\n']).parts).toEqual(['a', '', '', '\n\nUsx', '', '\n\n'])
    expect(run(['aab'], ['aaa', 'a', 'b']).parts).toEqual(['a', 'a', '', ''])
  })

  it('gives back at the end what was held', () => {
    const matcher = new StopMatcher(['STOP'])
    expect(matcher.push('ST')).toEqual({ text: '' })
    expect(matcher.end()).toBe('ST')
    expect(matcher.end()).toBe('')
  })

  it('that is complete first wins; of several at once the longest', () => {
    expect(run(['abc', 'b'], ['xabc'])).toMatchObject({ text: 'xa', stopped: 'b' })
    expect(run(['c', 'abc'], ['xabc'])).toMatchObject({ text: 'x', stopped: 'abc' })
    expect(run(['c', 'abc', 'bc'], ['xbc'])).toMatchObject({ text: 'x', stopped: 'bc' })
  })

  it('stays found: nothing comes after it', () => {
    const matcher = new StopMatcher(['.'])
    expect(matcher.push('one. two')).toEqual({ text: 'one', stopped: '.' })
    expect(matcher.push(' three. four')).toEqual({ text: '', stopped: '.' })
    expect(matcher.end()).toBe('')
  })

  it('is not needed: without any, text passes', () => {
    expect(run([], ['a', '', 'b'])).toEqual({ text: 'ab', stopped: undefined, parts: ['a', '', 'b', ''] })
  })

  it('is found the same in any chunks, and no part of it is ever given out', () => {
    const random = new Random(50)
    const word = (length: number) => Array.from({ length }, () => 'abc'[random.integer(3)]).join('')
    for (let i = 0; i < 5000; i++) {
      const stops = Array.from({ length: random.integer(4) }, () => word(1 + random.integer(5)))
      const text = word(random.integer(25))
      const chunks: string[] = []
      for (let at = 0; at < text.length; at += chunks.at(-1)!.length)
        chunks.push(text.slice(at, at + random.integer(5)))
      const expected = reference(stops, text)
      const found = run(stops, chunks)
      expect(found).toMatchObject(expected)
      let given = ''
      for (const [k, part] of found.parts.slice(0, -1).entries()) {
        given += part
        const seen = chunks.slice(0, k + 1).join('')
        const possible = Array.from({ length: seen.length + 1 }, (_, n) => seen.slice(seen.length - n))
        const held = Math.max(
          0,
          ...possible.filter((tail) => stops.some((stop) => stop.startsWith(tail))).map((tail) => tail.length),
        )
        if (reference(stops, seen).stopped === undefined) expect(given).toBe(seen.slice(0, seen.length - held))
      }
    }
  })
})
