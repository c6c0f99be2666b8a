/**
 * Chat rendering: messages -> the prompt of the MiniMax-M2 chat format.
 *
 *   ]~!b[]~b]system\n{system text}{tools}[e~[\n
 *   ]~b]user\n{text}[e~[\n
 *   ]~b]ai\n<think>\n{reasoning}\n</think>\n\n{text}\n<minimax:tool_call>\n{invokes}</minimax:tool_call>[e~[\n
 *   ]~b]tool\n<response>{text}</response>\n<response>{text}</response>[e~[\n
 *   ]~b]ai\n<think>\n
 */
import { checkKnownKeys } from '../known-keys'
import { type ChatFormat, M2_FORMAT } from './chat-format'
import { badOption } from './input'
import {
  CALLS,
  CALLS_END,
  ControlTokens,
  DOCUMENT_START,
  joinSegments,
  ROLE_START,
  type Segment,
  SegmentWriter,
  THINKING_CLOSE,
  THINKING_OPEN,
  TURN_END,
} from './markup'
import {
  type AssistantTurn,
  type ChatMessage,
  checkMessages,
  type SystemTurn,
  type ToolTurn,
  type Turn,
} from './messages'
import { pythonJson } from './python-json'
import { checkTools, type FunctionDefinition, type ToolDefinition } from './tools'

/**
 * Which earlier thinking is rendered: "model" what the model's own template renders (M2: that of the turns after the last user message),
 * "always" all of it, "never" none, that of a running tool loop included.
 */
export type KeepReasoning = 'model' | 'always' | 'never'

const KEEP_REASONING: readonly string[] = ['model', 'always', 'never'] satisfies KeepReasoning[]

/** Options of rendering, checked. */
export interface RenderSettings {
  tools: readonly FunctionDefinition[]
  addGenerationPrompt: boolean
  keepReasoning: KeepReasoning
}

/** Turns that follow an answer of the model, which was not rendered but sampled. */
export interface NextTurns {
  /** Behind the ids of that answer: what ends it, beginning with the end-of-turn token, and the turns. Where all is replaced, all of it. */
  segments: Segment[]
  /** What becomes of everything up to that answer: it stays, loses its thinking, or is replaced. */
  earlier: 'kept' | 'withoutThinking' | 'replaced'
}

/** Options of `renderChat`. */
export interface RenderOptions {
  /** Functions the model may call, described in the system block. Default: none. */
  tools?: readonly ToolDefinition[]
  /** System text of conversations that bring none. Default: that of MiniMax-M2. */
  identity?: string
  /** End with the opening of the assistant's turn, so that the model answers. Default true. */
  addGenerationPrompt?: boolean
  /** Default "model". */
  keepReasoning?: KeepReasoning
}

/**
 * Renders a conversation as MiniMax-M2's chat template does, ready for `engine.generate` or a tokenizer. In one text what is written by users and
 * tools cannot be told from control tokens any more: texts that are not trusted are safe with `engine.chat`, which encodes them apart.
 * @throws M2Error BAD_INPUT naming the message or tool that is not sound; BAD_OPTION for options.
 * @example renderChat([{ role: 'user', content: 'Hello!' }])
 */
export function renderChat(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
  checkKnownKeys(options, ['tools', 'identity', 'addGenerationPrompt', 'keepReasoning'], 'renderChat')
  const { identity = M2_FORMAT.identity } = options
  if (typeof identity !== 'string') throw badOption('identity', 'a string', identity)
  return joinSegments(renderSegments(checkMessages(messages), { ...M2_FORMAT, identity }, checkRenderOptions(options)))
}

/** Checks rendering options and fills in their defaults. @throws M2Error BAD_OPTION or, for tools, BAD_INPUT. */
export function checkRenderOptions({
  tools,
  addGenerationPrompt = true,
  keepReasoning = 'model',
}: RenderOptions): RenderSettings {
  if (!KEEP_REASONING.includes(keepReasoning)) {
    throw badOption('keepReasoning', '"model", "always" or "never"', keepReasoning)
  }
  if (typeof addGenerationPrompt !== 'boolean') {
    throw badOption('addGenerationPrompt', 'true or false', addGenerationPrompt)
  }
  return { tools: checkTools(tools), addGenerationPrompt, keepReasoning }
}

/** The prompt as segments, so that nothing a user or tool wrote can become a control token. */
export function renderSegments(
  turns: readonly Turn[],
  format: ChatFormat,
  settings: RenderSettings,
  tokens = new ControlTokens(),
): Segment[] {
  const system = turns[0]?.role === 'system' ? turns[0] : undefined
  const rest = system ? turns.slice(1) : turns
  const out = new SegmentWriter(tokens)
  writeSystem(out, system, format, settings.tools)
  writeTurns(out, rest, 0, format, settings)
  return out.segments
}

/** The turns from index `from` on, which follow an answer of the model. */
export function renderNext(
  turns: readonly Turn[],
  from: number,
  format: ChatFormat,
  settings: RenderSettings,
  tokens = new ControlTokens(),
): NextTurns {
  const out = new SegmentWriter(tokens).template(`${TURN_END}\n`)
  writeTurns(out, turns, from, format, settings)
  const drops = firstKept(turns, format, settings.keepReasoning) >= from
  return { segments: out.segments, earlier: drops ? 'withoutThinking' : 'kept' }
}

function writeTurns(
  out: SegmentWriter,
  turns: readonly Turn[],
  from: number,
  format: ChatFormat,
  settings: RenderSettings,
): void {
  const keepFrom = firstKept(turns, format, settings.keepReasoning)
  for (const [i, turn] of turns.entries()) {
    if (i < from) continue
    if (turn.role === 'user') out.template(`${ROLE_START}user\n`).text(turn.content).template(`${TURN_END}\n`)
    else if (turn.role === 'assistant') writeAssistant(out, turn, i >= keepFrom)
    else if (turn.role === 'tool') {
      if (turns[i - 1]?.role !== 'tool') out.template(`${ROLE_START}tool`)
      writeToolResult(out, turn, format)
      if (turns[i + 1]?.role !== 'tool') out.template(`${TURN_END}\n`)
    }
  }
  if (settings.addGenerationPrompt) out.template(`${ROLE_START}ai\n${THINKING_OPEN}`)
}

/** Index of the first turn whose thinking is rendered. */
function firstKept(turns: readonly Turn[], format: ChatFormat, keep: KeepReasoning): number {
  if (keep === 'never') return Number.POSITIVE_INFINITY
  if (keep === 'always' || format.keepsReasoning === 'always') return 0
  return turns.findLastIndex((turn) => turn.role === 'user' && !turn.aside) + 1
}

function writeSystem(
  out: SegmentWriter,
  system: SystemTurn | undefined,
  format: ChatFormat,
  tools: readonly FunctionDefinition[],
): void {
  out.template(`${DOCUMENT_START}${ROLE_START}system\n`).text(system?.content || format.identity)
  if (format.systemFacts && system?.currentDate) out.text(`\nCurrent date: ${system.currentDate}`)
  if (format.systemFacts && system?.currentLocation) out.text(`\nCurrent location: ${system.currentLocation}`)
  if (tools.length > 0) writeTools(out, tools, format)
  out.template(`${TURN_END}\n`)
}

function writeTools(out: SegmentWriter, tools: readonly FunctionDefinition[], format: ChatFormat): void {
  out.template('\n\n# Tools\nYou may call one or more tools to assist with the user query.\n')
  out.template('Here are the tools available in JSONSchema format:\n\n<tools>\n')
  for (const tool of tools) out.template('<tool>').text(pythonJson(tool)).template('</tool>\n')
  out.template('</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n\n')
  out.template(`${CALLS}\n<invoke name="tool-name-1">\n`)
  for (let i = 1; i <= format.exampleParameters; i++) {
    out.template(`<parameter name="param-key-${i}">param-value-${i}</parameter>\n`)
  }
  out.template(`...\n</invoke>\n${CALLS_END}`)
}

function writeAssistant(out: SegmentWriter, turn: AssistantTurn, keepReasoning: boolean): void {
  out.template(`${ROLE_START}ai\n`)
  if (keepReasoning && turn.reasoning) out.template(THINKING_OPEN).text(turn.reasoning).template(THINKING_CLOSE)
  out.text(turn.content)
  if (turn.toolCalls.length > 0) {
    out.template(`\n${CALLS}\n`)
    for (const call of turn.toolCalls) writeCall(out, call)
    out.template(CALLS_END)
  }
  out.template(`${TURN_END}\n`)
}

/** Strings stand raw and unescaped, everything else as JSON. */
function writeCall(out: SegmentWriter, call: AssistantTurn['toolCalls'][number]): void {
  out.template('<invoke name="').text(call.name).template('">\n')
  for (const [key, value] of Object.entries(call.arguments)) {
    if (value === undefined) continue
    out.template('<parameter name="').text(key).template('">')
    out.text(typeof value === 'string' ? value : pythonJson(value)).template('</parameter>\n')
  }
  out.template('</invoke>\n')
}

function writeToolResult(out: SegmentWriter, { content }: ToolTurn, format: ChatFormat): void {
  if (typeof content === 'string' || format.toolParts === 'joined') {
    out.template('\n<response>').text([content].flat().join('')).template('</response>')
  } else {
    for (const part of content) out.template('\n<response>').text(part).template('\n</response>')
  }
}
