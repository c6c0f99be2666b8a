/** The input of OpenAI's Responses API, a list of items, as the engine's messages. */
import { checkJson, isObject, type JsonObject } from '../../text/input'
import type { ChatMessage } from '../../text/messages'
import type { Fields } from '../fields'
import { TurnList } from '../turn-list'
import { openThinking } from './responses-thinking'

/** Of the fields `instructions` and `input`. @throws {M2Error} BAD_INPUT naming the item. */
export function readInput(body: Fields): ChatMessage[] {
  const turns = new TurnList()
  turns.addSystem(body.string('instructions') ?? '')
  const input = body.value('input')
  if (typeof input === 'string') turns.addUser(input)
  else if (Array.isArray(input)) for (const item of body.fieldsList('input')) readItem(item, turns)
  if (turns.isEmpty) throw body.unexpected('input', 'a string, or an array with a message')
  return turns.messages
}

function readItem(item: Fields, turns: TurnList): void {
  const type = item.value('type') ?? (item.value('role') === undefined ? undefined : 'message')
  if (type === 'message') readMessage(item, turns)
  else if (type === 'reasoning') turns.addThinking(thinkingOf(item))
  else if (type === 'function_call') turns.addCall(item.name('call_id'), item.name('name'), argumentsOf(item))
  else if (type === 'function_call_output') readOutput(item, turns)
  else throw item.unexpected('type', '"message", "reasoning", "function_call" or "function_call_output"')
}

function readMessage(item: Fields, turns: TurnList): void {
  const role = item.value('role')
  if (role === 'user') turns.addUser(textOf(item, 'content', ['input_text']))
  else if (role === 'assistant') turns.addAnswerText(textOf(item, 'content', ['output_text', 'input_text']))
  else if (role !== 'system' && role !== 'developer')
    throw item.unexpected('role', '"user", "assistant", "system" or "developer"')
  else if (turns.isEmpty) turns.addSystem(textOf(item, 'content', ['input_text']))
  else turns.addAside(textOf(item, 'content', ['input_text']))
}

/** A string, or parts of text. */
function textOf(fields: Fields, name: string, types: readonly string[]): string {
  const value = fields.value(name)
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) throw fields.unexpected(name, 'a string or an array of parts')
  return fields
    .fieldsList(name)
    .map((part) => partText(part, types))
    .join('')
}

function partText(part: Fields, types: readonly string[]): string {
  if (types.includes(part.value('type') as string)) return part.text('text')
  throw part.unexpected('type', `"${types[0]}" (this model reads nothing else)`)
}

/** The thinking itself, or, where a client keeps only what it cannot read, that; a summary is better than nothing. */
function thinkingOf(item: Fields): string {
  const texts = (name: string, type: string) => item.fieldsList(name).map((part) => partText(part, [type]))
  const content = texts('content', 'reasoning_text')
  const summary = texts('summary', 'summary_text')
  if (content.length > 0) return content.join('')
  return openThinking(item.string('encrypted_content')) ?? summary.join('\n\n')
}

function argumentsOf(item: Fields): JsonObject {
  const args = parsed(item.text('arguments') || '{}') // clients write no arguments as nothing
  if (!isObject(args)) throw item.unexpected('arguments', 'the JSON of an object')
  checkJson(args, item.where('arguments'))
  return args
}

/** Undefined where it is no JSON. */
function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

function readOutput(item: Fields, turns: TurnList): void {
  const id = item.name('call_id')
  if (!turns.hasCall(id)) throw item.unexpected('call_id', turns.expectedId('that of a function_call before'))
  turns.addResult(id, textOf(item, 'output', ['input_text', 'output_text']))
}
