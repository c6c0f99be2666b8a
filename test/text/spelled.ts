/** Outputs as ids: control tags as tokens, and the same characters in ordinary tokens, cut in all ways that a model may. */
import type { Segment } from '../../lib/text/markup'
import type { Tokenizer } from '../../lib/text/tokenizer'
import type { Random } from './random'

export const CONTROL = ['<think>', '</think>', '<minimax:tool_call>', '</minimax:tool_call>']

const PIECES = [
  ...['word', ' ', '\n', '\n\n', 'größe', '東京', '🚀', '"', '\\', '<', '>', '</', '&lt;', '\t', '\u0001', '\u2028'],
  ...['<invoke name="f">', '<invoke name="write_file">\n', '</invoke>', '</thi', 'nk>', '1', 'null', '{"a": [2]}'],
  ...['<parameter name="path">', '<parameter name="text">', '<parameter name="n">', '</parameter>', '</parameter>\n'],
  ...['<parameter name="__proto__">', "<invoke name='g'>", '<invoke name="'],
]

/** Ordinary text with tags spelled in it, and tags; now and then a whole call. */
export function randomOutput(random: Random): Segment[] {
  return random.list(10, () => (random.next() < 0.2 ? randomCall(random) : [randomPart(random)])).flat()
}

function randomPart(random: Random): Segment {
  if (random.next() < 0.35) return { text: random.pick(CONTROL), special: true }
  return { text: random.pick(random.next() < 0.2 ? CONTROL : PIECES), special: false }
}

function randomCall(random: Random): Segment[] {
  const name = random.pick(['write_file', 'f', 'größe'])
  const parameter = random.pick(['text', 'n', '__proto__'])
  return [
    { text: '<minimax:tool_call>', special: true },
    { text: `\n<invoke name="${name}">\n<parameter name="${parameter}">`, special: false },
    ...random.list(4, () => randomPart(random)),
    { text: '</parameter>\n</invoke>\n', special: false },
    { text: '</minimax:tool_call>', special: true },
  ]
}

/** Some ids of the segments: those of random pieces of their texts. */
export function randomIds(tokenizer: Tokenizer, segments: readonly Segment[], random: Random): number[] {
  return segments.flatMap(({ text, special }) => {
    const pieces = special || random.next() < 0.3 ? [text] : cut([...text], random)
    return pieces.flatMap((piece) => [...tokenizer.encode(piece, { special })])
  })
}

function cut(characters: string[], random: Random): string[] {
  const pieces: string[] = []
  while (characters.length > 0) pieces.push(characters.splice(0, 1 + random.below(4)).join(''))
  return pieces
}
