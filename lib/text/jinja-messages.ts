/** Checked turns and tools in the shape that chat templates read: Hugging Face's, with arguments as objects. */
import { isObject, type JsonObject } from './input'
import { THINK_END, THINKING_CLOSE, THINKING_OPEN } from './markup'
import type { AssistantTurn, Turn } from './messages'
import type { FunctionDefinition } from './tools'

/** What becomes of every text that is not the template's own. */
export type MapText = (text: string) => string

/** Where a template finds the thinking of earlier turns: in its field, written into the content, or nowhere. */
export type ThinkingPlace = 'field' | 'content' | 'nowhere'

export function jinjaMessages(turns: readonly Turn[], thinking: ThinkingPlace, text: MapText): JsonObject[] {
  return turns.map((turn) => jinjaMessage(turn, thinking, text))
}

function jinjaMessage(turn: Turn, thinking: ThinkingPlace, text: MapText): JsonObject {
  switch (turn.role) {
    case 'system':
      return {
        role: 'system',
        content: text(turn.content),
        ...(turn.currentDate && { current_date: text(turn.currentDate) }),
        ...(turn.currentLocation && { current_location: text(turn.currentLocation) }),
      }
    case 'user':
      return { role: 'user', content: text(turn.content) }
    case 'assistant':
      return { role: 'assistant', ...thought(turn, thinking, text), ...toolCalls(turn, text) }
    case 'tool':
      return {
        role: 'tool',
        content: toolContent(turn.content, text),
        ...(turn.toolCallId && { tool_call_id: text(turn.toolCallId) }),
      }
  }
}

/** null, not an empty list, where there are none: templates ask for both. */
export function jinjaTools(tools: readonly FunctionDefinition[], text: MapText): JsonObject[] | null {
  return tools.length > 0 ? tools.map((fn) => ({ type: 'function', function: mapTexts(fn, text) })) : null
}

/** An empty reasoning_content keeps a template from looking for thinking in the content; it is there only where it would. */
function thought({ content, reasoning }: AssistantTurn, thinking: ThinkingPlace, text: MapText): JsonObject {
  if (reasoning && thinking === 'content') {
    return { content: `${THINKING_OPEN}${text(reasoning)}${THINKING_CLOSE}${text(content)}`, reasoning_content: '' }
  }
  if (reasoning && thinking === 'field') return { content: text(content), reasoning_content: text(reasoning) }
  return { content: text(content), ...(content.includes(THINK_END) && { reasoning_content: '' }) }
}

function toolCalls(turn: AssistantTurn, text: MapText): JsonObject {
  if (turn.toolCalls.length === 0) return {}
  return {
    tool_calls: turn.toolCalls.map(({ id, name, arguments: given }) => ({
      ...(id !== undefined && { id: text(id) }),
      type: 'function',
      function: { name: text(name), arguments: mapTexts(given, text) },
    })),
  }
}

function toolContent(content: string | string[], text: MapText): unknown {
  return typeof content === 'string' ? text(content) : content.map((part) => ({ type: 'text', text: text(part) }))
}

/** Maps every string in JSON data, keys included. */
function mapTexts(value: unknown, text: MapText): unknown {
  if (typeof value === 'string') return text(value)
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, text))
  if (!isObject(value)) return value
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  return Object.fromEntries(entries.map(([key, item]) => [text(key), mapTexts(item, text)]))
}
