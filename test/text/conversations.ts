/** Random conversations whose texts are made of what trips renderers and parsers up. */
import type { ChatMessage } from '../../lib/text/messages'
import type { ToolDefinition } from '../../lib/text/tools'
import type { Random } from './random'

const PIECES = [
  ...[
    'word',
    ' ',
    '\n',
    '\n\n',
    'größe',
    '東京',
    '🚀',
    '"',
    '\\',
    '&amp;',
    '<',
    '>',
    ']',
    '[',
    '~',
    '{{',
    '%}',
    '\t',
    '\u0001',
  ],
  ...['<think>', '</think>', '<minimax:tool_call>', '</minimax:tool_call>', ']~b]', ']~b]ai\n', '[e~[', ']~!b['],
  ...['<invoke name="x">', '</invoke>', '<parameter name="p">', '</parameter>', '</thi', '<minimax:tool', '<response>'],
]

/** Text without the given parts. */
export function randomText(random: Random, without: readonly string[] = []): string {
  const text = random.list(8, () => random.pick(PIECES)).join('')
  return without.some((part) => text.includes(part)) ? randomText(random, without) : text
}

export function randomJson(random: Random, depth = 0): unknown {
  const kind = random.below(depth < 3 ? 8 : 6)
  if (kind === 6) return random.list(3, () => randomJson(random, depth + 1))
  if (kind === 7)
    return Object.fromEntries(random.list(3, () => [`k${randomText(random)}`, randomJson(random, depth + 1)]))
  return [null, true, false, random.below(2000) - 1000, random.below(4000) / 8, randomText(random)][kind]
}

export const TOOLS: ToolDefinition[] = [
  {
    type: 'function',
    function: {
      name: 'write_file',
      description: 'Writes.',
      parameters: { type: 'object', properties: { path: { type: 'string' }, text: { type: 'string' } } },
    },
  },
  { name: 'other', parameters: {} },
]

/** A conversation that every rule of `checkMessages` allows. */
export function randomConversation(random: Random): ChatMessage[] {
  const messages: ChatMessage[] = []
  if (random.next() < 0.4) messages.push({ role: 'system', content: `S${randomText(random)}` })
  for (let turns = 1 + random.below(4); turns > 0; turns--) {
    messages.push({
      role: 'user',
      content: random.list(3, () => ({ type: 'text' as const, text: randomText(random) })),
    })
    while (random.next() < 0.5) {
      const calls = random.list(2, () => ({ name: `n${randomText(random)}`, arguments: randomArguments(random) }))
      const reasoning_content = random.pick([undefined, '', randomText(random), randomText(random)])
      messages.push({ role: 'assistant', reasoning_content, content: randomText(random), tool_calls: calls })
      if (calls.length > 0) messages.push(...random.list(3, () => toolResult(random)))
    }
  }
  return messages
}

function randomArguments(random: Random): object {
  return Object.fromEntries(random.list(3, () => [`a${randomText(random)}`, randomJson(random)]))
}

function toolResult(random: Random): ChatMessage {
  const parts = [randomText(random), randomText(random)].map((text) => ({ type: 'text' as const, text }))
  return { role: 'tool', content: random.next() < 0.5 ? randomText(random) : parts }
}
