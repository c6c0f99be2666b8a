/** Whatever users, tools and earlier answers contain: the control tokens of a prompt are those of its template. */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { joinSegments } from '../../lib/text/markup'
import type { ChatMessage } from '../../lib/text/messages'
import { chooseTemplate } from '../../lib/text/template'
import { Tokenizer } from '../../lib/text/tokenizer'
import type { ToolDefinition } from '../../lib/text/tools'
import { randomConversation, randomJson, randomText } from './conversations'
import { Random } from './random'

const M2 = readFileSync('test/text/fixtures/m2_chat_template.jinja', 'utf8')
const NANO = readFileSync('models/nano/chat_template.jinja', 'utf8')
const TEMPLATES = {
  M2,
  nano: NANO,
  'another M2': M2.replaceAll("']~b]ai'", "']~b]bot'"),
  'another nano': NANO.replaceAll(']~b]ai', ']~b]bot'),
}

let tokenizer: Tokenizer
let tokens: string[]
beforeAll(async () => {
  tokenizer = await Tokenizer.load('models/nano')
  tokens = tokenizer.addedTokens.map(({ content }) => content)
})

/** The same, with a word in the place of each control token. */
const tamed = <T>(value: T): T => JSON.parse(tamedText(JSON.stringify(value)))
const tamedText = (text: string) => tokens.reduce((all, token, i) => all.replaceAll(token, `TOKEN${i}`), text)

/** Thinking in one of its spellings; none at all would be looked for in the content. */
function spelled(message: ChatMessage, random: Random): ChatMessage {
  if (message.role !== 'assistant') return message
  const { reasoning_content, ...rest } = message
  const reasoning = reasoning_content ?? ''
  const text = { type: 'text' as const, text: rest.content as string }
  return random.pick<ChatMessage>([
    { ...rest, reasoning_content: reasoning },
    { ...rest, reasoning },
    {
      ...rest,
      reasoning_details: [
        { type: 'reasoning.text', text: reasoning },
        { type: 'reasoning.encrypted', data: '' },
      ],
    },
    { ...rest, content: [{ type: 'thinking', thinking: reasoning }, text] },
    { ...rest, content: [text, { type: 'reasoning', text: reasoning }] },
  ])
}

function randomTool(random: Random): ToolDefinition {
  const property = { description: randomText(random), enum: [randomText(random)], default: randomJson(random) }
  const parameters = {
    properties: { [`k${randomText(random)}`]: property },
    [`x${randomText(random)}`]: randomJson(random),
  }
  return { name: `n${randomText(random)}`, description: randomText(random), parameters }
}

describe.each(Object.entries(TEMPLATES))('a prompt of %s', (name, source) => {
  it('has the control tokens of its template and no others', () => {
    const template = chooseTemplate({ text: source, file: 'chat_template.jinja', variables: {} }, tokens)
    expect(template.renderer).toBe(name.startsWith('another') ? 'jinja' : 'native')
    const random = new Random(21)
    const isControl = (id: number) => tokenizer.addedTokens.some((token) => token.id === id)
    let tempted = 0
    for (let i = 0; i < 150; i++) {
      const messages = randomConversation(random).map((message) => spelled(message, random))
      const tools = random.list(2, () => randomTool(random))
      const keepReasoning = random.pick(['model', 'always', 'never'] as const)
      const segments = template.render(messages, { tools, keepReasoning })
      const harmless = template.render(tamed(messages), { tools: tamed(tools), keepReasoning })

      expect(
        segments.map((segment) => (segment.special ? segment : { ...segment, text: tamedText(segment.text) })),
      ).toEqual(harmless)
      const controls = tokenizer.encodeSegments(segments).filter(isControl)
      expect(controls).toEqual(tokenizer.encodeSegments(harmless).filter(isControl))
      if (tokenizer.encode(joinSegments(segments)).filter(isControl).length > controls.length) tempted++
    }
    expect(tempted).toBeGreaterThan(100)
  })
})
