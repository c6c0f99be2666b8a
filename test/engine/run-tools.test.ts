/** Tool loops: over a model that says what it is told, and over the embedded one. */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { Engine } from '../../lib/engine'
import { type RunToolsOptions, runTools, type ToolRun, type ToolStep } from '../../lib/run-tools'
import type { ChatMessage } from '../../lib/text/messages'
import { type ChatTemplate, loadChatTemplate } from '../../lib/text/template'
import { Tokenizer } from '../../lib/text/tokenizer'
import { temporaryFolder } from '../model/folder'
import { fakeEngine } from './fake-engine'

const TURN_END = 3
const user = (content: string): ChatMessage => ({ role: 'user', content })
const lookup = {
  description: 'Look up the value of a key.',
  parameters: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
  execute: ({ key }: { key: string }): unknown => `value of ${key}`,
}

/** What a model says that calls tools, each with a key. */
const calling = (...calls: [name: string, key: string][]) => {
  const invokes = calls.map(
    ([name, key]) => `<invoke name="${name}">\n<parameter name="key">${key}</parameter>\n</invoke>\n`,
  )
  return `R\n</think>\n\n\n<minimax:tool_call>\n${invokes.join('')}</minimax:tool_call>[e~[`
}
const ANSWER = 'R\n</think>\n\nDone.[e~['

let tokenizer: Tokenizer
let template: ChatTemplate
beforeAll(async () => {
  tokenizer = await Tokenizer.load('models/nano')
  template = await loadChatTemplate('models/nano')
})

/** An engine whose model says these texts, one for each prompt. */
function toldEngine(said: string[], context = 2000) {
  const sizes = { vocabSize: 1536, context, pages: 2000, stepTokens: 512, eosTokenIds: [TURN_END] }
  const { engine, model } = fakeEngine({ ...sizes, tokenizer, template })
  const scripts = said.map((text) => tokenizer.encode(text))
  let script: ArrayLike<number> = []
  let start = -1
  model.nextId = (tokens) => {
    // Of what runs ahead the end of a script is reached; only a prompt is longer.
    if (tokens.length > start + script.length) [script, start] = [scripts.shift()!, tokens.length]
    return script[tokens.length - start]
  }
  return { engine, model }
}

type Given = Partial<RunToolsOptions>
const told = (said: string[], given: Given = {}, context?: number) => {
  const { engine, model } = toldEngine(said, context)
  return { engine, model, run: runTools(engine, { messages: [user('Go.')], tools: { lookup }, ...given }) }
}

/** The ids after the last step, put together as `ToolRun.steps` says. */
function idsOf(steps: readonly ToolStep[]): number[] {
  return steps.reduce<number[]>(
    (ids, step) => [...ids.slice(0, step.keptTokens), ...step.promptTokenIds, ...step.tokenIds],
    [],
  )
}

const contentsOf = ({ steps }: ToolRun) => steps.flatMap(({ results }) => results.map(({ content }) => content))
const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    ({ code, message }) => `${code} ${message}`,
  )

describe('a run', () => {
  it('gives calls to the tools and their results to the model, until it answers', async () => {
    const seen: ToolStep[] = []
    const { run } = told([calling(['lookup', 'a']), calling(['lookup', 'b']), ANSWER], { onStep: (s) => seen.push(s) })
    const { messages, text, steps, finishReason } = await run
    expect([text, finishReason, steps.length]).toEqual(['Done.', 'stop', 3])
    expect(seen).toEqual(steps)
    expect(messages.map(({ role, content }) => [role, content])).toEqual([
      ['user', 'Go.'],
      ['assistant', ''],
      ['tool', 'value of a'],
      ['assistant', ''],
      ['tool', 'value of b'],
      ['assistant', 'Done.'],
    ])
    const [first] = steps as [ToolStep]
    expect(first.toolCalls).toMatchObject([{ name: 'lookup', arguments: { key: 'a' } }])
    const ms = expect.any(Number)
    expect(first.results).toEqual([
      { id: first.toolCalls[0]!.id, name: 'lookup', content: 'value of a', isError: false, ms },
    ])
    expect(messages[2]).toMatchObject({ tool_call_id: first.toolCalls[0]!.id })
    expect(first.timing).toEqual({ queueMs: ms, prefillMs: ms, firstTokenMs: ms, decodeMs: ms, toolMs: ms })
    expect(steps[2]).toMatchObject({ toolCalls: [], results: [] })
  })

  it('is plain data with a log probability for each sampled id', async () => {
    const { run } = told([calling(['lookup', 'a']), ANSWER])
    const done = await run
    expect(JSON.parse(JSON.stringify(done))).toEqual(done)
    expect(structuredClone(done)).toEqual(done)
    for (const { tokenIds, logprobs } of done.steps) {
      expect(logprobs).toEqual(tokenIds.map((id) => ({ id, logprob: -id, top: [] })))
    }
    const { steps } = await told([ANSWER], { logprobs: 2 }).run
    expect(steps[0]!.logprobs[0]!.top).toHaveLength(2)
  })

  it('runs the calls of a step side by side, and keeps their order', async () => {
    let arrived = 0
    let open = () => {}
    const all = new Promise<void>((resolve) => {
      open = resolve
    })
    const ended: string[] = []
    const meet = {
      parameters: lookup.parameters,
      async execute({ key }: { key: string }) {
        if (++arrived === 3) open()
        await all // for ever, if one waits for another
        for (let turns = key === 'a' ? 3 : key === 'b' ? 2 : 1; turns > 0; turns--) await new Promise(setImmediate)
        ended.push(key)
        return { key }
      },
    }
    const calls = calling(['meet', 'a'], ['meet', 'b'], ['meet', 'c'])
    const done = await told([calls, ANSWER], { tools: { meet } }).run
    expect(ended).toEqual(['c', 'b', 'a'])
    expect(contentsOf(done)).toEqual(['{"key":"a"}', '{"key":"b"}', '{"key":"c"}'])
  })

  it('tells the model what went wrong, and goes on', async () => {
    const cycle: { self?: object } = {}
    cycle.self = cycle
    const outcomes: Record<string, () => unknown> = {
      throws: () => {
        throw new Error('no such\nfile')
      },
      rejects: async () => Promise.reject('a word'),
      noText: () => {
        throw Object.create(null)
      },
      noMessage: () => {
        throw Object.assign(new Error(), { message: undefined })
      },
      cycle: () => cycle,
      bigint: () => 7n,
      functions: () => () => 7,
      nothing: () => undefined,
      text: () => '{',
      number: () => 7,
    }
    const tools = Object.fromEntries(Object.entries(outcomes).map(([name, execute]) => [name, { ...lookup, execute }]))
    const names = [...Object.keys(tools), 'constructor']
    const done = await told([calling(...names.map((name): [string, string] => [name, 'k'])), ANSWER], { tools }).run
    const results = Object.fromEntries(done.steps[0]!.results.map((one) => [one.name, [one.isError, one.content]]))
    expect(results).toEqual({
      throws: [true, 'Error: no such file'],
      rejects: [true, 'Error: a word'],
      noText: [true, 'Error: a thrown object without a text'],
      noMessage: [true, 'Error: undefined'],
      cycle: [true, expect.stringMatching(/^Error: Converting circular structure/)],
      bigint: [true, expect.stringMatching(/^Error: .*BigInt/)],
      functions: [true, 'Error: the result is not JSON'],
      nothing: [false, 'null'],
      text: [false, '{'],
      number: [false, '7'],
      constructor: [true, `Error: there is no tool "constructor"; there are: ${Object.keys(tools).join(', ')}`],
    })
    expect(done.messages.filter(({ role }) => role === 'tool')).toHaveLength(names.length)
    expect([done.text, done.finishReason]).toEqual(['Done.', 'stop'])
  })

  it('keeps what the model wrote from a tool that changes its arguments', async () => {
    const execute = (args: { key: string }) => {
      args.key = 'z'
      return args
    }
    const { steps, messages } = await told([calling(['lookup', 'a']), ANSWER], {
      tools: { lookup: { ...lookup, execute } },
    }).run
    expect(steps[0]!.toolCalls[0]!.arguments).toEqual({ key: 'a' })
    expect(messages[1]!.tool_calls).toMatchObject([{ function: { arguments: { key: 'a' } } }])
    expect(steps[0]!.results[0]!.content).toBe('{"key":"z"}')
  })

  it('leaves the calls of the last step to the caller', async () => {
    const execute = vi.fn(lookup.execute)
    const said = [calling(['lookup', 'a']), calling(['lookup', 'b']), ANSWER]
    const tools = { lookup: { ...lookup, execute } }
    const { finishReason, steps, messages } = await told(said, { tools, maxSteps: 2 }).run
    expect([finishReason, steps.length, execute.mock.calls.length]).toEqual(['tool_calls', 2, 1])
    expect(steps[1]).toMatchObject({ toolCalls: [{ arguments: { key: 'b' } }], results: [] })
    expect(messages.at(-1)).toMatchObject({ role: 'assistant', tool_calls: [{}] })
  })

  it('does not run calls that were cut off', async () => {
    const execute = vi.fn(lookup.execute)
    const calls = calling(['lookup', 'a'], ['lookup', 'b'])
    const given = { tools: { lookup: { ...lookup, execute } }, maxTokens: tokenizer.encode(calls).length - 12 }
    const { finishReason, steps } = await told([calls], given).run
    expect([finishReason, execute.mock.calls.length]).toEqual(['length', 0])
    expect(steps[0]!.toolCalls[0]).toMatchObject({ arguments: { key: 'a' } })
    expect(steps[0]!.results).toEqual([])
  })

  it('ends with length where the results do not fit the context', async () => {
    const execute = () => 'word '.repeat(300)
    const { finishReason, text, steps, messages } = await told(
      [calling(['lookup', 'a']).replace('\n\n\n', '\n\nWait.\n')],
      { tools: { lookup: { ...lookup, execute } } },
      400,
    ).run
    expect([finishReason, text, steps.length]).toEqual(['length', 'Wait.', 1])
    expect(messages.at(-1)).toMatchObject({ role: 'tool', content: execute() })
  })
})

describe('the ids of a run', () => {
  it.each(['model', 'always', 'never'] as const)(
    'are those of its conversation, with keepReasoning %s',
    async (keep) => {
      const { engine } = toldEngine([calling(['lookup', 'a']), calling(['lookup', 'b']), ANSWER])
      const begun = vi.spyOn(engine, 'conversation')
      const { steps } = await runTools(engine, { messages: [user('Go.')], tools: { lookup }, keepReasoning: keep })
      const conversation = begun.mock.results[0]!.value as ReturnType<Engine['conversation']>
      expect(idsOf(steps)).toEqual(conversation.tokenIds)
      const whole = steps.flatMap(({ promptTokenIds, tokenIds }) => [...promptTokenIds, ...tokenIds])
      if (keep === 'never') expect(steps[1]!.keptTokens).toBeLessThan(idsOf(steps.slice(0, 1)).length)
      else expect(whole).toEqual(conversation.tokenIds)
    },
  )

  it('are computed once', async () => {
    const { engine, model } = toldEngine([calling(['lookup', 'a']), calling(['lookup', 'b']), ANSWER])
    let computed = 0
    model.onStep = (batch) => {
      computed += batch.tokenIds.length
    }
    const { steps } = await runTools(engine, { messages: [user('Go.')], tools: { lookup } })
    for (const i of [1, 2]) {
      // The last id was sampled, and is computed only where a step ran ahead.
      const before = idsOf(steps.slice(0, i)).length
      const { cachedTokens } = steps[i]!.usage
      expect(cachedTokens).toBeGreaterThan(before - 1 - 4)
      expect(cachedTokens).toBeLessThanOrEqual(before)
      expect(cachedTokens).toBeGreaterThan(steps[i - 1]!.usage.cachedTokens)
    }
    // Of each step less than a page again, and what ran ahead of its end.
    const total = idsOf(steps).length
    expect(computed).toBeGreaterThanOrEqual(total - 1)
    expect(computed).toBeLessThan(total + 4 * steps.length + 2 * steps.length)
    expect(engine.stats().pages).toMatchObject({ private: 0 })
  })
})

describe('a signal', () => {
  it('ends the generation that runs', async () => {
    const { engine, model } = toldEngine([calling(['lookup', 'a']), ANSWER])
    const control = new AbortController()
    const execute = vi.fn((_: unknown, { signal }: { signal: AbortSignal }) => {
      model.onStep = () => control.abort()
      return signal === control.signal
    })
    const tools = { lookup: { ...lookup, execute } }
    const { finishReason, steps, messages } = await runTools(engine, {
      messages: [user('Go.')],
      tools,
      signal: control.signal,
    })
    expect([finishReason, steps.length]).toEqual(['abort', 2])
    expect(steps[0]!.results[0]!.content).toBe('true')
    expect(steps[1]!.tokenIds.length).toBeLessThan(tokenizer.encode(ANSWER).length)
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant'])
    expect(engine.stats().pages.private).toBe(0)
  })

  it('ends a run in the middle of tools, also of one that does not heed it', async () => {
    const control = new AbortController()
    const stuck = { ...lookup, execute: () => new Promise(() => {}) }
    const quick = { ...lookup, execute: () => 7 }
    const stops = {
      ...lookup,
      async execute() {
        await new Promise(setImmediate)
        control.abort()
        await new Promise(() => {})
      },
    }
    const calls = calling(['quick', 'a'], ['stuck', 'b'], ['stops', 'c'])
    const { engine, run } = told([calls, ANSWER], { tools: { quick, stuck, stops }, signal: control.signal })
    const { finishReason, steps, messages } = await run
    expect([finishReason, steps.length]).toEqual(['abort', 1])
    expect(steps[0]!.results.map(({ content, isError }) => [isError, content])).toEqual([
      [false, '7'],
      [true, 'Error: the run was aborted'],
      [true, 'Error: the run was aborted'],
    ])
    expect(messages).toHaveLength(5)
    expect(engine.stats()).toMatchObject({ pages: { private: 0 }, sequences: { running: 0, waiting: 0 } })
  })

  it('that has fired runs nothing', async () => {
    const { finishReason, steps } = await told([ANSWER], { signal: AbortSignal.abort() }).run
    expect([finishReason, steps.length, steps[0]!.tokenIds]).toEqual(['abort', 1, []])
  })

  it('that fires when a step has ended keeps its calls from being run', async () => {
    const control = new AbortController()
    const execute = vi.fn()
    const { engine } = toldEngine([calling(['lookup', 'a']), ANSWER])
    const conversation = engine.conversation.bind(engine)
    vi.spyOn(engine, 'conversation').mockImplementation((options) => {
      const begun = conversation(options)
      const send = begun.send.bind(begun)
      vi.spyOn(begun, 'send').mockImplementation((...args) => {
        const generation = send(...args)
        const result = generation.result()
        return Object.assign(generation, { result: () => result.finally(() => control.abort()) })
      })
      return begun
    })
    const tools = { lookup: { ...lookup, execute } }
    const { finishReason, steps } = await runTools(engine, { messages: [user('Go.')], tools, signal: control.signal })
    expect([finishReason, execute.mock.calls.length]).toEqual(['abort', 0])
    expect(steps[0]!.results).toMatchObject([{ isError: true, content: 'Error: the run was aborted' }])
  })
})

describe('errors', () => {
  const failing = (given: object) => errorOf(told([ANSWER], given as Given).run)

  it('of arguments name what is not sound', async () => {
    expect(await errorOf(runTools(toldEngine([]).engine, null as never))).toMatch(/^BAD_OPTION runTools: options/)
    expect(await failing({ maxStep: 3 })).toBe(
      'BAD_OPTION runTools: unknown option "maxStep"; did you mean "maxSteps"?',
    )
    expect(await failing({ maxSteps: 0 })).toBe('BAD_OPTION maxSteps: expected an integer of at least 1, found 0')
    expect(await failing({ onStep: 7 })).toBe('BAD_OPTION onStep: expected a function, found 7')
    expect(await failing({ tools: undefined })).toBe(
      'BAD_INPUT tools: expected an object of tools by name, found nothing',
    )
    expect(await failing({ tools: [lookup] })).toMatch(
      /^BAD_INPUT tools: expected an object of tools by name, found an a/,
    )
    expect(await failing({ tools: { lookup: 7 } })).toBe('BAD_INPUT tools.lookup: expected a tool, found 7')
    expect(await failing({ tools: { lookup: { ...lookup, execute: 7 } } })).toBe(
      'BAD_INPUT tools.lookup.execute: expected a function, found 7',
    )
    expect(await failing({ tools: { lookup: { ...lookup, parameter: {} } } })).toBe(
      'BAD_OPTION tools.lookup: unknown option "parameter"; did you mean "parameters"?',
    )
    expect(await failing({ tools: { lookup: { ...lookup, parameters: 'none' } } })).toMatch(
      /^BAD_INPUT tools\.lookup\.parameters: expected a JSON schema object/,
    )
    expect(await failing({ tools: { '': lookup } })).toMatch(/^BAD_INPUT tools\.\.name: expected a non-empty string/)
    expect(await failing({ messages: [] })).toMatch(/^BAD_INPUT messages: expected a non-empty array/)
    expect(await failing({ signal: 7 })).toMatch(/^BAD_OPTION signal/)
    expect(await failing({ temperature: -1 })).toMatch(/^BAD_OPTION temperature/)
    expect(await failing({ n: 2 })).toMatch(/^BAD_OPTION n: expected 1/)
    expect(await failing({ messages: [user('word '.repeat(3000))] })).toMatch(/^CONTEXT_LENGTH_EXCEEDED/)
  })

  it('of the device and of onStep end the run', async () => {
    const { engine, model } = toldEngine([ANSWER])
    model.onStep = () => {
      throw new Error('it burns')
    }
    expect(await errorOf(runTools(engine, { messages: [user('Go.')], tools: {} }))).toMatch(/^DEVICE_ERROR it burns/)
    const onStep = () => {
      throw new Error('enough')
    }
    expect(await failing({ onStep })).toBe('undefined enough')
  })
})

describe('the embedded model', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.load(undefined, { pageSize: 16 })
  })
  afterAll(async () => {
    await engine.close()
  })

  it('calls a tool that it must call once, and then answers', async () => {
    const place = { type: 'string', enum: ['Oslo'] }
    const parameters = { type: 'object', properties: { place }, required: ['place'], additionalProperties: false }
    const clock = { description: 'Get the current time.', parameters, execute: () => '10:15' }
    const messages = [{ role: 'user' as const, content: 'Hello!' }]
    for (const toolChoice of ['required', { name: 'clock' }] as const) {
      const { steps, finishReason } = await runTools(engine, { messages, tools: { clock }, toolChoice, temperature: 0 })
      expect(steps[0]!.toolCalls).toMatchObject([{ name: 'clock', arguments: { place: 'Oslo' } }])
      expect([steps.length < 20, finishReason]).toEqual([true, 'stop'])
    }
    await expect(runTools(engine, { messages, tools: {}, toolChoice: 'required' })).rejects.toThrow(
      /^toolChoice: expected/,
    )
  })

  it('looks things up in many runs at once', async () => {
    const words = ['lamp', 'river', 'fountain', 'cherry']
    const runs = await Promise.all(
      words.map((word, i) => {
        const tools = { lookup: { ...lookup, execute: () => String(4711 + i) } }
        return runTools(engine, { messages: [user(`Look up ${word}.`)], tools, temperature: 0 })
      }),
    )
    for (const [i, { text, finishReason, steps }] of runs.entries()) {
      expect([text, finishReason, steps.length]).toEqual([`The value of ${words[i]} is ${4711 + i}.`, 'stop', 2])
      expect(steps[1]!.usage.cachedTokens).toBeGreaterThan(idsOf(steps.slice(0, 1)).length - 1 - 16)
      // What training takes of it: which ids were sampled, and how probable they were.
      const scores = await engine.score(idsOf(steps))
      const sampled = steps.flatMap(({ tokenIds }, k) => {
        const end = idsOf(steps.slice(0, k + 1)).length
        return [...scores.subarray(end - tokenIds.length, end)]
      })
      expect(steps.flatMap(({ logprobs }) => logprobs.map(({ logprob }) => logprob))).toEqual(sampled)
    }
    expect(engine.stats()).toMatchObject({ pages: { private: 0 }, sequences: { running: 0, waiting: 0 } })
  })
})

describe('the agent of the README', () => {
  it('runs as it stands, in a project that has the package', async () => {
    const readme = readFileSync('README.md', 'utf8')
    const program = /`agent\.mjs`:\n\n```js\n(.*?)```/s.exec(readme)![1]!
    const dir = temporaryFolder()
    mkdirSync(path.join(dir, 'node_modules'))
    symlinkSync(process.cwd(), path.join(dir, 'node_modules/m2-engine'))
    writeFileSync(path.join(dir, 'agent.mjs'), program)
    const { stdout } = await promisify(execFile)(process.execPath, ['agent.mjs'], { cwd: dir })
    const promised = /console\.log\(run\.text\)\s+\/\/ (.*)/.exec(program)![1]!
    expect(stdout.split('\n')[0]).toBe(promised)
    const run = JSON.parse(readFileSync(path.join(dir, 'trajectory.json'), 'utf8')) as ToolRun
    expect([run.text, run.finishReason, contentsOf(run)]).toEqual([promised, 'stop', ['4711', '9429']])
  })
})
