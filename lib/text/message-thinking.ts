/** The thinking of assistant messages, in all the spellings in which clients keep it and send it back. */
import { badInput, type JsonObject, object, optionalString, string } from './input'
import { THINK, THINK_END } from './markup'

/** Thinking among the parts of a content: Anthropic's blocks, and that of the AI SDK. What is redacted is another model's, and left out. */
export type ThinkingPart =
  | { type: 'thinking'; thinking: string; signature?: string }
  | { type: 'redacted_thinking'; data: string }
  | { type: 'reasoning'; text: string }

/** An entry of `reasoning_details`, as OpenRouter has it. */
export type ReasoningDetail = (
  | { type: 'reasoning.text'; text?: string | null; signature?: string | null }
  | { type: 'reasoning.summary'; summary: string }
  | { type: 'reasoning.encrypted'; data: string }
) & { id?: string | null; format?: string | null; index?: number }

/** The text of a part of thinking; undefined: it is another part. */
export function thinkingOfPart(part: JsonObject, where: string): string | undefined {
  switch (part.type) {
    case 'thinking':
      return string(part.thinking, `${where}.thinking`)
    case 'reasoning':
      return string(part.text, `${where}.text`)
    case 'redacted_thinking':
      return ''
    default:
      return undefined
  }
}

/** The first thinking that has text, of those outside of the text itself; '' where all are empty, undefined where there is none. */
export function givenThinking(message: JsonObject, parts: readonly string[], where: string): string | undefined {
  const given = [
    optionalString(message.reasoning_content, `${where}.reasoning_content`),
    optionalString(message.reasoning, `${where}.reasoning`),
    detailed(message.reasoning_details, `${where}.reasoning_details`),
    parts.length > 0 ? parts.join('') : undefined,
  ].filter((text) => text !== undefined)
  return given.find((text) => text !== '') ?? given[0]
}

function detailed(details: unknown, where: string): string | undefined {
  if (details === undefined || details === null) return undefined
  if (!Array.isArray(details)) throw badInput(where, 'an array', details)
  const found = { text: '', summary: '' }
  for (const [i, given] of details.entries()) {
    const at = `${where}[${i}]`
    const detail = object(given, at, 'a piece of reasoning')
    if (detail.type === 'reasoning.text') found.text += optionalString(detail.text, `${at}.text`) ?? ''
    else if (detail.type === 'reasoning.summary') found.summary += string(detail.summary, `${at}.summary`)
    else if (detail.type !== 'reasoning.encrypted') {
      throw badInput(`${at}.type`, '"reasoning.text", "reasoning.summary" or "reasoning.encrypted"', detail.type)
    }
  }
  return found.text || found.summary || (details.length > 0 ? '' : undefined)
}

/**
 * Thinking inside the content: what stands before `</think>`, without its opening tag and the newlines that rendering puts around it.
 * Later `</think>` are content.
 */
export function splitThinking(content: string): { reasoning: string; content: string } {
  const end = content.indexOf(THINK_END)
  if (end < 0) return { reasoning: '', content }
  const before = stripNewlines(content.slice(0, end))
  return {
    reasoning: stripNewlines(before.startsWith(THINK) ? before.slice(THINK.length) : before),
    content: stripNewlines(content.slice(end + THINK_END.length)),
  }
}

function stripNewlines(text: string): string {
  let [start, end] = [0, text.length]
  while (text[start] === '\n') start++
  while (end > start && text[end - 1] === '\n') end--
  return text.slice(start, end)
}
