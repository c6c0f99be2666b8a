import { describe, expect, it } from 'vitest'
import { checkEngineOptions } from '../../lib/engine-settings'
import { checkChatOptions, checkGenerateOptions, type ModelFacts } from '../../lib/generation-settings'
import type { ChatOptions, EngineOptions, GenerateOptions } from '../../lib/options'

const MODEL: ModelFacts = {
  vocabSize: 100,
  context: 50,
  eosTokenIds: [3],
  generation: { temperature: 0.7, topP: 0.95, topK: 40, minP: 0.02, repetitionPenalty: 1.1 },
  hasTokenizer: true,
  rows: 8,
}

/** "CODE message" of what is thrown. */
function failure(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    return `${code} ${message}`
  }
  return 'no error'
}

const engine = (options: object) => checkEngineOptions(options as EngineOptions)
const generate = (options: object) => checkGenerateOptions(options as GenerateOptions, MODEL)
const chat = (options: object) => checkChatOptions(options as ChatOptions, MODEL)

describe('engine options', () => {
  it('have their defaults', () => {
    const { onProgress, ...settings } = engine({})
    expect(settings).toEqual({
      device: 'auto',
      threads: 0,
      kvDtype: 'bf16',
      weightDtype: 'auto',
      activationDtype: 'auto',
      pageSize: 64,
      kvMemory: undefined,
      maxContext: undefined,
      maxSequences: 64,
      maxStepTokens: undefined,
      maxQueue: 10_000,
      prefixCache: true,
    })
    expect(onProgress({ phase: 'weights', done: 1, total: 1 })).toBeUndefined()
  })

  it('are taken as given', () => {
    const types = { kvDtype: 'fp8', weightDtype: 'fp8', activationDtype: 'fp8' }
    const given = { device: 'cuda:1', threads: 3, ...types, pageSize: 16, kvMemory: '2GiB' }
    const counts = {
      maxContext: 128,
      maxSequences: 2,
      maxStepTokens: 32,
      maxQueue: 5,
      prefixCache: false,
      onProgress: () => {},
    }
    expect(engine({ ...given, ...counts })).toEqual({ ...given, ...counts })
  })

  it.each([
    [{ treads: 2 }, 'Engine.load: unknown option "treads"; did you mean "threads"?'],
    [{ threads: 0 }, 'threads: expected an integer of at least 1 and at most 1024, found 0'],
    [{ threads: 1.5 }, 'threads: expected an integer of at least 1 and at most 1024, found 1.5'],
    [{ threads: '2' }, 'threads: expected an integer of at least 1 and at most 1024, found "2"'],
    [{ pageSize: Number.NaN }, 'pageSize: expected an integer of at least 1 and at most 65536, found NaN'],
    [{ maxContext: 1 }, 'maxContext: expected an integer of at least 2 and at most 1073741824, found 1'],
    [{ maxSequences: null }, 'maxSequences: expected an integer of at least 1 and at most 65536, found null'],
    [{ device: 'gpu' }, 'device: expected "auto", "cpu", "cuda", "cuda:0" or "emulated", found "gpu"'],
    [{ device: 7 }, 'device: expected "auto", "cpu", "cuda", "cuda:0" or "emulated", found 7'],
    [{ kvDtype: 'f16' }, 'kvDtype: expected "auto", "f32", "bf16" or "fp8", found "f16"'],
    [{ weightDtype: 'int8' }, 'weightDtype: expected "auto", "bf16", "fp8" or "int4", found "int8"'],
    [{ activationDtype: 'bf16' }, 'activationDtype: expected "auto" or "fp8", found "bf16"'],
    [{ prefixCache: 'yes' }, 'prefixCache: expected true or false, found "yes"'],
    [{ onProgress: true }, 'onProgress: expected a function, found true'],
    [null, 'Engine.load: options: expected an object, found null'],
    ['fast', 'Engine.load: options: expected an object, found "fast"'],
  ])('refuse %j', (options, message) => {
    expect(failure(() => engine(options as object))).toBe(`BAD_OPTION ${message}`)
  })
})

describe('options of a generation', () => {
  it('have the defaults of the model', () => {
    const settings = generate({})
    expect(settings).toMatchObject({
      maxTokens: Infinity,
      stop: [],
      n: 1,
      deadlineMs: Infinity,
      priority: 0,
      signal: undefined,
    })
    expect(settings.sampling).toMatchObject({
      ...MODEL.generation,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logprobs: -1,
      biasIds: new Int32Array(0),
      biasValues: new Float32Array(0),
    })
    expect([...settings.stopTokenIds]).toEqual([3])
  })

  it('that are undefined have their defaults too', () => {
    const names = ['maxTokens', 'temperature', 'topP', 'topK', 'seed', 'stop', 'ignoreEos', 'logprobs', 'signal', 'n']
    const settings = generate(Object.fromEntries(names.map((name) => [name, undefined])))
    expect(settings).toMatchObject({ n: 1, sampling: { temperature: 0.7 } })
  })

  it('are taken as given', () => {
    const { signal } = new AbortController()
    const settings = generate({
      maxTokens: 5,
      temperature: 2,
      topP: 1,
      topK: 0,
      minP: 1,
      repetitionPenalty: 0.5,
      presencePenalty: -1,
      frequencyPenalty: 2,
      logitBias: { 7: -100, 0: 1.5 },
      seed: 0x1_2345_6789,
      stop: 'end',
      stopTokenIds: [9],
      logprobs: 20,
      n: 8,
      deadlineMs: 100,
      priority: -3,
      cacheSalt: 'user 1',
      signal,
    })
    expect(settings).toMatchObject({
      maxTokens: 5,
      stop: ['end'],
      n: 8,
      deadlineMs: 100,
      priority: -3,
      signal,
      sampling: {
        temperature: 2,
        topP: 1,
        topK: 0,
        minP: 1,
        repetitionPenalty: 0.5,
        presencePenalty: -1,
        frequencyPenalty: 2,
        logprobs: 20,
        seedLow: 0x2345_6789,
        seedHigh: 1,
        biasIds: Int32Array.of(0, 7),
        biasValues: Float32Array.of(1.5, -100),
      },
    })
    expect([...settings.stopTokenIds]).toEqual([3, 9])
    expect([...generate({ ignoreEos: true, stopTokenIds: [9] }).stopTokenIds]).toEqual([9])
  })

  it('make a seed of 64 bits, drawn where none is given', () => {
    expect(generate({ seed: -1 }).sampling).toMatchObject({ seedLow: -1, seedHigh: -1 })
    const seeds = Array.from({ length: 5 }, () => generate({}).sampling)
    expect(new Set(seeds.map(({ seedLow, seedHigh }) => `${seedLow} ${seedHigh}`)).size).toBe(5)
  })

  it('take a top-k above the vocabulary for all of it, and a temperature next to nothing for greedy', () => {
    expect(generate({ topK: 1e12, temperature: 1e-7 }).sampling).toMatchObject({ topK: 100, temperature: 0 })
  })

  it.each([
    [{ maxToken: 5 }, 'generate: unknown option "maxToken"; did you mean "maxTokens"?'],
    [{ max_tokens: 5 }, 'generate: unknown option "max_tokens"; did you mean "maxTokens"?'],
    [{ tools: [] }, 'generate: unknown option "tools"; did you mean "topP"?'],
    [{ maxTokens: 0 }, 'maxTokens: expected an integer of at least 1, found 0'],
    [{ maxTokens: Infinity }, 'maxTokens: expected an integer of at least 1, found Infinity'],
    [{ temperature: -0.1 }, 'temperature: expected a number of at least 0, found -0.1'],
    [{ temperature: Number.NaN }, 'temperature: expected a number of at least 0, found NaN'],
    [{ temperature: '1' }, 'temperature: expected a number of at least 0, found "1"'],
    [{ temperature: 1e39 }, 'temperature: expected a number of at least 0, found 1e+39'],
    [{ topP: 0 }, 'topP: expected a number above 0 and at most 1, found 0'],
    [{ topP: 1e-60 }, 'topP: expected a number above 0 and at most 1, found 1e-60'],
    [{ topP: 1.1 }, 'topP: expected a number above 0 and at most 1, found 1.1'],
    [{ topK: -1 }, 'topK: expected an integer of at least 0, found -1'],
    [{ topK: 2.5 }, 'topK: expected an integer of at least 0, found 2.5'],
    [{ minP: 1.5 }, 'minP: expected a number of at least 0 and at most 1, found 1.5'],
    [{ repetitionPenalty: 0 }, 'repetitionPenalty: expected a number above 0, found 0'],
    [{ presencePenalty: Infinity }, 'presencePenalty: expected a number, found Infinity'],
    [{ frequencyPenalty: null }, 'frequencyPenalty: expected a number, found null'],
    [{ logitBias: [1] }, 'logitBias: expected an object of token id to number, found an array'],
    [{ logitBias: { 100: 1 } }, 'logitBias: expected token ids from 0 to 99, found 100'],
    [{ logitBias: { a: 1 } }, 'logitBias: expected token ids from 0 to 99, found "a"'],
    [{ logitBias: { '-1': 1 } }, 'logitBias: expected token ids from 0 to 99, found "-1"'],
    [{ logitBias: { 5: Number.NaN } }, 'logitBias[5]: expected a number, found NaN'],
    [{ logitBias: { 5: undefined } }, 'logitBias[5]: expected a number, found nothing'],
    [{ seed: 1.5 }, 'seed: expected an integer of at least -9007199254740991 and at most 9007199254740991, found 1.5'],
    [
      { seed: 2 ** 60 },
      'seed: expected an integer of at least -9007199254740991 and at most 9007199254740991, found 1152921504606847000',
    ],
    [{ stop: '' }, 'stop: expected a non-empty string, or several, found ""'],
    [{ stop: ['a', 5] }, 'stop: expected a non-empty string, or several, found 5'],
    [{ stopTokenIds: [100] }, 'stopTokenIds: expected token ids from 0 to 99, found 100'],
    [{ stopTokenIds: 3 }, 'stopTokenIds: expected an array of token ids, found 3'],
    [{ ignoreEos: 1 }, 'ignoreEos: expected true or false, found 1'],
    [{ logprobs: -1 }, 'logprobs: expected an integer of at least 0 and at most 100, found -1'],
    [{ logprobs: true }, 'logprobs: expected an integer of at least 0 and at most 100, found true'],
    [{ n: 0 }, 'n: expected an integer of at least 1, found 0'],
    [{ n: 9 }, 'n: expected at most 8: samples run at the same time, within maxSequences and maxStepTokens, found 9'],
    [{ deadlineMs: -1 }, 'deadlineMs: expected a number of at least 0, found -1'],
    [{ priority: Number.NaN }, 'priority: expected a number, found NaN'],
    [{ cacheSalt: 5 }, 'cacheSalt: expected a string, found 5'],
    [{ signal: {} }, 'signal: expected an AbortSignal, found an object'],
    [null, 'generate: options: expected an object, found null'],
  ])('refuse %j', (options, message) => {
    expect(failure(() => generate(options as object))).toBe(`BAD_OPTION ${message}`)
  })

  it('refuse stop strings without a tokenizer', () => {
    const message = 'BAD_OPTION stop: expected stopTokenIds, found strings: this model has no tokenizer.json'
    expect(failure(() => checkGenerateOptions({ stop: 'x' }, { ...MODEL, hasTokenizer: false }))).toBe(message)
  })
})

describe('options of a chat', () => {
  it('have their defaults', () => {
    expect(chat({})).toMatchObject({
      tools: undefined,
      toolChoice: 'auto',
      parallelToolCalls: true,
      responseFormat: undefined,
      reasoning: 'split',
      maxReasoningTokens: Infinity,
      thinking: true,
      prefill: '',
      keepReasoning: 'model',
      n: 1,
    })
  })

  it('hide the tools when none may be called', () => {
    const tools = [{ name: 'clock' }]
    expect(chat({ tools, toolChoice: 'auto' })).toMatchObject({ tools, toolChoice: 'auto' })
    expect(chat({ tools, toolChoice: 'none' })).toMatchObject({ tools: undefined, toolChoice: 'none' })
  })

  it('take no tokens of thinking for no thinking', () => {
    expect(chat({ maxReasoningTokens: 0 }).thinking).toBe(false)
    expect(chat({ maxReasoningTokens: 1 })).toMatchObject({ thinking: true, maxReasoningTokens: 1 })
  })

  it.each([
    [{ tool: [] }, 'chat: unknown option "tool"; did you mean "tools"?'],
    [{ toolChoice: 'maybe' }, 'toolChoice: expected "auto", "none", "required" or { name }, found "maybe"'],
    [{ toolChoice: { type: 'any' } }, 'toolChoice: expected "auto", "none", "required" or { name }, found an object'],
    [{ toolChoice: { name: 'f', strict: true } }, 'toolChoice: unknown option "strict"; did you mean "name"?'],
    [{ parallelToolCalls: 1 }, 'parallelToolCalls: expected true or false, found 1'],
    [{ responseFormat: 'json' }, 'responseFormat: expected an object with a type, found "json"'],
    [
      { responseFormat: { type: 'text' } },
      'responseFormat.type: expected "json_schema", "json_object" or "regex", found "text"',
    ],
    [{ responseFormat: {} }, 'responseFormat.type: expected "json_schema", "json_object" or "regex", found nothing'],
    [
      { responseFormat: { type: 'json_schema' } },
      'responseFormat.schema: expected a JSON schema object, found nothing',
    ],
    [{ responseFormat: { type: 'regex', pattern: /a/ } }, 'responseFormat.pattern: expected a string, found an object'],
    [
      { responseFormat: { type: 'json_object', schema: {} } },
      'responseFormat: unknown option "schema"; did you mean "type"?',
    ],
    [
      { responseFormat: { type: 'json_object' }, ignoreEos: true },
      'ignoreEos: expected it without responseFormat and without a tool that must be called, found true',
    ],
    [{ reasoning: 'off' }, 'reasoning: expected "split" or "inline", found "off"'],
    [{ maxReasoningTokens: -1 }, 'maxReasoningTokens: expected an integer of at least 0, found -1'],
    [{ thinking: 'no' }, 'thinking: expected true or false, found "no"'],
    [{ prefill: 5 }, 'prefill: expected a string, found 5'],
    [{ keepReasoning: 'some' }, 'keepReasoning: expected "model", "always" or "never", found "some"'],
    [{ temperature: -1 }, 'temperature: expected a number of at least 0, found -1'],
  ])('refuse %j', (options, message) => {
    expect(failure(() => chat(options))).toBe(`BAD_OPTION ${message}`)
  })
})
