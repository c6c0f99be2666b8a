/**
 * Chat messages as callers hand them in (OpenAI's shape), and the one place that checks them. What comes out is what rendering needs:
 * contents as text, thinking apart from content, arguments as objects.
 */
import { M2Error } from '../errors'
import {
  badInput,
  checkJson,
  isObject,
  type JsonObject,
  nonEmptyString,
  object,
  optionalString,
  reasonOf,
  string,
} from './input'
import {
  givenThinking,
  type ReasoningDetail,
  splitThinking,
  type ThinkingPart,
  thinkingOfPart,
} from './message-thinking'

export type { ReasoningDetail, ThinkingPart }

export interface TextPart {
  type: 'text'
  text: string
}

/** A call in OpenAI's shape, or the bare function as `Result.toolCalls` has it. `arguments`: an object, or its JSON, or '' for none. */
export type ChatToolCall =
  | { id?: string; type?: 'function'; function: { name: string; arguments: object | string } }
  | { id?: string; name: string; arguments: object | string }

export interface ChatMessage {
  /** `developer` is taken as another name of `system`; either may only come first. */
  role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  /**
   * Text parts are concatenated (tool: each is a response of its own where the model's format has it so). null or missing: empty.
   * assistant: parts of thinking among them are its thinking, and no content.
   */
  content?: string | readonly (TextPart | ThinkingPart)[] | null
  /**
   * assistant: the thinking of that turn, in one of the spellings that clients keep it in. Of several the first that has text counts: this one,
   * `reasoning`, `reasoning_details`, the parts of the content. Where none is there (null counts as missing, '' does not), it is what stands
   * before `</think>` in the content.
   */
  reasoning_content?: string | null
  /** assistant: another name of `reasoning_content`. */
  reasoning?: string | null
  /** assistant: its thinking in pieces: their texts, or where there are none their summaries, joined. What is encrypted is another model's, and left out. */
  reasoning_details?: readonly ReasoningDetail[] | null
  /** assistant: the calls it made. */
  tool_calls?: readonly ChatToolCall[] | null
  /** tool: which of the preceding calls this is the result of. With ids, results are rendered in the order of the calls. */
  tool_call_id?: string | null
  /** user: said in between, by a program more than by a person. It does not end a tool loop: the thinking before it stays. */
  aside?: boolean | null
  /** system: a line `Current date: ...` after the system text, in formats that have it. */
  current_date?: string | null
  /** system: a line `Current location: ...`, likewise. */
  current_location?: string | null
}

export interface SystemTurn {
  role: 'system'
  content: string
  currentDate?: string
  currentLocation?: string
}
export interface UserTurn {
  role: 'user'
  content: string
  aside?: boolean
}
export interface AssistantTurn {
  role: 'assistant'
  content: string
  /** '' when there is none. */
  reasoning: string
  toolCalls: { id?: string; name: string; arguments: JsonObject }[]
}
export interface ToolTurn {
  role: 'tool'
  /** A list where the message had parts. */
  content: string | string[]
  toolCallId?: string
}
/** A checked message. */
export type Turn = SystemTurn | UserTurn | AssistantTurn | ToolTurn

/**
 * Checks messages and brings them to one shape.
 * @param before checked turns that the messages follow; they count in the indices of errors.
 * @throws M2Error BAD_INPUT naming the message, what was expected and what was found.
 */
export function checkMessages(messages: unknown, before: readonly Turn[] = []): Turn[] {
  if (!Array.isArray(messages) || messages.length + before.length === 0) {
    throw badInput('messages', 'a non-empty array', messages)
  }
  const asked = before.findLast((turn) => turn.role === 'assistant')?.toolCalls ?? []
  let calls = idsOf(asked)
  const turns = messages.map((message, i) => {
    const where = `messages[${before.length + i}]`
    const turn = checkMessage(object(message, where, 'a message object'), where, before.length + i === 0)
    if (turn.role === 'assistant') calls = idsOf(turn.toolCalls)
    if (turn.role === 'tool') checkAnswers(turn, calls, where)
    return turn
  })
  return inOrderOfCalls(turns, asked)
}

/** The model tells results apart by their order alone, so those with ids stand as their calls do, whatever order they came in. */
function inOrderOfCalls(turns: readonly Turn[], asked: AssistantTurn['toolCalls']): Turn[] {
  const ordered = [...turns]
  let calls = asked
  for (let at = 0, end = 0; at < turns.length; at = Math.max(end, at + 1)) {
    const turn = turns[at]!
    if (turn.role === 'assistant') calls = turn.toolCalls
    for (end = at; turns[end]?.role === 'tool'; ) end++
    const results = turns.slice(at, end) as ToolTurn[]
    const places = new Map(calls.map(({ id }, place) => [id, place]))
    if (results.length < 2 || !results.every(({ toolCallId }) => toolCallId !== undefined && places.has(toolCallId)))
      continue
    ordered.splice(
      at,
      results.length,
      ...results.toSorted((a, b) => places.get(a.toolCallId)! - places.get(b.toolCallId)!),
    )
  }
  return ordered
}

function checkMessage(message: JsonObject, where: string, first: boolean): Turn {
  switch (message.role) {
    case 'system':
    case 'developer':
      if (!first) throw new M2Error('BAD_INPUT', `${where}: a ${message.role} message must be the first message`)
      return systemTurn(message, where)
    case 'user':
      return userTurn(message, where)
    case 'assistant':
      return assistantTurn(message, where)
    case 'tool':
      return toolTurn(message, where)
    default:
      throw badInput(`${where}.role`, 'system, user, assistant or tool', message.role)
  }
}

function userTurn(message: JsonObject, where: string): UserTurn {
  const content = contentText(message, where)
  const { aside = null } = message
  if (aside !== null && typeof aside !== 'boolean') throw badInput(`${where}.aside`, 'true or false', aside)
  return aside ? { role: 'user', content, aside } : { role: 'user', content }
}

function systemTurn(message: JsonObject, where: string): SystemTurn {
  const turn: SystemTurn = { role: 'system', content: contentText(message, where) }
  const currentDate = optionalString(message.current_date, `${where}.current_date`)
  const currentLocation = optionalString(message.current_location, `${where}.current_location`)
  if (currentDate) turn.currentDate = currentDate
  if (currentLocation) turn.currentLocation = currentLocation
  return turn
}

function assistantTurn(message: JsonObject, where: string): AssistantTurn {
  const thoughts: string[] = []
  const content = contentParts(message, where, (part, at) => {
    const thought = thinkingOfPart(part, at)
    if (thought !== undefined) thoughts.push(thought)
    return thought !== undefined
  }).join('')
  const reasoning = givenThinking(message, thoughts, where)
  const thought = reasoning === undefined ? splitThinking(content) : { reasoning, content }
  return { role: 'assistant', ...thought, toolCalls: checkCalls(message.tool_calls, `${where}.tool_calls`) }
}

function toolTurn(message: JsonObject, where: string): ToolTurn {
  const parts = contentParts(message, where)
  const turn: ToolTurn = {
    role: 'tool',
    content: Array.isArray(message.content) && parts.length > 0 ? parts : parts.join(''),
  }
  const id = optionalString(message.tool_call_id, `${where}.tool_call_id`)
  if (id !== undefined) turn.toolCallId = id
  return turn
}

/** Of the calls of a turn; undefined among them where a call has none. */
function idsOf(calls: AssistantTurn['toolCalls']): ReadonlySet<string | undefined> {
  return new Set(calls.map((call) => call.id))
}

/** Ids are compared only where both sides have them: many histories carry none, and results go by their order. */
function checkAnswers({ toolCallId }: ToolTurn, ids: ReadonlySet<string | undefined>, where: string): void {
  if (ids.size === 0) {
    throw new M2Error('BAD_INPUT', `${where}: a tool message needs an assistant message with tool_calls before it`)
  }
  if (toolCallId !== undefined && !ids.has(undefined) && !ids.has(toolCallId)) {
    const some = [...ids].slice(0, 10).join(', ')
    throw badInput(`${where}.tool_call_id`, `the id of a preceding call (${some})`, toolCallId)
  }
}

function contentText(message: JsonObject, where: string): string {
  return contentParts(message, where).join('')
}

/** The texts of the content. `isOther`: takes a part that is none. */
function contentParts(
  { content }: JsonObject,
  where: string,
  isOther: (part: JsonObject, at: string) => boolean = () => false,
): string[] {
  if (content === undefined || content === null) return []
  if (typeof content === 'string') return [content]
  if (!Array.isArray(content)) throw badInput(`${where}.content`, 'a string or an array of text parts', content)
  return content.flatMap((given, i) => {
    const at = `${where}.content[${i}]`
    const part = object(given, at, 'a text part')
    if (isOther(part, at)) return []
    if (part.type !== 'text') throw badInput(`${at}.type`, '"text" (this model reads nothing else)', part.type)
    return string(part.text, `${at}.text`)
  })
}

function checkCalls(calls: unknown, where: string): AssistantTurn['toolCalls'] {
  if (calls === undefined || calls === null) return []
  if (!Array.isArray(calls)) throw badInput(where, 'an array', calls)
  return calls.map((given, i) => {
    const at = `${where}[${i}]`
    const call = object(given, at, 'a tool call')
    if (call.type !== undefined && call.type !== 'function') throw badInput(`${at}.type`, '"function"', call.type)
    const fn = call.function === undefined ? call : object(call.function, `${at}.function`)
    const fnAt = call.function === undefined ? at : `${at}.function`
    const id = optionalString(call.id, `${at}.id`)
    const name = nonEmptyString(fn.name, `${fnAt}.name`)
    return { ...(id !== undefined && { id }), name, arguments: callArguments(fn.arguments, `${fnAt}.arguments`) }
  })
}

function callArguments(given: unknown, where: string): JsonObject {
  const value = typeof given === 'string' ? parsedJson(given || '{}', where) : given
  if (!isObject(value)) throw badInput(where, 'an object, or a string with the JSON of one', given)
  checkJson(value, where)
  return value
}

function parsedJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new M2Error(
      'BAD_INPUT',
      `${where}: expected an object or its JSON, found text that is not JSON: ${reasonOf(cause)}`,
      { cause },
    )
  }
}
