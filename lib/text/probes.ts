/**
 * Conversations on which a model's own chat template and ours are compared: every rule of the format at least once. Numbers and whitespace stay
 * where Python, JavaScript and @huggingface/jinja agree.
 */
import type { RenderOptions } from './chat'
import type { ChatMessage } from './messages'
import type { ToolDefinition } from './tools'

export interface Probe {
  messages: ChatMessage[]
  options?: Omit<RenderOptions, 'identity'>
}

const user = (content: ChatMessage['content']): ChatMessage => ({ role: 'user', content })
const parts = (...texts: string[]) => texts.map((text) => ({ type: 'text' as const, text }))

const SEARCH: ToolDefinition = {
  type: 'function',
  function: {
    name: 'search',
    description: 'Find "größte" 街 pages 🚀 & <more>.\nTwo lines.',
    parameters: {
      type: 'object',
      properties: {
        query: { type: 'string' },
        limit: { type: 'integer', default: 10, minimum: -1.5 },
        exact: { default: false },
      },
      required: ['query'],
      additionalProperties: false,
      examples: [[], {}, null, true, 0.25],
    },
  },
}
const CLOCK: ToolDefinition = {
  type: 'function',
  function: { name: 'clock', description: 'The time.', parameters: { type: 'object', properties: {} } },
}

const THINKING: ChatMessage[] = [
  user('Think of a word.'),
  { role: 'assistant', reasoning_content: 'I take "lamp".\n\nIt is short.', content: 'Done.' },
  user('And another.'),
  { role: 'assistant', reasoning_content: 'Now "door".', content: 'Done, again.' },
]

const CALLS: ChatMessage = {
  role: 'assistant',
  reasoning_content: 'Two calls.',
  content: 'Let me look.',
  tool_calls: [
    {
      id: 'call_1',
      type: 'function',
      function: {
        name: 'search',
        arguments: {
          query: 'a <b> & "c"\n  d',
          limit: 3,
          ratio: -0.5,
          exact: true,
          none: null,
          tags: ['x', 1, []],
          where: { city: '東京', n: { m: 1 } },
        },
      },
    },
    { id: 'call_2', type: 'function', function: { name: 'clock', arguments: {} } },
  ],
}
const RESULTS: ChatMessage[] = [
  { role: 'tool', tool_call_id: 'call_1', content: 'first\nresult' },
  { role: 'tool', tool_call_id: 'call_2', content: '12:00' },
]

export const PROBES: readonly Probe[] = [
  { messages: [user('Hello!')] },
  { messages: [user('  Hello!\n')], options: { addGenerationPrompt: false } },
  { messages: [{ role: 'system', content: 'Be brief.' }, user('')] },
  { messages: [{ role: 'system', content: 'Be brief.' }, user('Hi')], options: { tools: [CLOCK] } },
  { messages: [user('Hi')], options: { tools: [SEARCH, CLOCK] } },
  { messages: [{ role: 'system', content: parts('Be ', 'brief.') }, user(parts('One, ', 'two.'))] },
  { messages: THINKING },
  { messages: [...THINKING, user('Which words?')] },
  { messages: [user('Hi'), { role: 'assistant', content: '<think>\nA greeting.\n</think>\n\nHello.' }, user('Bye')] },
  { messages: [user('Hi'), { role: 'assistant', content: '<think>\nA greeting.\n</think>\n\nHello.' }] },
  { messages: [user('Look'), CALLS, ...RESULTS], options: { tools: [SEARCH, CLOCK] } },
  {
    messages: [
      user('Look'),
      CALLS,
      ...RESULTS,
      { role: 'assistant', reasoning_content: 'I see.', content: '' },
      user('Thanks'),
    ],
  },
  { messages: [user('Look'), CALLS, { role: 'tool', content: parts('one', 'two\n') }, { role: 'tool', content: '' }] },
  {
    messages: [
      user('Look'),
      { ...CALLS, reasoning_content: null, content: null },
      ...RESULTS,
      { ...CALLS, content: '' },
      ...RESULTS,
    ],
  },
  {
    messages: [
      { role: 'system', content: 'Be brief.', current_date: '2026-01-31', current_location: 'Oslo' },
      user('Hi'),
    ],
  },
]
