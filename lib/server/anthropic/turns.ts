/** Anthropic's messages, whose content is a list of blocks, as the engine's. */
import { M2Error } from '../../errors'
import { checkJson } from '../../text/input'
import type { ChatMessage } from '../../text/messages'
import type { Fields } from '../fields'
import { TurnList } from '../turn-list'
import { blockText, contentBlocks, contentText } from './blocks'

export interface Turns {
  messages: ChatMessage[]
  /** The text of a last assistant message: the answer begins with it. */
  prefill: string
}

/** Of the fields `system` and `messages`. @throws {M2Error} BAD_INPUT naming the message or block. */
export function readTurns(body: Fields): Turns {
  const messages = body.fieldsList('messages')
  if (messages.length === 0) throw body.unexpected('messages', 'a non-empty array')
  const turns = new TurnList()
  turns.addSystem(contentText(body, 'system'))
  for (const message of messages) readMessage(message, turns)
  const prefill = takePrefill(turns)
  if (turns.isEmpty) throw new M2Error('BAD_INPUT', 'messages: expected a user message, found none')
  return { messages: turns.messages, prefill }
}

function readMessage(message: Fields, turns: TurnList): void {
  const blocks = contentBlocks(message, 'content')
  if (!blocks) throw message.unexpected('content', 'a string or an array of blocks')
  const role = message.value('role')
  if (role === 'user') readUser(blocks, turns)
  else if (role === 'assistant') readAnswer(blocks, turns)
  else if (role !== 'system') throw message.unexpected('role', '"user", "assistant" or "system"')
  else if (turns.isEmpty) turns.addSystem(contentText(message, 'content'))
  else turns.addAside(contentText(message, 'content'))
}

/** Results are turns of their own; so is the text before, between and after them: reminders, mostly, that clients put there. */
function readUser(blocks: readonly Fields[], turns: TurnList): void {
  const hasResults = blocks.some((block) => block.value('type') === 'tool_result')
  let text = blocks.length === 0 ? '' : undefined
  const endText = () => {
    if (text !== undefined && hasResults) turns.addAside(text)
    else if (text !== undefined) turns.addUser(text)
    text = undefined
  }
  for (const block of blocks) {
    if (block.value('type') === 'tool_result') {
      endText()
      readResult(block, turns)
    } else text = (text ?? '') + blockText(block, '"text" or "tool_result"')
  }
  endText()
}

/** The model knows no flag for an error: it is what the content says. */
function readResult(block: Fields, turns: TurnList): void {
  const id = block.name('tool_use_id')
  if (!turns.hasCall(id)) {
    throw block.unexpected('tool_use_id', turns.expectedId('the id of a tool_use in the assistant message before'))
  }
  const content = contentText(block, 'content')
  const isError = block.boolean('is_error') ?? false
  turns.addResult(id, isError && content === '' ? 'error' : content)
}

function readAnswer(blocks: readonly Fields[], turns: TurnList): void {
  turns.openAnswer()
  for (const block of blocks) {
    switch (block.value('type')) {
      case 'thinking': // with any signature: ours say nothing
        turns.addThinking(block.text('thinking'))
        break
      case 'redacted_thinking': // another model's, which nobody here can read
        break
      case 'tool_use': {
        const input = block.object('input') ?? {}
        checkJson(input, block.where('input'))
        turns.addCall(block.name('id'), block.name('name'), input)
        break
      }
      default:
        turns.addAnswerText(blockText(block, '"text", "thinking" or "tool_use"'))
    }
  }
}

function takePrefill(turns: TurnList): string {
  const last = turns.unanswered
  if (!last) return ''
  const problem = (expected: string) => new M2Error('BAD_INPUT', `messages: expected ${expected}`)
  if (last.tool_calls.length > 0) throw problem('a tool_result for each tool_use of the last message, found none')
  if (last.reasoning_content !== undefined) throw problem('a last assistant message to have only text, found thinking')
  turns.removeUnanswered()
  return last.content.replace(/^\n+/, '') // those belong to the markup that ends the thinking
}
