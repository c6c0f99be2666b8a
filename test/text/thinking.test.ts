import { beforeAll, describe, expect, it } from 'vitest'
import { type Cut, ThinkingFinder } from '../../lib/text/thinking'
import { Tokenizer } from '../../lib/text/tokenizer'

let tokenizer: Tokenizer
let finder: ThinkingFinder
beforeAll(async () => {
  tokenizer = await Tokenizer.load('models/nano')
  finder = new ThinkingFinder(tokenizer)
})

/** The ids of tokens by their texts: of control tokens, and of others. */
function idsOf(...tokens: string[]): Int32Array {
  return Int32Array.from(
    tokens.flatMap((token) => {
      const ids = [...tokenizer.encode(token)]
      expect(ids, `${JSON.stringify(token)} is one token`).toHaveLength(1)
      return ids
    }),
  )
}

function after(ids: Int32Array, cuts: readonly Cut[]): string[] {
  const left = [...ids]
  for (const { start, end, ids } of cuts.toReversed()) left.splice(start, end - start, ...ids)
  return left.map((id) => tokenizer.decode([id]))
}

const OPENING = [']~b]', 'ai', '\n', '<think>', '\n']

describe('thinking of a sampled answer', () => {
  it.each<[what: string, answer: string[], left: string[]]>([
    ['ends at its tag', ['R', '\n', '</think>', '\n', '\n', 'H', 'ell', 'o'], ['\n', 'H', 'ell', 'o']],
    [
      'leaves odd ids behind it',
      ['R', '\n', '</think>', '\n\n', 'H', 'e', 'l', 'l', 'o'],
      ['\n', 'H', 'e', 'l', 'l', 'o'],
    ],
    ['takes odd ids with it', ['R', '</think>', '\n', 'H'], ['\n', 'H']],
    [
      'has only two newlines behind it',
      ['R', '\n', '</think>', '\n\n\n', '<minimax:tool_call>'],
      ['\n\n', '<minimax:tool_call>'],
    ],
    ['joins with a space', ['R', '\n', '</think>', '\n\n', ' ', 'H'], ['\n', ' H']],
    ['ends at a tool call', ['R', '\n', '<minimax:tool_call>', '\n'], ['\n\n', '<minimax:tool_call>', '\n']],
    ['ends at a tool call on its line', ['R', '<minimax:tool_call>', '\n'], ['\n', '<minimax:tool_call>', '\n']],
    ['ends where the output does', ['R', 'R', '\n'], ['\n']],
    ['may be nothing', [], ['\n']],
    ['goes on at a tag that is spelled out', ['R', '</', 'th', 'ink', '>', 'H', '</think>', 'e'], ['\n', 'e']],
    ['goes on at a call that is spelled out', ['R', ...'<minimax:tool_call>', '</think>'], ['\n']],
    [
      'ends once',
      ['R', '</think>', '\n\n', 'H', '<think>', 'e', '</think>', 'l'],
      ['\n', 'H', '<think>', 'e', '</think>', 'l'],
    ],
    ['may be opened twice', ['<think>', '\n', 'R', '</think>', '\n\n', 'H'], ['\n', 'H']],
    ['is not opened again', ['\n', '</think>', '\n\n', '<think>', 'R', '</think>'], ['\n', '<think>', 'R', '</think>']],
  ])('%s', (_, answer, left) => {
    const ids = idsOf(...OPENING, ...answer)
    expect(after(ids, finder.inSampled(ids, OPENING.length))).toEqual([']~b]', 'ai', ...left])
  })

  const CLOSED = [...OPENING, '\n', '</think>', '\n\n']
  const BARE = [']~b]', 'ai', '\n']
  it.each<[what: string, prompt: string[], answer: string[], left: string[]]>([
    ['may be closed by the prompt', CLOSED, ['H'], ['\n', 'H']],
    ['may be opened again', CLOSED, ['<think>', '\n', 'R', '</think>', '\n\n', 'H'], ['\n', 'H']],
    [
      'is not opened behind a beginning',
      [...CLOSED, 'H'],
      ['<think>', 'R', '</think>'],
      ['\n', 'H', '<think>', 'R', '</think>'],
    ],
    ['may be opened by the model', BARE, ['<think>', '\n', 'R', '</think>', '\n', 'H'], ['\n', 'H']],
    ['is not opened later on', BARE, ['H', '<think>', 'R', '</think>'], ['\n', 'H', '<think>', 'R', '</think>']],
    ['is not that of another format', [...BARE, '<think>'], ['R', '</think>'], ['\n', '<think>', 'R', '</think>']],
  ])('%s', (_, prompt, answer, left) => {
    const ids = idsOf(...prompt, ...answer)
    expect(after(ids, finder.inSampled(ids, prompt.length))).toEqual([']~b]', 'ai', ...left])
  })

  it('is nowhere without its tag', () => {
    expect(finder.inSampled(idsOf(']~b]', 'ai', '\n', 'H', '</think>'), 3)).toEqual([])
  })
})

describe('thinking of rendered turns', () => {
  it('is between control tokens, in every turn', () => {
    const turn = [...OPENING, 'R', '</', 'th', 'ink', '>', '\n', '</think>', '\n', '\n', 'H', '[e~[', '\n']
    const bare = [']~b]', 'ai', '\n', 'H', '[e~[', '\n']
    const ids = idsOf(...turn, ...bare, ...turn)
    expect(after(ids, finder.inRendered(ids))).toEqual([...bare, ...bare, ...bare])
  })

  it('is not found in the turns of another format', () => {
    expect(finder.inRendered(idsOf(']~b]', 'ai', '<think>', 'R'))).toEqual([])
    expect(finder.inRendered(idsOf())).toEqual([])
  })
})
