/** Vercel's AI SDK against the embedded model, as a provider of OpenAI's kind. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { APICallError, generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { idle, serve, until } from './http'

const PROMPT = 'What is 47 + 38?'
const BOOK = 'Book the record fountain. Book the record cherry.'

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
let provider: ReturnType<typeof createOpenAICompatible>
beforeAll(async () => {
  engine = await Engine.load(undefined, { pageSize: 16 })
  server = await serve(engine)
  provider = createOpenAICompatible({ name: 'm2', baseURL: `${server.url}/v1`, includeUsage: true })
})
afterAll(async () => {
  server.stop()
  await engine.close()
})

function bookRecord(booked: string[]) {
  return {
    book_record: tool({
      description: 'Book a record.',
      inputSchema: jsonSchema<{ target: string }>({
        type: 'object',
        properties: { target: { type: 'string' } },
        required: ['target'],
      }),
      execute: async ({ target }) => {
        booked.push(target)
        return 'done'
      },
    }),
  }
}

it('generates text, with reasoning and usage', async () => {
  const { text, reasoningText, usage, finishReason } = await generateText({ model: provider('any'), prompt: PROMPT })
  const result = await engine.chat([{ role: 'user', content: PROMPT }]).result()
  expect({ text, reasoningText, finishReason }).toEqual({
    text: result.text,
    reasoningText: result.reasoning,
    finishReason: 'stop',
  })
  expect(usage).toMatchObject({
    inputTokens: result.usage.promptTokens,
    outputTokens: result.usage.completionTokens,
    outputTokenDetails: { reasoningTokens: result.usage.reasoningTokens },
  })
})

it('streams text, reasoning and usage', async () => {
  const stream = streamText({ model: provider('any'), prompt: PROMPT })
  let [text, reasoning] = ['', '']
  for await (const part of stream.fullStream) {
    if (part.type === 'text-delta') text += part.text
    if (part.type === 'reasoning-delta') reasoning += part.text
    if (part.type === 'error') throw part.error
  }
  const result = await engine.chat([{ role: 'user', content: PROMPT }]).result()
  expect({ text, reasoning }).toEqual({ text: result.text, reasoning: result.reasoning })
  expect((await stream.totalUsage).outputTokens).toBe(result.usage.completionTokens)
})

it.each(['whole', 'streamed'])('calls tools and goes on from their results, %s', async (how) => {
  const booked: string[] = []
  const asked = { model: provider('any'), prompt: BOOK, tools: bookRecord(booked), stopWhen: stepCountIs(2) }
  const steps = how === 'whole' ? (await generateText(asked)).steps : await streamedSteps(asked)
  expect(booked).toEqual(['fountain', 'cherry'])
  expect(steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop'])
  expect(steps[1]!.text).not.toBe('')
  expect(steps[1]!.usage.inputTokenDetails.cacheReadTokens).toBeGreaterThan(steps[0]!.usage.inputTokens! / 2)
})

async function streamedSteps(asked: Parameters<typeof streamText>[0]) {
  const stream = streamText(asked)
  await stream.consumeStream()
  return stream.steps
}

it('an error is the error of the SDK', async () => {
  const failing = generateText({ model: provider('any'), prompt: 'word '.repeat(3000), maxRetries: 0 })
  await expect(failing).rejects.toSatisfy((error) => APICallError.isInstance(error) && error.statusCode === 400)
  await expect(failing).rejects.toThrow(/expected at most 1023 tokens/)
})

it('an abort ends the generation', async () => {
  const abort = new AbortController()
  const stream = streamText({
    ...{ model: provider('any'), prompt: PROMPT, abortSignal: abort.signal },
    providerOptions: { m2: { ignore_eos: true, n: 8 } },
  })
  for await (const part of stream.fullStream) if (part.type === 'reasoning-delta') abort.abort()
  await idle(engine)
  await until(() => server.log.at(-1)?.status === 499)
})
