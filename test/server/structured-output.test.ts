/** Structured output and tools that must be called, as each client asks for them; a schema that cannot be kept is a 400 that names its part. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import Anthropic from '@anthropic-ai/sdk'
import { generateText, jsonSchema, Output, streamText } from 'ai'
import Ajv2020 from 'ajv/dist/2020'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { idle, serve } from './http'

const PROMPT = 'What is 47 + 38?'
const SUM = [{ role: 'user' as const, content: PROMPT }]
const SCHEMA = {
  type: 'object' as const,
  properties: {
    sum: { type: 'integer', minimum: 0, maximum: 999 },
    unit: { enum: ['one', 'ten'] },
    note: { type: 'string', maxLength: 8 },
  },
  required: ['sum', 'unit'],
  additionalProperties: false,
}
const isAnswer = new Ajv2020().compile(SCHEMA)
const UNSUPPORTED = { type: 'object' as const, properties: { sum: { type: 'integer', not: { const: 1 } } } }
const NAME = 'book_record'

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
let openai: OpenAI
let anthropic: Anthropic
beforeAll(async () => {
  engine = await Engine.load()
  server = await serve(engine)
  openai = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
  anthropic = new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await idle(engine)
  server.stop()
  await engine.close()
})

const checked = (text: string | null | undefined) => expect(isAnswer(JSON.parse(text ?? '')), text ?? '').toBe(true)

describe('the openai package', () => {
  const chat = (schema: Record<string, unknown>) => ({
    model: 'm',
    messages: SUM,
    temperature: 1.2,
    response_format: { type: 'json_schema' as const, json_schema: { name: 'answer', strict: true, schema } },
  })

  it('chats: JSON of a schema, whole and streamed, and for each of n', async () => {
    const whole = await openai.chat.completions.create({ ...chat(SCHEMA), n: 3 })
    for (const { message } of whole.choices) checked(message.content)
    let text = ''
    for await (const { choices } of await openai.chat.completions.create({ ...chat(SCHEMA), stream: true })) {
      text += choices[0]?.delta.content ?? ''
    }
    checked(text)
  })

  it('chats: any JSON object, and what a regular expression matches', async () => {
    const object = { type: 'json_object' as const }
    const some = await openai.chat.completions.create({ model: 'm', messages: SUM, response_format: object })
    expect(some.choices[0]!.message.content).toMatch(/^\{/)
    const regex = { type: 'regex', pattern: '(yes|no)!' } as never
    const said = await openai.chat.completions.create({ model: 'm', messages: SUM, response_format: regex })
    expect(said.choices[0]!.message.content).toMatch(/^(yes|no)!$/)
  })

  it('chats: a schema that is not supported', async () => {
    const refused = openai.chat.completions.create(chat(UNSUPPORTED))
    await expect(refused).rejects.toBeInstanceOf(OpenAI.BadRequestError)
    await expect(refused).rejects.toThrow(/response_format\.json_schema\.schema\.properties\.sum\.not/)
  })

  it('chats: a tool that must be called, any or by name, and one call at most', async () => {
    const tool = (name: string) => ({ type: 'function' as const, function: { name, parameters: SCHEMA } })
    const asked = { model: 'm', messages: SUM, temperature: 1.2, tools: [tool('a'), tool(NAME)] }
    const any = await openai.chat.completions.create({ ...asked, tool_choice: 'required', parallel_tool_calls: false })
    const named = await openai.chat.completions.create({
      ...asked,
      tool_choice: { type: 'function', function: { name: NAME } },
    })
    for (const { choices } of [any, named]) {
      expect(choices[0]!.finish_reason).toBe('tool_calls')
      const [call, ...more] = choices[0]!.message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[]
      checked(call!.function.arguments)
      expect(more).toEqual([])
    }
    expect(named.choices[0]!.message.tool_calls).toMatchObject([{ function: { name: NAME } }])
  })

  it('responses: JSON of a schema', async () => {
    const format = { type: 'json_schema' as const, name: 'answer', schema: SCHEMA as never }
    checked((await openai.responses.create({ model: 'm', input: PROMPT, text: { format } })).output_text)
    const stream = openai.responses.stream({ model: 'm', input: PROMPT, text: { format: { ...format } } })
    checked((await stream.finalResponse()).output_text)
    const refused = { ...format, schema: UNSUPPORTED as never }
    await expect(openai.responses.create({ model: 'm', input: PROMPT, text: { format: refused } })).rejects.toThrow(
      /text\.format\.schema\.properties\.sum\.not/,
    )
  })
})

describe('the Anthropic package', () => {
  const asked = { model: 'm', max_tokens: 300, messages: SUM }

  it('messages: JSON of a schema', async () => {
    const format = (schema: object) => ({ format: { type: 'json_schema' as const, schema: schema as never } })
    const { content } = await anthropic.messages.create({ ...asked, output_config: format(SCHEMA) })
    const text = content.find((block) => block.type === 'text')
    checked(text?.text)
    const refused = anthropic.messages.create({ ...asked, output_config: format(UNSUPPORTED) })
    await expect(refused).rejects.toBeInstanceOf(Anthropic.BadRequestError)
    await expect(refused).rejects.toThrow(/output_config\.format\.schema\.properties\.sum\.not/)
  })

  it.each([
    { type: 'any' as const, disable_parallel_tool_use: true },
    { type: 'tool' as const, name: NAME },
  ])('messages: a tool that must be called: %j', async (tool_choice) => {
    const tools = [{ name: NAME, input_schema: SCHEMA }]
    const { content, stop_reason } = await anthropic.messages.create({ ...asked, tools, tool_choice })
    const calls = content.filter((block) => block.type === 'tool_use')
    expect([calls.length, stop_reason]).toEqual([1, 'tool_use'])
    expect(isAnswer(calls[0]!.input)).toBe(true)
  })
})

describe('the ai package', () => {
  const model = () => {
    return createOpenAICompatible({ name: 'm2', baseURL: `${server.url}/v1`, supportsStructuredOutputs: true })('any')
  }
  const output = Output.object({ schema: jsonSchema<{ sum: number }>(SCHEMA as never) })

  it('generates objects, and streams them', async () => {
    const whole = await generateText({ model: model(), prompt: PROMPT, output })
    expect(isAnswer(whole.output)).toBe(true)
    expect(isAnswer(await streamText({ model: model(), prompt: PROMPT, output }).output)).toBe(true)
  })
})
