/** Answers under a grammar, on the embedded model: what comes out follows it, whatever else happens to the sequence. */
import Ajv2020 from 'ajv/dist/2020'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import type { ChatOptions } from '../../lib/options'

const SUM = [{ role: 'user' as const, content: 'What is 47 + 38?' }]
const PERSON = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 12 },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    tags: { type: 'array', items: { enum: ['a', 'bc', 'd"e'] }, maxItems: 3 },
  },
  required: ['name', 'age'],
  additionalProperties: false,
}
const SCHEMA: ChatOptions = { responseFormat: { type: 'json_schema', schema: PERSON }, maxReasoningTokens: 20 }
const TOOLS = [
  {
    name: 'read_job',
    description: 'Read a job.',
    parameters: {
      type: 'object',
      properties: { job_id: { type: 'integer', minimum: 10, maximum: 99 } },
      required: ['job_id'],
    },
  },
  {
    name: 'clock',
    description: 'Get the current time in a place.',
    parameters: {
      type: 'object',
      properties: { place: { type: 'string', enum: ['Oslo', 'Rome <b>'] } },
      required: ['place'],
    },
  },
]
const isPerson = new Ajv2020().compile(PERSON)

let engine: Engine
beforeAll(async () => {
  engine = await Engine.load()
})
afterAll(async () => {
  const { pages, sequences } = engine.stats()
  expect([pages.private, sequences]).toEqual([0, { running: 0, waiting: 0 }])
  await engine.close()
})

const ask = (options: ChatOptions) => engine.chat(SUM, options).result()

describe('responseFormat', () => {
  it('gives JSON of the schema behind the thinking, and ends by itself', async () => {
    for (let seed = 0; seed < 8; seed++) {
      const result = await ask({ ...SCHEMA, temperature: 1.5, topK: 0, topP: 1, seed })
      expect(isPerson(JSON.parse(result.text)), result.text).toBe(true)
      expect(result.finishReason).toBe('stop')
      expect(result.reasoning).not.toBe('')
      expect(JSON.stringify(JSON.parse(result.text))).toBe(result.text) // no free whitespace
    }
  })

  it('gives any JSON object', async () => {
    const result = await ask({ responseFormat: { type: 'json_object' }, maxTokens: 400, maxReasoningTokens: 30 })
    if (result.finishReason === 'stop') expect(JSON.parse(result.text)).toBeTypeOf('object')
    expect(result.text).toMatch(/^\{/)
  })

  it('gives what a regular expression matches', async () => {
    const { text } = await ask({ responseFormat: { type: 'regex', pattern: '(yes|no), [a-c]{3}\\.' } })
    expect(text).toMatch(/^(yes|no), [a-c]{3}\.$/)
  })

  it('holds without thinking, and inline', async () => {
    const direct = await ask({ ...SCHEMA, thinking: false })
    expect([isPerson(JSON.parse(direct.text)), direct.reasoning]).toEqual([true, ''])
    const inline = await ask({ ...SCHEMA, reasoning: 'inline' })
    expect(isPerson(JSON.parse(inline.text.split('</think>\n\n')[1]!))).toBe(true)
  })

  it.each([true, false])('goes on from the beginning that the caller wrote, thinking: %s', async (thinking) => {
    const { text } = await ask({ ...SCHEMA, thinking, prefill: '{"name":"An' })
    expect(text).toMatch(/^\{"name":"An/)
    expect(isPerson(JSON.parse(text))).toBe(true)
    await expect(ask({ ...SCHEMA, thinking, prefill: '{"surname"' })).rejects.toThrow(
      'prefill: expected the beginning of an answer that responseFormat and toolChoice allow, found "{\\"surname\\""',
    )
  })

  it('cannot end in its thinking, nor call tools there', async () => {
    const bias = { [engine.tokenizer!.idOf('[e~[')!]: 1000, [engine.tokenizer!.idOf('<minimax:tool_call>')!]: 1000 }
    const result = await ask({ ...SCHEMA, logitBias: bias, tools: TOOLS, toolChoice: 'none' })
    expect(isPerson(JSON.parse(result.text))).toBe(true)
  })

  it('is the same alone, beside others, in small steps, and again from the cache', async () => {
    const options = { ...SCHEMA, temperature: 1, seed: 5 }
    const alone = await ask(options)
    const beside = await Promise.all([ask(options), ask({ temperature: 1 }), ask(options), ask({ ...SCHEMA, n: 3 })])
    expect(beside[0]!.tokenIds).toEqual(alone.tokenIds)
    expect(beside[2]!.tokenIds).toEqual(alone.tokenIds)
    const small = await Engine.load(undefined, { maxStepTokens: 5, maxSequences: 2, pageSize: 3 })
    expect((await small.chat(SUM, options).result()).tokenIds).toEqual(alone.tokenIds)
    await small.close()
  })

  it('is the same when it has to give way', async () => {
    const tight = await Engine.load(undefined, {
      pageSize: 16,
      kvMemory: 12 * 16 * 3 * 2 * 2 * 128 * 2,
      maxContext: 160,
    })
    const options = { ...SCHEMA, temperature: 1, maxTokens: 90 }
    const all = await Promise.all([0, 1, 2, 3].map((seed) => tight.chat(SUM, { ...options, seed }).result()))
    for (const [seed, { tokenIds }] of all.entries()) {
      expect(tokenIds).toEqual((await ask({ ...options, seed })).tokenIds)
    }
    await tight.close()
  })

  it('holds for each of several samples, a fork and a turn of a conversation', async () => {
    const { samples } = await ask({ ...SCHEMA, n: 4, temperature: 1.2, seed: 1 })
    expect(samples!.every(({ text }) => isPerson(JSON.parse(text)))).toBe(true)
    expect(new Set(samples!.map(({ text }) => text)).size).toBeGreaterThan(1)

    const first = engine.chat(SUM, { ...SCHEMA, temperature: 1.2, seed: 2, maxTokens: 32 })
    await first.result()
    const forked = await engine.fork(first, { maxTokens: 300 }).result()
    expect(isPerson(JSON.parse(forked.text))).toBe(true)

    const conversation = engine.conversation()
    await conversation.send({ role: 'user', content: 'Hello!' }).result()
    const turn = await conversation.send({ role: 'user', content: 'What is 47 + 38?' }, SCHEMA).result()
    expect(isPerson(JSON.parse(turn.text))).toBe(true)
    expect((await conversation.send({ role: 'user', content: 'What is 47 + 38?' }).result()).text).toContain('85')
  })

  it('refuses to go on from what it does not allow', async () => {
    const first = engine.chat(SUM, { maxTokens: 60, ignoreEos: true })
    await first.result()
    await expect(engine.fork(first, { ...SCHEMA, ignoreEos: false, maxTokens: 300 }).result()).rejects.toMatchObject({
      code: 'BAD_INPUT',
    })
  })

  it('names what of a schema it does not support', async () => {
    const schema = { type: 'object', properties: { x: { type: 'array', uniqueItems: true } } }
    await expect(ask({ responseFormat: { type: 'json_schema', schema } })).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining('responseFormat.schema.properties.x.uniqueItems'),
    })
    const circle = { type: 'object', properties: {} as Record<string, object> }
    circle.properties.x = circle
    for (const [odd, found] of [
      [circle, /^responseFormat\.schema: .* a circular reference$/],
      [{ enum: [1n] }, /^responseFormat\.schema: expected JSON data, found 1n$/],
    ] as const) {
      const refused = ask({ responseFormat: { type: 'json_schema', schema: odd } })
      await expect(refused).rejects.toMatchObject({ code: 'BAD_INPUT', message: expect.stringMatching(found) })
    }
    await expect(ask({ responseFormat: { type: 'regex', pattern: 'a(?=b)' } })).rejects.toMatchObject({
      code: 'BAD_INPUT',
      message: expect.stringContaining('responseFormat.pattern'),
    })
  })
})

describe('toolChoice', () => {
  it('"required": calls at least one tool, with arguments of its schema', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const result = await ask({
        tools: TOOLS,
        toolChoice: 'required',
        temperature: 1.5,
        topK: 0,
        seed,
        maxReasoningTokens: 10,
      })
      expect([result.finishReason, result.text]).toEqual(['tool_calls', ''])
      for (const { name, arguments: given } of result.toolCalls) {
        const { job_id, place } = given as { job_id: number; place: string }
        if (name === 'read_job') expect(job_id >= 10 && job_id <= 99).toBe(true)
        else expect([name, ['Oslo', 'Rome <b>'].includes(place)]).toEqual(['clock', true])
      }
    }
  })

  it('a name: calls that one, once', async () => {
    const result = await ask({ tools: TOOLS, toolChoice: { name: 'clock' }, temperature: 1 })
    expect(result.toolCalls).toMatchObject([{ name: 'clock' }])
    expect(result.finishReason).toBe('tool_calls')
  })

  it('"required" without parallelToolCalls: calls one tool', async () => {
    for (let seed = 0; seed < 4; seed++) {
      const options = {
        tools: TOOLS,
        toolChoice: 'required',
        parallelToolCalls: false,
        temperature: 2,
        topK: 0,
        seed,
      } as const
      expect((await ask(options)).toolCalls).toHaveLength(1)
    }
  })

  it('"auto" beside a format: an answer of that format, or calls', async () => {
    const result = await ask({ ...SCHEMA, tools: TOOLS })
    if (result.toolCalls.length === 0) expect(isPerson(JSON.parse(result.text))).toBe(true)
    const call = await engine
      .chat([{ role: 'user', content: 'read the job 63' }], { ...SCHEMA, maxReasoningTokens: 60, tools: TOOLS })
      .result()
    expect(call.toolCalls).toMatchObject([{ name: 'read_job', arguments: { job_id: 63 } }])
  })

  it.each([
    [{ toolChoice: 'required' }, 'toolChoice: expected tools to choose from, found none'],
    [
      { toolChoice: { name: 'f' }, tools: TOOLS },
      'toolChoice: expected the name of a tool (read_job, clock), found "f"',
    ],
  ] as [ChatOptions, string][])('refuses %j', async (options, message) => {
    await expect(ask(options)).rejects.toMatchObject({ code: 'BAD_OPTION', message })
  })
})
