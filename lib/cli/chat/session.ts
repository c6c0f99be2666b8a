import type { ChatMessage, Conversation, Engine, Generation, Result, ToolDefinition } from '../../index'
import type { Sampling } from '../sampling'

/** What a session needs of an engine. */
export type Talker = Pick<Engine, 'conversation' | 'model'>

/** What was drawn in all answers. */
export interface Totals {
  answers: number
  completionTokens: number
  promptTokens: number
  cachedTokens: number
  decodeMs: number
  /** Tokens that `decodeMs` was spent on: the first of an answer comes out of its prefill. */
  decodedTokens: number
}

/** What the model's answers meet. */
export interface Turn {
  /** Sees an answer as it comes, to its end. */
  watch(generation: Generation): Promise<Result>
  /** What the tools say that it called; undefined: nothing more is asked. */
  resultsOf(calls: Result['toolCalls']): Promise<ChatMessage[] | undefined>
}

/** A conversation and the ways back in it. */
export class Session {
  /** Hold for the turns from now on. */
  sampling: Sampling
  readonly totals: Totals = {
    answers: 0,
    completionTokens: 0,
    promptTokens: 0,
    cachedTokens: 0,
    decodeMs: 0,
    decodedTokens: 0,
  }
  last: Result | undefined
  private conversation: Conversation
  /** As it was before each message that was asked here, the earliest first. */
  private past: Conversation[] = []
  /** How often the last message was asked again. */
  private retries = 0

  /** @throws {M2Error} BAD_INPUT, BAD_OPTION for messages, tools and how to draw. */
  constructor(
    private readonly engine: Talker,
    private readonly options: { tools?: ToolDefinition[]; sampling: Sampling },
    messages: readonly ChatMessage[],
  ) {
    this.sampling = options.sampling
    this.conversation = this.begun(messages)
  }

  get messages(): ChatMessage[] {
    return this.conversation.messages
  }

  /** Tokens of the context that are taken. */
  get tokens(): number {
    return this.conversation.tokenIds.length
  }

  get offersTools(): boolean {
    return this.options.tools !== undefined
  }

  get system(): string {
    const first = this.messages[0]
    return first?.role === 'system' ? String(first.content ?? '') : ''
  }

  /** Another conversation in the place of this one, which stays where the messages are not sound. @throws {M2Error} BAD_INPUT */
  begin(messages: readonly ChatMessage[]): void {
    this.conversation = this.begun(messages)
    this.past = []
  }

  /** Asks. What was drawn until it was stopped stays; where a step fails the conversation is as it was. */
  async ask(content: string, turn: Turn): Promise<void> {
    await this.orAsBefore(() => this.exchange(content, turn, 0))
  }

  /** Asks the last message again, each time with another seed. @returns false where there is none */
  async retry(turn: Turn): Promise<boolean> {
    return this.orAsBefore(async () => {
      const content = this.undo()
      if (content === undefined) return false
      await this.exchange(content, turn, ++this.retries)
      return true
    })
  }

  /** Drops the last message and all that came of it. @returns the message; undefined where there is none */
  undo(): string | undefined {
    const { messages } = this
    const asked = messages.findLastIndex(({ role }) => role === 'user')
    if (asked < 0) return undefined
    this.conversation = this.past.at(-1) ?? this.begun(messages.slice(0, asked))
    this.past = this.past.slice(0, -1)
    return String(messages[asked]!.content)
  }

  /** A message, the model's answer and, as long as it calls tools, their results and its next answer. */
  private async exchange(content: string, { watch, resultsOf }: Turn, retries: number): Promise<void> {
    const before = this.conversation.fork()
    let next: ChatMessage[] | undefined = [{ role: 'user', content }]
    while (next) {
      const { seed } = this.sampling
      const drawing = { ...this.sampling, seed: seed === undefined ? undefined : seed + retries }
      const result = await watch(this.conversation.send(next, drawing))
      this.count(result)
      next = result.finishReason === 'tool_calls' ? await resultsOf(result.toolCalls) : undefined
    }
    this.past = [...this.past, before]
    this.retries = retries
  }

  private async orAsBefore<T>(work: () => Promise<T>): Promise<T> {
    const { conversation, past } = this
    const before = conversation.fork() // a step that succeeded before one that failed has changed the conversation itself
    try {
      return await work()
    } catch (error) {
      this.conversation = before
      this.past = past
      throw error
    }
  }

  private begun(messages: readonly ChatMessage[]): Conversation {
    return this.engine.conversation({ messages, tools: this.options.tools })
  }

  private count(result: Result): void {
    const { usage, timing } = result
    this.last = result
    this.totals.answers++
    this.totals.completionTokens += usage.completionTokens
    this.totals.promptTokens += usage.promptTokens
    this.totals.cachedTokens += usage.cachedTokens
    this.totals.decodeMs += timing.decodeMs
    this.totals.decodedTokens += Math.max(0, usage.completionTokens - 1)
  }
}
