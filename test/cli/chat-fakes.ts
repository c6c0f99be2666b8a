/** A chat in memory: lines that are typed or piped, and an engine whose conversations say what they are told. */
import type { Lines, Signal } from '../../lib/cli/chat/lines'
import type { TerminalSettings } from '../../lib/cli/chat/terminal'
import { run } from '../../lib/cli/program'
import type { Shell } from '../../lib/cli/shell'
import type {
  ChatMessage,
  Chunk,
  Conversation,
  ConversationOptions,
  Engine,
  Generation,
  M2Error,
  Result,
  SendOptions,
} from '../../lib/index'
import { fakeShell, RESULT } from './fake-shell'

export interface Answer {
  text?: string
  reasoning?: string
  calls?: Result['toolCalls']
  finishReason?: Result['finishReason']
  error?: M2Error
  /** Happens before the text is given out. */
  meanwhile?: 'SIGINT' | 'SIGTERM'
}

export interface FakeChat {
  answers?: Answer[]
  /** Typed at a terminal. */
  typed?: (string | Signal)[]
  /** Piped. */
  stdin?: string
  env?: Record<string, string>
}

interface Asked {
  /** All messages of the prompt. */
  messages: ChatMessage[]
  options: Partial<SendOptions>
}

export async function chat(args: string[], { answers = [], typed, stdin, env = {} }: FakeChat) {
  const { shell, seen } = fakeShell({ stdin, env, terminal: typed !== undefined })
  const asked: Asked[] = []
  const prompts: string[] = []
  const handlers: Record<string, () => void> = {}
  const script = answers.values()

  const send = (messages: ChatMessage[], options: SendOptions, end: (result: Result) => void): Generation => {
    asked.push({ messages, options: JSON.parse(JSON.stringify(options)) })
    const next = script.next()
    if (next.done) throw new Error(`the script has no answer to ${JSON.stringify(messages.at(-1))}`)
    return generation(next.value, handlers, end)
  }
  const terminal = (entries: (string | Signal)[]): Lines => {
    const rest = entries.values()
    let isClosed = false
    return {
      isTerminal: true,
      async read(prompt) {
        prompts.push(prompt)
        const { value = 'end', done } = rest.next()
        if (done || isClosed) return 'end'
        return value === 'interrupt' || value === 'end' ? value : { line: value }
      },
      close: () => {
        isClosed = true
      },
    }
  }
  const given: { terminal?: TerminalSettings; conversations: ConversationOptions[] } = { conversations: [] }
  const engine = {
    model: { directory: '/models/nano', context: 1000 },
    device: 'cpu',
    conversation: (options: ConversationOptions = {}) => {
      given.conversations.push(options)
      return conversation(options.messages ?? [], send)
    },
    close: async () => {
      seen.closed++
    },
  }
  const own: Partial<Shell> = {
    onInterrupt: (handler) => {
      handlers.SIGINT = handler
    },
    onTerminate: (handler) => {
      handlers.SIGTERM = handler
    },
    load: async () => engine as unknown as Engine,
    openTerminal:
      typed &&
      ((settings) => {
        given.terminal = settings
        return terminal(typed)
      }),
  }
  const status = await run(['chat', ...args], { ...shell, ...own })
  return { ...seen, status, asked, prompts, ...given }
}

type Send = (messages: ChatMessage[], options: SendOptions, end: (result: Result) => void) => Generation

function conversation(start: readonly ChatMessage[], send: Send): Conversation {
  let messages = [...start]
  const fake = {
    get messages() {
      return [...messages]
    },
    get tokenIds() {
      return messages.flatMap(() => [1, 2, 3])
    },
    send(added: ChatMessage[], options: SendOptions) {
      const prompt = [...messages, ...added]
      return send(prompt, options, ({ text, reasoning }) => {
        messages = [...prompt, { role: 'assistant', content: text, reasoning_content: reasoning }]
      })
    },
    fork: () => conversation(messages, send),
  }
  return fake as unknown as Conversation
}

function generation(answer: Answer, handlers: Record<string, () => void>, end: (result: Result) => void): Generation {
  const { text = '', reasoning = '', calls = [], error } = answer
  const words = text.split(/(?<= )/)
  let said = ''
  let aborted = false
  const chunks: Omit<Chunk, 'index'>[] = [
    ...(reasoning ? [{ text: '', reasoning, tokenIds: [1, 2] }] : []),
    ...words.map((word) => ({ text: word, tokenIds: [3] })),
    ...calls.map(({ id, name, arguments: given }, index) => {
      return { text: '', tokenIds: [4], toolCalls: [{ index, id, name, arguments: JSON.stringify(given) }] }
    }),
  ]
  const usual = calls.length > 0 ? 'tool_calls' : 'stop'
  return {
    promptTokens: 2,
    async *[Symbol.asyncIterator]() {
      if (error) throw error
      for (const chunk of chunks) {
        if (aborted) return
        said += chunk.text
        yield { ...chunk, index: 0 }
        if (chunk.text && answer.meanwhile) handlers[answer.meanwhile]?.()
      }
    },
    async result() {
      if (error) throw error
      const finishReason = aborted ? 'abort' : (answer.finishReason ?? usual)
      const tokenIds = [...said].map((c) => c.charCodeAt(0))
      const result: Result = { ...RESULT, text: said, reasoning, toolCalls: calls, tokenIds, finishReason }
      end(result)
      return result
    },
    abort() {
      aborted = true
    },
  }
}
