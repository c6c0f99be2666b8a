import { M2Error } from '../../errors'
import type { ChatOptions } from '../../options'
import { checkJson, type JsonObject } from '../../text/input'
import type { ChatMessage } from '../../text/messages'
import type { FunctionDefinition } from '../../text/tools'
import { Fields } from '../fields'
import { readInput } from './responses-input'

export interface ResponsesRequest {
  messages: ChatMessage[]
  options: ChatOptions
  stream: boolean
  /** The client wants thinking in a form that it can send back without reading it. */
  sealed: boolean
  /** What the response repeats of the request. */
  echo: JsonObject
}

/**
 * A body of `POST /v1/responses`. What does not concern us, such as `user` and `service_tier`, is not looked at.
 * @throws {M2Error} BAD_INPUT naming the field.
 */
export function readRequest(body: JsonObject): ResponsesRequest {
  const fields = new Fields(body)
  refuseUnavailable(fields)
  const messages = readInput(fields)
  const given = toolsOf(fields)
  const tools = given.map(readTool)
  const options: ChatOptions = {
    maxTokens: fields.integer('max_output_tokens', { least: 1 }),
    temperature: fields.number('temperature', { least: 0 }),
    topP: fields.number('top_p', { least: 0, most: 1, above: true }),
    ...(tools.length > 0 && { tools }),
    toolChoice: readChoice(fields, tools),
    parallelToolCalls: fields.boolean('parallel_tool_calls'),
    responseFormat: readFormat(fields),
  }
  const sealed = fields.list('include')?.includes('reasoning.encrypted_content') ?? false
  return { messages, options, stream: fields.boolean('stream') ?? false, sealed, echo: echoOf(fields, given) }
}

/** What needs a memory of earlier responses, or is not had here. */
const UNAVAILABLE = ['previous_response_id', 'conversation', 'prompt', 'context_management']

function refuseUnavailable(fields: Fields): void {
  for (const name of UNAVAILABLE) {
    if (fields.value(name) !== undefined) throw fields.unexpected(name, 'nothing, as no response is kept')
  }
  for (const name of ['store', 'background']) {
    if (fields.boolean(name)) throw fields.unexpected(name, 'false, as no response is kept')
  }
  fields.choice('truncation', ['disabled'])
  const include = fields.list('include') ?? []
  if (fields.integer('top_logprobs', { least: 0 }) || include.includes('message.output_text.logprobs')) {
    throw new M2Error('BAD_INPUT', 'top_logprobs: expected none (chat completions have them), found them asked for')
  }
}

/** What coding agents declare in each request, whoever they talk to: they work without. */
const DISPENSABLE: unknown[] = ['custom', 'image_generation', 'local_shell', 'namespace', 'tool_search', 'web_search']

/** The functions. Beside them, and only there, what is dispensable is left out. */
function toolsOf(fields: Fields): Fields[] {
  const tools = fields.fieldsList('tools')
  const functions = tools.filter(isFunction)
  const refused = tools.find((tool) => {
    return !isFunction(tool) && (functions.length === 0 || !DISPENSABLE.includes(tool.value('type')))
  })
  if (refused) throw refused.unexpected('type', '"function" (no other tools run here)')
  return functions
}

function isFunction(tool: Fields): boolean {
  return tool.value('type') === 'function'
}

function readTool(tool: Fields): FunctionDefinition {
  const description = tool.string('description')
  const parameters = tool.object('parameters')
  checkJson(parameters ?? {}, tool.where('parameters'))
  return {
    name: tool.name('name'),
    ...(description !== undefined && { description }),
    ...(parameters && { parameters }),
  }
}

function readChoice(fields: Fields, tools: readonly FunctionDefinition[]): ChatOptions['toolChoice'] {
  if (typeof fields.value('tool_choice') !== 'object') {
    const choice = fields.choice('tool_choice', ['auto', 'none', 'required'])
    if (choice !== 'required' || tools.length > 0) return choice
    throw new M2Error('BAD_INPUT', 'tool_choice: expected tools to choose from, found none')
  }
  const choice = fields.fields('tool_choice')!
  if (choice.value('type') !== 'function') throw choice.unexpected('type', '"function"')
  const name = choice.name('name')
  if (tools.some((tool) => tool.name === name)) return { name }
  throw choice.unexpected('name', 'the name of one of the tools')
}

function readFormat(fields: Fields): ChatOptions['responseFormat'] {
  const format = fields.fields('text')?.fields('format')
  if (!format) return undefined
  const type = format.choice('type', ['text', 'json_object', 'json_schema'])
  if (type === undefined) throw format.unexpected('type', '"text", "json_object" or "json_schema"')
  if (type === 'text') return undefined
  if (type === 'json_object') return { type }
  const schema = format.object('schema')
  if (!schema) throw format.unexpected('schema', 'a JSON schema object')
  checkJson(schema, format.where('schema'))
  return { type, schema }
}

function echoOf(fields: Fields, tools: readonly Fields[]): JsonObject {
  for (const name of ['metadata', 'reasoning', 'text', 'tools']) checkJson(fields.value(name) ?? null, name)
  return {
    background: false,
    instructions: fields.value('instructions') ?? null,
    max_output_tokens: fields.value('max_output_tokens') ?? null,
    metadata: fields.object('metadata') ?? {},
    parallel_tool_calls: fields.value('parallel_tool_calls') ?? true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null, ...fields.object('reasoning') },
    store: false,
    temperature: fields.value('temperature') ?? null,
    text: { format: { type: 'text' }, ...fields.object('text') },
    tool_choice: fields.value('tool_choice') ?? 'auto',
    tools: tools.map((tool) => tool.all),
    top_p: fields.value('top_p') ?? null,
    truncation: 'disabled',
  }
}
