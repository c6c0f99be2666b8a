import type { JsonObject } from '../text/input'
import type { ChatMessage } from '../text/messages'

/** The model's own turn. */
export interface Answer {
  role: 'assistant'
  content: string
  reasoning_content?: string
  tool_calls: { id: string; name: string; arguments: JsonObject }[]
}

/** A conversation while it is put together from the pieces that an API has it in. What the model said piece by piece is one turn. */
export class TurnList {
  private readonly turns: ChatMessage[] = []
  private system = ''
  /** The model's last turn. */
  private answer: Answer | undefined
  private readonly ids = new Set<string>()

  get messages(): ChatMessage[] {
    return this.system === '' ? this.turns : [{ role: 'system', content: this.system }, ...this.turns]
  }

  /** Nobody has said anything yet, so system text may come. */
  get isEmpty(): boolean {
    return this.turns.length === 0
  }

  /** A result can be of a call with that id. */
  hasCall(id: string): boolean {
    return this.ids.has(id)
  }

  /** What a result's id can be, for an error: some of them, or what is to come before. */
  expectedId(otherwise: string): string {
    return [...this.ids].slice(0, 10).join(' or ') || otherwise
  }

  /** The model's turn, where it is the last one. */
  get unanswered(): Answer | undefined {
    return this.turns.at(-1) === this.answer ? this.answer : undefined
  }

  /** Texts from different places are paragraphs of one. */
  addSystem(text: string): void {
    this.system += (this.system && text && '\n\n') + text
  }

  addUser(content: string): void {
    this.turns.push({ role: 'user', content })
  }

  /** What the client says beside results, or as the system later on: a tool loop goes on. */
  addAside(content: string): void {
    this.turns.push({ role: 'user', content, aside: true })
  }

  addResult(tool_call_id: string, content: string): void {
    this.turns.push({ role: 'tool', tool_call_id, content })
  }

  /** The model's turn that pieces belong to now. */
  openAnswer(): Answer {
    if (this.unanswered) return this.unanswered
    this.answer = { role: 'assistant', content: '', tool_calls: [] }
    this.ids.clear()
    this.turns.push(this.answer)
    return this.answer
  }

  addThinking(text: string): void {
    const answer = this.openAnswer()
    answer.reasoning_content = (answer.reasoning_content ?? '') + text
  }

  addAnswerText(text: string): void {
    this.openAnswer().content += text
  }

  addCall(id: string, name: string, args: JsonObject): void {
    this.openAnswer().tool_calls.push({ id, name, arguments: args })
    this.ids.add(id)
  }

  removeUnanswered(): void {
    if (this.unanswered) this.turns.pop()
  }
}
