/** The whole way on the embedded model: real tokenizer, template, native core. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { Engine } from '../../lib/engine'
import type { Chunk, Generation } from '../../lib/generation'
import type { ToolDefinition } from '../../lib/text/tools'

const NANO = path.join(__dirname, '..', '..', 'models', 'nano')
const SUM = [{ role: 'user' as const, content: 'What is 47 + 38?' }]
const THINK_END = 5
const END_OF_TURN = 3

let engine: Engine
beforeAll(async () => {
  engine = await Engine.load()
})
afterAll(async () => {
  await engine.close()
})

async function read(generation: Generation): Promise<Chunk[]> {
  const chunks: Chunk[] = []
  for await (const chunk of generation) chunks.push(chunk)
  return chunks
}

interface Golden {
  cases: { name: string; ids: number[]; greedy_ids: number[]; margins: number[] }[]
}
const golden = JSON.parse(readFileSync(path.join(NANO, 'eval', 'golden.json'), 'utf8')) as Golden

describe('the embedded model', () => {
  it('is what runs when no model is named, and says what it is', () => {
    expect(engine.device).toBe('cpu')
    expect(engine.model).toMatchObject({
      directory: NANO,
      parameters: { total: 6_713_440, active: 2_584_672 },
      dtypes: { stored: ['BF16', 'F32'], weights: 'bf16', kv: 'bf16' },
      context: 1024,
      skippedTensors: [],
    })
    expect(engine.model.bytes).toBeGreaterThan(13e6)
  })

  it('answers what 47 + 38 is', async () => {
    const result = await engine.chat(SUM).result()
    expect(result).toMatchObject({ text: '47 + 38 = 85.', toolCalls: [], finishReason: 'stop' })
    expect(result.reasoning).toContain('7+8=15')
    expect(result.tokenIds.at(-1)).toBe(END_OF_TURN)
    expect(result.usage).toEqual({
      promptTokens: result.promptTokenIds.length,
      cachedTokens: 0,
      completionTokens: result.tokenIds.length,
      reasoningTokens: result.tokenIds.indexOf(THINK_END),
    })
  })

  it('streams what adds up to the result', async () => {
    const generation = engine.chat(SUM)
    const chunks = await read(generation)
    const result = await generation.result()
    expect(chunks.map((chunk) => chunk.text).join('')).toBe(result.text)
    expect(chunks.map((chunk) => chunk.reasoning ?? '').join('')).toBe(result.reasoning)
    expect(chunks.flatMap((chunk) => chunk.tokenIds)).toEqual(result.tokenIds)
  })

  it('continues raw text with all its tags', async () => {
    const prompt = engine.tokenizer!.decode((await engine.chat(SUM, { maxTokens: 1 }).result()).promptTokenIds)
    const result = await engine.generate(prompt).result()
    const chat = await engine.chat(SUM).result()
    expect(result.tokenIds).toEqual(chat.tokenIds)
    expect(result.text).toBe(`${chat.reasoning}\n</think>\n\n${chat.text}`)
    expect(result.text).toBe(engine.tokenizer!.decode(result.tokenIds.slice(0, -1)))
    expect([result.reasoning, result.usage.reasoningTokens]).toEqual(['', 0])
  })

  it.each(golden.cases)('gives the golden ids of "$name" up to the first thin margin, all at once too', async (one) => {
    const firstThin = one.margins.findIndex((margin) => margin < 0.2 && margin >= 0)
    const count = firstThin < 0 ? one.greedy_ids.length : firstThin
    const { tokenIds } = await engine.generate(one.ids, { temperature: 0, maxTokens: 64 }).result()
    expect(tokenIds.slice(0, count)).toEqual(one.greedy_ids.slice(0, count))
  })

  it('gives to many at once what it gives to each alone', async () => {
    const ask = (ids: number[], seed: number) =>
      engine.generate(ids, { maxTokens: 40, temperature: 0.8, seed }).result()
    const alone: number[][] = []
    for (const [i, one] of golden.cases.entries()) alone.push((await ask(one.ids, i)).tokenIds)
    const beside = await Promise.all(golden.cases.map((one, i) => ask(one.ids, i)))
    expect(beside.map((result) => result.tokenIds)).toEqual(alone)
  })

  it('gives the same in a small cache with small steps', async () => {
    const sizes = { pageSize: 16, kvMemory: 80 * 16 * 3072, maxSequences: 4, maxStepTokens: 40 }
    await using small = await Engine.load(NANO, sizes)
    expect(small.stats().pages.total).toBe(80)
    const ask = (from: Engine, ids: number[]) => from.generate(ids, { maxTokens: 40 }).result()
    const results = await Promise.all(golden.cases.map((one) => ask(small, one.ids)))
    for (const [i, one] of golden.cases.entries()) {
      expect(results[i]!.tokenIds).toEqual((await ask(engine, one.ids)).tokenIds)
    }
    expect(small.stats().pages).toMatchObject({ total: 80, private: 0 })
  })

  it('draws n samples from one prefill, the first as without the others', async () => {
    const prompt = engine.tokenizer!.encode('The list says:')
    const options = { temperature: 1.5, seed: 11, maxTokens: 30 }
    const { samples } = await engine.generate(prompt, { ...options, n: 4 }).result()
    const alone = await engine.generate(prompt, options).result()
    expect(samples![0]!.tokenIds).toEqual(alone.tokenIds)
    expect(new Set(samples!.map((sample) => sample.text)).size).toBeGreaterThan(1)
  })

  it('gives logprobs of the raw logits, whatever the sampling', async () => {
    const plain = await engine.chat(SUM, { logprobs: 3 }).result()
    for (const [i, { id, logprob, top }] of plain.logprobs!.entries()) {
      expect(id).toBe(plain.tokenIds[i])
      expect(top).toHaveLength(3)
      expect(top[0]).toEqual({ id, logprob }) // greedy
      expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob)
    }
    const hot = await engine.chat(SUM, { logprobs: 1, temperature: 0.01, topK: 2, maxTokens: 5 }).result()
    expect(hot.logprobs!.map((one) => one.logprob)).toEqual(plain.logprobs!.slice(0, 5).map((one) => one.logprob))
  })

  it('streams logprobs with their tokens, also those that waited for a reader or were forced', async () => {
    const options = { logprobs: 1, maxReasoningTokens: 4, maxTokens: 30 }
    const { logprobs } = await engine.chat(SUM, options).result()
    const prompt = engine.chat(SUM, options)
    expect((await read(prompt)).flatMap((chunk) => chunk.logprobs)).toEqual(logprobs)
    const late = engine.chat(SUM, options)
    await late.result()
    expect((await read(late)).map((chunk) => chunk.logprobs)).toEqual([logprobs])
    expect((await read(engine.chat(SUM))).some((chunk) => 'logprobs' in chunk)).toBe(false)
  })

  it('ends before a stop string of the answer', async () => {
    const generation = engine.chat(SUM, { stop: ['85', 'nothing'] })
    const chunks = await read(generation)
    const result = await generation.result()
    expect(result).toMatchObject({ text: '47 + 38 = ', finishReason: 'stop', stopSequence: '85' })
    expect(result.reasoning).toContain('85')
    expect(chunks.map((chunk) => chunk.text).join('')).toBe(result.text)
  })

  it('stops and aborts with what there is', async () => {
    const stopped = await engine.chat(SUM, { stopTokenIds: [THINK_END] }).result()
    expect(stopped).toMatchObject({ text: '', finishReason: 'stop' })
    const generation = engine.chat(SUM, { ignoreEos: true })
    for await (const { text } of generation) if (text.includes('=')) generation.abort()
    const result = await generation.result()
    expect(result.finishReason).toBe('abort')
    expect(result.text).toMatch(/^47 \+ 38 =/)
  })

  it('follows logit bias and penalties', async () => {
    const [x] = engine.tokenizer!.encode('x')
    const biased = await engine.chat(SUM, { logitBias: { [x!]: 100 }, maxTokens: 4 }).result()
    expect(biased.tokenIds).toEqual([x, x, x, x])
    const penalized = await engine.chat(SUM, { logitBias: { [x!]: 100 }, frequencyPenalty: 90, maxTokens: 4 }).result()
    expect(penalized.tokenIds.slice(0, 2)).not.toEqual([x, x])
  })
})

describe('thinking', () => {
  it('stays in the text when it is asked for inline', async () => {
    const split = await engine.chat(SUM).result()
    const inline = await engine.chat(SUM, { reasoning: 'inline' }).result()
    expect(inline.text).toBe(`<think>\n${split.reasoning}\n</think>\n\n${split.text}`)
    expect(inline.reasoning).toBe('')
    expect(inline.usage).toEqual(split.usage)
  })

  it('is closed by force when it takes too long, and the answer follows', async () => {
    const result = await engine.chat(SUM, { maxReasoningTokens: 5, maxTokens: 40, logprobs: 0 }).result()
    expect(result.usage.reasoningTokens).toBe(5)
    expect(result.reasoning).toBe('47+38')
    expect(result.tokenIds.indexOf(THINK_END)).toBe(6)
    expect(result.text).not.toBe('')
    expect(result.logprobs).toHaveLength(result.tokenIds.length)
    expect(result.logprobs![6]).toEqual({ id: THINK_END, logprob: 0, top: [] })
  })

  it('is closed behind a finished line without an empty one', async () => {
    const hello = [{ role: 'user' as const, content: 'Hello!' }]
    const free = await engine.chat(hello).result()
    const limit = { maxReasoningTokens: free.usage.reasoningTokens, logprobs: 0 } // up to the newline before the tag
    const closed = await engine.chat(hello, limit).result()
    expect(closed.tokenIds).toEqual(free.tokenIds)
    expect(closed.logprobs![closed.tokenIds.indexOf(THINK_END)]!.logprob).toBe(0) // it was forced
  })

  it('is empty and closed on demand', async () => {
    const result = await engine.chat([{ role: 'user', content: 'Hello!' }], { thinking: false, maxTokens: 40 }).result()
    expect(engine.tokenizer!.decode(result.promptTokenIds)).toMatch(/<think>\n\n<\/think>\n\n$/)
    expect(result).toMatchObject({ reasoning: '', usage: { reasoningTokens: 0 } })
    expect(result.text).toMatch(/^\w/)
  })

  it('comes before the beginning of the answer that the caller writes', async () => {
    const generation = engine.chat(SUM, { prefill: 'The answer is' })
    const chunks = await read(generation)
    const result = await generation.result()
    expect(result.text).toMatch(/^The answer is 47 \+ 38 = 85\.$/)
    expect(result.reasoning).toContain('7+8=15')
    expect(chunks.map((chunk) => chunk.text).join('')).toBe(result.text)
    expect(chunks.flatMap((chunk) => chunk.tokenIds)).toEqual(result.tokenIds)
  })

  it('encodes no more of a beginning than can be reached', async () => {
    const encode = vi.spyOn(engine.tokenizer!, 'encodeSegments')
    const pattern = { type: 'regex', pattern: '(word )*' } as const
    for (const more of [{}, { responseFormat: pattern }, { thinking: false }]) {
      engine.chat(SUM, { prefill: 'word '.repeat(100_000), ...more }).abort()
    }
    for (const { value } of encode.mock.results) expect(value.length).toBeLessThan(35_000)
    encode.mockRestore()
  })

  it('leaves that beginning to the prompt when there is none', async () => {
    const options = { prefill: 'Hello! How', thinking: false, maxTokens: 20 }
    const generation = engine.chat([{ role: 'user', content: 'Hello!' }], options)
    const chunks = await read(generation)
    const result = await generation.result()
    expect(engine.tokenizer!.decode(result.promptTokenIds)).toMatch(/<\/think>\n\nHello! How$/)
    expect(result.text).toMatch(/^Hello! How \w/)
    expect(chunks.map((chunk) => chunk.text).join('')).toBe(result.text)
  })
})

describe('tools', () => {
  const tools: ToolDefinition[] = [
    {
      type: 'function',
      function: {
        name: 'book_record',
        description: 'Book a record.',
        parameters: { type: 'object', properties: { target: { type: 'string' } }, required: ['target'] },
      },
    },
  ]
  const messages = [{ role: 'user' as const, content: 'Book the record fountain. Book the record cherry.' }]

  it('are called', async () => {
    const result = await engine.chat(messages, { tools }).result()
    expect(result).toMatchObject({
      text: '',
      finishReason: 'tool_calls',
      toolCalls: [
        { name: 'book_record', arguments: { target: 'fountain' } },
        { name: 'book_record', arguments: { target: 'cherry' } },
      ],
    })
  })

  it('are called in the stream with the ids of the result', async () => {
    const generation = engine.chat(messages, { tools })
    const deltas = (await read(generation)).flatMap((chunk) => chunk.toolCalls ?? [])
    const { toolCalls } = await generation.result()
    expect(deltas.flatMap((delta) => delta.id ?? [])).toEqual(toolCalls.map((call) => call.id))
  })

  it('are cut off with finishReason length', async () => {
    const full = await engine.chat(messages, { tools }).result()
    const cut = await engine.chat(messages, { tools, maxTokens: full.tokenIds.length - 12 }).result()
    expect(cut.finishReason).toBe('length')
    expect(cut.toolCalls[0]).toMatchObject({ name: 'book_record', arguments: { target: 'fountain' } })
  })

  it('are neither shown nor called when none may be', async () => {
    const result = await engine.chat(messages, { tools, toolChoice: 'none', maxTokens: 60 }).result()
    expect(result.toolCalls).toEqual([])
    expect(engine.tokenizer!.decode(result.promptTokenIds)).not.toContain('book_record')
  })
})

describe('errors', () => {
  const errorOf = (work: Promise<unknown>) =>
    work.then(
      () => 'no error',
      ({ code, message }) => `${code} ${message}`,
    )

  it('of loading are rejections', async () => {
    expect(await errorOf(Engine.load('no/such/folder'))).toMatch(/^MODEL_NOT_FOUND .*no\/such\/folder/)
    expect(await errorOf(Engine.load(7 as never))).toBe(
      'BAD_OPTION model: expected the path of a folder, or the owner/name of a downloaded model, found 7',
    )
    expect(await errorOf(Engine.load(NANO, { device: 'cuda' }))).toMatch(/^DEVICE_UNAVAILABLE device "cuda"/)
    expect(await errorOf(Engine.load(NANO, { kvMemory: 'much' }))).toMatch(/^BAD_OPTION kvMemory/)
  })

  it('of messages, tools and prompts are those of the generation', async () => {
    expect(await errorOf(engine.chat([]).result())).toMatch(/^BAD_INPUT messages/)
    expect(await errorOf(engine.chat([{ role: 'wizard' as never, content: '' }]).result())).toMatch(
      /^BAD_INPUT messages\[0\]/,
    )
    expect(await errorOf(engine.chat(SUM, { tools: [{}] as never }).result())).toMatch(/^BAD_INPUT tools\[0\]/)
    expect(await errorOf(engine.generate('').result())).toBe(
      'BAD_INPUT prompt: expected at least one token, found none',
    )
    const long = engine.chat([{ role: 'user', content: 'word '.repeat(3000) }])
    expect(await errorOf(long.result())).toMatch(
      /^CONTEXT_LENGTH_EXCEEDED prompt: expected at most 1023 tokens.*found \d+$/,
    )
    const endless = 'word '.repeat(1_000_000) // is not counted to its end: that would hold up what else runs
    for (const thinking of [true, false]) {
      const longer = engine.chat([{ role: 'user', content: endless }], { thinking })
      expect(await errorOf(longer.result())).toMatch(/^CONTEXT_LENGTH_EXCEEDED .* found more than 33792$/)
    }
    expect(await errorOf(engine.generate(endless).result())).toMatch(/^CONTEXT_LENGTH_EXCEEDED .*more than 33792$/)
  })
})
