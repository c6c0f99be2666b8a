import path from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { OutputText } from '../../lib/output-text'
import type { Delta } from '../../lib/text/output-parser'
import { Tokenizer } from '../../lib/text/tokenizer'

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await Tokenizer.load(path.join(__dirname, '..', '..', 'models', 'nano'))
})

/** Pushes ids one by one until a stop string ends them; gives the deltas, that of the end last. */
function deltasOf(output: OutputText, text: string): Delta[] {
  const deltas: Delta[] = []
  for (const id of tokenizer.encode(text)) {
    if (output.stopped) break
    deltas.push(output.push([id]))
  }
  return [...deltas, output.end()]
}

const sum = (deltas: Delta[], channel: 'text' | 'reasoning') => deltas.map((delta) => delta[channel] ?? '').join('')

describe('output text', () => {
  it('is whole characters, whatever tokens they come in', () => {
    const text = 'naïve 東京 🚀 👩‍👩‍👧 z̈'
    const deltas = deltasOf(new OutputText(tokenizer, []), text)
    expect(sum(deltas, 'text')).toBe(text)
    expect(deltas.some((delta) => delta.text === '')).toBe(true) // half a character is held back
    for (const delta of deltas) expect(delta.text ?? '').not.toMatch(/\ufffd|[\ud800-\udbff]$/)
  })

  it('shows half a character at the end as such', () => {
    const output = new OutputText(tokenizer, [])
    const [first] = tokenizer.encode('🚀')
    expect(output.push([first!]).text).toBe('')
    expect(output.end().text).toBe('\ufffd')
  })

  it('ends before a stop string and never shows a part of it', () => {
    const deltas = deltasOf(new OutputText(tokenizer, ['THE END']), 'once upon THE time THE END of it')
    expect(sum(deltas, 'text')).toBe('once upon THE time ')
    for (const [i] of deltas.entries())
      expect('once upon THE time '.startsWith(sum(deltas.slice(0, i), 'text'))).toBe(true)
  })

  it('gives what might have become a stop string at the end', () => {
    expect(sum(deltasOf(new OutputText(tokenizer, ['THE END']), 'this is THE E'), 'text')).toBe('this is THE E')
  })

  it('looks for stop strings in the content alone', () => {
    const output = new OutputText(tokenizer, ['five'], {})
    const deltas = deltasOf(output, 'two and three is five\n</think>\n\nIt is five.')
    expect(sum(deltas, 'reasoning')).toBe('two and three is five')
    expect(sum(deltas, 'text')).toBe('It is ')
    expect(output.stopped).toBe(true)
  })

  it('looks for them in thinking that is part of the content', () => {
    const output = new OutputText(tokenizer, ['five'], { reasoning: 'inline' })
    const deltas = deltasOf(output, 'two and three is five\n</think>\n\nIt is five.')
    expect(sum(deltas, 'text')).toBe('<think>\ntwo and three is ')
  })

  const CALLS =
    'let me look\n</think>\n\nA moment.\n<minimax:tool_call>\n<invoke name="clock">\n<parameter name="place">Oslo</parameter>\n</invoke>\n' +
    '<invoke name="clock">\n<parameter name="place">Rome</parameter>\n</invoke>\n</minimax:tool_call>'

  it('takes tool calls out of the content', () => {
    const output = new OutputText(tokenizer, [], {})
    const deltas = deltasOf(output, CALLS)
    expect(sum(deltas, 'text')).toBe('A moment.')
    expect(output.toolCalls).toMatchObject([
      { name: 'clock', arguments: { place: 'Oslo' } },
      { name: 'clock', arguments: { place: 'Rome' } },
    ])
    const calls = deltas.flatMap((delta) => delta.toolCalls ?? [])
    expect(calls.filter((call) => call.id !== undefined).map((call) => call.index)).toEqual([0, 1])
    for (const [index, place] of ['Oslo', 'Rome'].entries()) {
      const json = calls.filter((call) => call.index === index).map((call) => call.arguments)
      expect(json.join('')).toBe(JSON.stringify({ place }))
    }
  })

  it('has no call that a stop string cut off', () => {
    const output = new OutputText(tokenizer, ['moment'], {})
    expect(output.push(Array.from(tokenizer.encode(CALLS.slice(0, CALLS.indexOf('Oslo')))))).toMatchObject({
      text: 'A ',
    })
    expect(output.end()).toEqual({})
    expect(output.toolCalls).toEqual([])
  })

  it('keeps what is complete of a call that is cut off', () => {
    const output = new OutputText(tokenizer, [], {})
    deltasOf(output, CALLS.slice(0, CALLS.indexOf('Rome')))
    expect(output.toolCalls).toMatchObject([{ name: 'clock', arguments: { place: 'Oslo' } }, { name: 'clock' }])
  })

  it('knows whether it is in the thinking, and at the end of a line', () => {
    const output = new OutputText(tokenizer, [], {})
    expect([output.inReasoning, output.endsLine]).toEqual([true, false])
    output.push(Array.from(tokenizer.encode('hm\n')))
    expect([output.inReasoning, output.endsLine]).toEqual([true, true])
    output.push(Array.from(tokenizer.encode('</think>')))
    expect([output.inReasoning, output.endsLine]).toEqual([false, false])
  })
})
