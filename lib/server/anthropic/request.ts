import type { ChatOptions } from '../../options'
import { checkJson, type JsonObject } from '../../text/input'
import type { ChatMessage } from '../../text/messages'
import type { PartOptions } from '../answer-parts'
import { Fields } from '../fields'
import { ThreadRefusal } from './errors'
import { readTools } from './tools'
import { readTurns } from './turns'

export interface MessagesRequest {
  messages: ChatMessage[]
  options: ChatOptions
  stream: boolean
  /** What of the answer the client is given. */
  parts: PartOptions
}

/**
 * A body of `POST /v1/messages`. What does not concern us, such as `metadata` and `cache_control`, is not looked at.
 * @throws {M2Error} BAD_INPUT naming the field.
 */
export function readRequest(body: JsonObject): MessagesRequest {
  const fields = new Fields(body)
  if (fields.value('thread') !== undefined) throw new ThreadRefusal()
  if (fields.list('mcp_servers')?.length) throw fields.unexpected('mcp_servers', 'none, as no tools run here')
  const { messages, prefill } = readTurns(fields)
  const options: ChatOptions = {
    ...readSampling(fields),
    ...readTools(fields),
    ...readThinking(fields),
    ...readFormat(fields),
    ...(prefill !== '' && { prefill }),
  }
  const parts = { skipped: prefill.length }
  return { messages, options, stream: fields.boolean('stream') ?? false, parts }
}

function readSampling(fields: Fields): ChatOptions {
  const stop = fields.list('stop_sequences')
  if (stop?.some((one) => typeof one !== 'string' || one === '')) {
    throw fields.unexpected('stop_sequences', 'an array of non-empty strings')
  }
  return {
    maxTokens: fields.integer('max_tokens', { least: 1 }),
    temperature: fields.number('temperature', { least: 0 }),
    topP: fields.number('top_p', { least: 0, most: 1, above: true }),
    topK: fields.integer('top_k', { least: 0 }),
    stop: stop as string[] | undefined,
  }
}

/** The model always thinks: "disabled", as any other type, changes nothing, and the thinking is in the answer. "enabled" limits it. */
function readThinking(fields: Fields): ChatOptions {
  const thinking = fields.fields('thinking')
  if (!thinking) return {}
  const type = thinking.string('type')
  if (type === undefined) throw thinking.unexpected('type', '"enabled", "disabled" or "adaptive"')
  return type === 'enabled' ? { maxReasoningTokens: thinking.integer('budget_tokens', { least: 1 }) } : {}
}

/** Of `output_config.format`, and of `output_format`, its older place. */
function readFormat(fields: Fields): ChatOptions {
  const format = fields.fields('output_config')?.fields('format') ?? fields.fields('output_format')
  if (!format) return {}
  const schema = format.object('schema')
  if (format.choice('type', ['json_schema']) === undefined) throw format.unexpected('type', '"json_schema"')
  if (!schema) throw format.unexpected('schema', 'a JSON schema object')
  checkJson(schema, format.where('schema'))
  return { responseFormat: { type: 'json_schema', schema } }
}
