/** Anthropic's messages, whose content is a list of blocks, as the engine's. */
import { M2Error } from '../../errors'
import { checkJson, isObject, type JsonObject } from '../../text/input'
import type { ChatMessage } from '../../text/messages'
import type { Fields } from '../fields'
import { blockText, contentBlocks, contentText } from './blocks'

export interface Turns {
  messages: ChatMessage[]
  /** The text of a last assistant message: the answer begins with it. */
  prefill: string
}

/** The model's own turn. */
interface Answer {
  role: 'assistant'
  content: string
  reasoning_content?: string
  tool_calls: { id: string; name: string; arguments: JsonObject }[]
}

/** Of the fields `system` and `messages`. @throws {M2Error} BAD_INPUT naming the message or block. */
export function readTurns(body: Fields): Turns {
  const messages = body.fieldsList('messages')
  if (messages.length === 0) throw body.unexpected('messages', 'a non-empty array')
  const reader = new TurnReader(contentText(body, 'system'))
  for (const message of messages) reader.read(message)
  const prefill = reader.takePrefill()
  const { system, turns } = reader
  if (turns.length === 0) throw new M2Error('BAD_INPUT', 'messages: expected a user message, found none')
  return { messages: system === '' ? turns : [{ role: 'system', content: system }, ...turns], prefill }
}

class TurnReader {
  readonly turns: ChatMessage[] = []
  /** The model's last turn. */
  private answer: Answer | undefined

  constructor(public system: string) {}

  read(message: Fields): void {
    const blocks = contentBlocks(message, 'content')
    if (!blocks) throw message.unexpected('content', 'a string or an array of blocks')
    const role = message.value('role')
    if (role === 'user') this.readUser(blocks)
    else if (role === 'assistant') this.readAnswer(blocks)
    else if (role === 'system' && this.turns.length === 0)
      this.system += (this.system && '\n\n') + contentText(message, 'content')
    else throw message.unexpected('role', '"user" or "assistant", and "system" only before them')
  }

  /** The text of the model's turn at the end, if there is one, which is not said yet. */
  takePrefill(): string {
    const last = this.turns.at(-1) === this.answer ? this.answer : undefined
    if (!last) return ''
    if (last.tool_calls.length > 0) {
      throw new M2Error(
        'BAD_INPUT',
        'messages: expected a tool_result for each tool_use of the last message, found none',
      )
    }
    if (last.reasoning_content !== undefined) {
      throw new M2Error('BAD_INPUT', 'messages: expected a last assistant message to have only text, found thinking')
    }
    this.turns.pop()
    return last.content.replace(/^\n+/, '') // those belong to the markup that ends the thinking
  }

  /** Results are turns of their own; so is the text before, between and after them. */
  private readUser(blocks: readonly Fields[]): void {
    if (blocks.length === 0) this.turns.push({ role: 'user', content: '' })
    let text: string | undefined
    const flush = () => {
      if (text !== undefined) this.turns.push({ role: 'user', content: text })
      text = undefined
    }
    for (const block of blocks) {
      if (block.value('type') === 'tool_result') {
        flush()
        this.readResult(block)
      } else text = (text ?? '') + blockText(block, '"text" or "tool_result"')
    }
    flush()
  }

  private readResult(block: Fields): void {
    const id = block.name('tool_use_id')
    const ids = this.answer?.tool_calls.map((call) => call.id) ?? []
    if (!ids.includes(id)) {
      const expected = ids.length > 0 ? ids.join(' or ') : 'the id of a tool_use in the assistant message before'
      throw block.unexpected('tool_use_id', expected)
    }
    const content = contentText(block, 'content')
    const isError = block.boolean('is_error') ?? false
    this.turns.push({ role: 'tool', tool_call_id: id, content: isError && content === '' ? 'error' : content })
  }

  /** Neighbouring messages of the model are one turn. */
  private readAnswer(blocks: readonly Fields[]): void {
    if (!this.answer || this.turns.at(-1) !== this.answer) {
      this.answer = { role: 'assistant', content: '', tool_calls: [] }
      this.turns.push(this.answer)
    }
    for (const block of blocks) readAnswerBlock(block, this.answer)
  }
}

function readAnswerBlock(block: Fields, answer: Answer): void {
  switch (block.value('type')) {
    case 'thinking':
      // Any signature is good: nothing is hidden in ours.
      answer.reasoning_content = (answer.reasoning_content ?? '') + block.text('thinking')
      break
    case 'tool_use': {
      const input = block.value('input') ?? {}
      if (!isObject(input)) throw block.unexpected('input', 'an object')
      checkJson(input, block.where('input'))
      answer.tool_calls.push({ id: block.name('id'), name: block.name('name'), arguments: input })
      break
    }
    default:
      answer.content += blockText(block, '"text", "thinking" or "tool_use"')
  }
}
