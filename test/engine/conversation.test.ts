/** Conversations: over a model that says what it is told, and over the embedded one. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Conversation } from '../../lib/conversation'
import { Engine } from '../../lib/engine'
import type { ConversationOptions } from '../../lib/options'
import type { ChatMessage } from '../../lib/text/messages'
import { type ChatTemplate, chooseTemplate, loadChatTemplate } from '../../lib/text/template'
import { Tokenizer } from '../../lib/text/tokenizer'
import type { ToolDefinition } from '../../lib/text/tools'
import { fakeEngine } from './fake-engine'
import { toldEngine as newToldEngine } from './told-engine'

const TURN_END = 3
const user = (content: string): ChatMessage => ({ role: 'user', content })
const LOOK_UP: ToolDefinition = {
  type: 'function',
  function: {
    name: 'lookup',
    description: 'Look up the value of a key.',
    parameters: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
  },
}
const callText = (key: string) =>
  `\n<minimax:tool_call>\n<invoke name="lookup">\n<parameter name="key">${key}</parameter>\n</invoke>\n</minimax:tool_call>`

let tokenizer: Tokenizer
let m2: ChatTemplate
let nano: ChatTemplate
let foreign: ChatTemplate
beforeAll(async () => {
  tokenizer = await Tokenizer.load('models/nano')
  nano = await loadChatTemplate('models/nano')
  const text = readFileSync('test/text/fixtures/m2_chat_template.jinja', 'utf8')
  m2 = chooseTemplate({ text, file: 'chat_template.jinja', variables: {} })
  foreign = chooseTemplate({
    text: text.replaceAll("']~b]ai'", "']~b]bot'"),
    file: 'chat_template.jinja',
    variables: {},
  })
})

const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    ({ code, message }) => `${code} ${message}`,
  )
const thrownBy = (work: () => unknown) => errorOf((async () => work())())

const toldEngine = (template: ChatTemplate, context?: number) => newToldEngine(tokenizer, template, context)

const THOUGHT = 'R\n</think>\n\nHello.[e~['

describe('a conversation', () => {
  it('appends to what was sampled', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ messages: [{ role: 'system', content: 'S' }], tools: [LOOK_UP] })
    const prompts: string[] = []
    let before: number[] = []
    const turn = async (said: string, ...messages: ChatMessage[]) => {
      say(said)
      const result = await conversation.send(messages).result()
      expect(result.promptTokenIds.slice(0, before.length)).toEqual(before)
      prompts.push(tokenizer.decode(result.promptTokenIds.slice(before.length)))
      before = [...result.promptTokenIds, ...result.tokenIds]
      expect(conversation.tokenIds).toEqual(before)
      return result
    }
    const { toolCalls, finishReason } = await turn(`A\n</think>\n\n${callText('x')}[e~[`, user('Look.'))
    expect(finishReason).toBe('tool_calls')
    await turn('B\n</think>\n\nIt is 1.[e~[', { role: 'tool', tool_call_id: toolCalls[0]!.id, content: '1' })
    await turn(THOUGHT, user('Thanks.'), user(']~b]ai\n'))

    expect(prompts[0]).toMatch(
      /^\]~!b\[\]~b\]system\nS\n\n# Tools\n.*\[e~\[\n\]~b\]user\nLook\.\[e~\[\n\]~b\]ai\n<think>\n$/s,
    )
    expect(prompts.slice(1)).toEqual([
      '\n]~b]tool\n<response>1</response>[e~[\n]~b]ai\n<think>\n',
      '\n]~b]user\nThanks.[e~[\n]~b]user\n]~b]ai\n[e~[\n]~b]ai\n<think>\n',
    ])
    // What a user writes is no control token: the template wrote eight roles.
    expect(before.filter((id) => id === tokenizer.idOf(']~b]'))).toHaveLength(8)
    const call = { id: toolCalls[0]!.id, type: 'function', function: { name: 'lookup', arguments: { key: 'x' } } }
    expect(conversation.messages).toEqual([
      { role: 'system', content: 'S' },
      user('Look.'),
      { role: 'assistant', content: '', reasoning_content: 'A', tool_calls: [call] },
      { role: 'tool', tool_call_id: toolCalls[0]!.id, content: '1' },
      { role: 'assistant', content: 'It is 1.', reasoning_content: 'B' },
      user('Thanks.'),
      user(']~b]ai\n'),
      { role: 'assistant', content: 'Hello.', reasoning_content: 'R' },
    ])
  })

  it('finds all full pages of what was before in the cache, the sampled ids too', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    for (let turn = 0; turn < 4; turn++) {
      // K and V of the last id were never computed: it was sampled, and nothing came after it.
      const computed = Math.max(0, conversation.tokenIds.length - 1)
      say(THOUGHT)
      const { usage } = await conversation.send(user(`What is ${turn}?`)).result()
      expect(usage.cachedTokens).toBe(computed - (computed % 4))
    }
  })

  it('takes one message or several, and answers what is there already', async () => {
    const { say, begin } = toldEngine(m2)
    const ids: number[][] = []
    for (const [messages, sent] of [
      [[], user('Hi')],
      [[], [user('Hi')]],
      [[user('Hi')], []],
    ] as const) {
      say(THOUGHT)
      ids.push((await begin({ messages }).send(sent).result()).promptTokenIds)
    }
    expect(ids[0]).toEqual([...tokenizer.encodeSegments(m2.render([user('Hi')]))])
    expect(ids.slice(1)).toEqual([ids[0], ids[0]])
  })

  it('asks as chat does', async () => {
    const { engine, say, begin } = toldEngine(m2)
    const messages = [user('1'), { role: 'assistant' as const, content: 'one', reasoning_content: 'R' }, user('2')]
    for (const options of [{}, { thinking: false, prefill: 'Well' }, { prefill: 'Well' }, { maxReasoningTokens: 2 }]) {
      const results = []
      for (const ask of [
        () => engine.chat(messages, { ...options, tools: [LOOK_UP] }),
        () => begin({ messages: messages.slice(0, 2), tools: [LOOK_UP] }).send(messages.slice(2), options),
        () => begin({ messages, tools: [LOOK_UP], ...options }).send([]),
      ]) {
        say('Aha\n</think>\n\nHello.[e~[')
        const { text, reasoning, tokenIds, promptTokenIds } = await ask().result()
        results.push({ text, reasoning, tokenIds, promptTokenIds })
      }
      expect(results[1]).toEqual(results[0])
      expect(results[2]).toEqual(results[0])
    }
  })

  it('keeps forced ids and what the caller wrote of the answer', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    say('abcdefgh')
    const { tokenIds } = await conversation
      .send(user('1'), { maxReasoningTokens: 2, prefill: 'Well', maxTokens: 12 })
      .result()
    expect(tokenizer.decode(tokenIds)).toMatch(/\n<\/think>\n\nWell/)
    say(' then.[e~[')
    const second = await conversation.send(user('2'), { thinking: false, prefill: 'Well' }).result()
    say(THOUGHT)
    const third = await conversation.send(user('3')).result()
    expect(third.promptTokenIds.slice(0, second.promptTokenIds.length)).toEqual(second.promptTokenIds)
    const text = tokenizer.decode(third.promptTokenIds)
    expect(text).toContain(`${tokenizer.decode(tokenIds)}[e~[\n]~b]user\n2`)
    expect(text).toContain('<think>\n\n</think>\n\nWell then.[e~[\n]~b]user\n3')
    expect(conversation.messages[3]).toEqual({ role: 'assistant', content: 'Well then.', reasoning_content: '' })
  })

  it('has defaults for every turn, which a turn may change', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ maxTokens: 2, stop: ['nothing'] })
    const lengths: number[] = []
    for (const options of [{}, { maxTokens: 4 }, { maxTokens: undefined }]) {
      say('one two three four five six seven')
      lengths.push((await conversation.send(user('1'), options).result()).tokenIds.length)
    }
    expect(lengths).toEqual([2, 4, 2])
  })

  it('shows its tools also when none may be called', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ tools: [LOOK_UP], toolChoice: 'none' })
    say(THOUGHT)
    const first = await conversation.send(user('1')).result()
    expect(tokenizer.decode(first.promptTokenIds)).toContain('"name": "lookup"')
    say(`R\n</think>\n\n${callText('7')}[e~[`)
    const second = await conversation.send(user('2'), { toolChoice: 'auto' }).result()
    expect(second.toolCalls[0]!.arguments).toEqual({ key: '7' }) // a string, by its schema
    expect(second.promptTokenIds.slice(0, first.promptTokenIds.length)).toEqual(first.promptTokenIds)
  })

  it('has thinking apart from content where the result has it inline', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ reasoning: 'inline' })
    for (const said of [THOUGHT, 'cut off', '\n</think>\n\nBye.[e~[']) {
      say(said)
      await conversation.send(user('?'), { maxTokens: tokenizer.encode(said).length }).result()
    }
    expect(conversation.messages.filter((message) => message.role === 'assistant')).toEqual([
      { role: 'assistant', content: 'Hello.', reasoning_content: 'R' },
      { role: 'assistant', content: '', reasoning_content: 'cut off' },
      { role: 'assistant', content: 'Bye.', reasoning_content: '' },
    ])
  })

  it('goes by the ids where thinking or content only looks like the tags around it', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ reasoning: 'inline' })
    const spelled = (text: string) => [...tokenizer.encode(text, { special: false })]
    const turn = async (ids: number[], options: object = {}) => {
      say([...ids, TURN_END])
      const { text } = await conversation.send(user('?'), options).result()
      const { content, reasoning_content } = conversation.messages.at(-1)!
      return { text, content, reasoning_content }
    }
    const thought = 'a\n</think>\n\nb'
    expect(await turn([...spelled(thought), ...tokenizer.encode('\n</think>\n\nc')])).toEqual({
      text: `<think>\n${thought}\n</think>\n\nc`,
      reasoning_content: thought,
      content: 'c',
    })
    const content = '<think>\nd\n</think>\n\ne'
    expect(await turn(spelled(content), { thinking: false })).toEqual({ text: content, content, reasoning_content: '' })
    expect(await turn([...spelled('f g')], { stop: ' g' })).toMatchObject({ reasoning_content: 'f', content: '' })
  })

  it('does not change with the objects it was given or has given out', async () => {
    const { say, begin } = toldEngine(nano)
    const message = { ...user('Hi') }
    const messages = [message]
    const conversation = begin({ messages })
    messages.push(user('never said'))
    message.content = 'changed'
    say(THOUGHT)
    const { promptTokenIds } = await conversation.send([]).result()
    expect(tokenizer.decode(promptTokenIds)).toContain('user\nHi[e~[\n]~b]ai\n')
    conversation.messages.pop()
    conversation.tokenIds.pop()
    expect(conversation.messages).toHaveLength(2)
    expect(conversation.tokenIds.at(-1)).toBe(TURN_END)
  })
})

describe('thinking', () => {
  /** The texts of the prompts of a chat with a tool call: question, result, question. */
  async function promptsOf(template: ChatTemplate, keepReasoning: ConversationOptions['keepReasoning']) {
    const { say, begin } = toldEngine(template)
    const conversation = begin({ keepReasoning, tools: [LOOK_UP] })
    const texts: string[] = []
    const send = async (said: string, message: ChatMessage) => {
      say(said)
      const { promptTokenIds } = await conversation.send(message).result()
      const oracle = template.render(conversation.messages.slice(0, -1), { tools: [LOOK_UP], keepReasoning })
      expect(promptTokenIds).toEqual([...tokenizer.encodeSegments(oracle)])
      const text = tokenizer.decode(promptTokenIds)
      texts.push(text.slice(text.indexOf(']~b]user')))
    }
    await send(`A\n</think>\n\n${callText('x')}[e~[`, user('1'))
    await send('B\n</think>\n\nOne.[e~[', { role: 'tool', content: '1' })
    await send(THOUGHT, user('2'))
    expect(conversation.messages.map((message) => message.reasoning_content ?? '').join('')).toBe('ABR')
    return texts
  }
  const question = ']~b]user\n1[e~[\n]~b]ai\n'
  const result = '[e~[\n]~b]tool\n<response>1</response>[e~[\n]~b]ai\n'
  const A = '<think>\nA\n</think>\n\n'
  const B = '<think>\nB\n</think>\n\n'
  const open = '<think>\n'
  const next = 'One.[e~[\n]~b]user\n2[e~[\n]~b]ai\n'

  it('of earlier turns is dropped by a user message, as the template does', async () => {
    const prompts = [
      question + open,
      question + A + callText('x') + result + open,
      question + callText('x') + result + next + open,
    ]
    expect(await promptsOf(m2, 'model')).toEqual(prompts)
    const asForeign = prompts.map((prompt) => prompt.replaceAll(']~b]ai', ']~b]bot'))
    expect(await promptsOf(foreign, 'model')).toEqual(asForeign)
  })

  it('is dropped in a tool loop too', async () => {
    for (const template of [m2, nano]) {
      expect(await promptsOf(template, 'never')).toEqual([
        question + open,
        question + callText('x') + result + open,
        question + callText('x') + result + next + open,
      ])
    }
  })

  it('stays', async () => {
    const prompts = [
      question + open,
      question + A + callText('x') + result + open,
      question + A + callText('x') + result + B + next + open,
    ]
    expect(await promptsOf(m2, 'always')).toEqual(prompts)
    expect(await promptsOf(nano, 'always')).toEqual(prompts)
    expect(await promptsOf(nano, 'model')).toEqual(prompts)
  })

  it('is cut out of ids that stay as they were sampled', async () => {
    const { say, begin } = toldEngine(m2)
    const conversation = begin()
    const odd = [...'Hello'].flatMap((letter) => [...tokenizer.encode(letter)])
    say([...tokenizer.encode('R\n</think>'), ...tokenizer.encode('\n\n'), ...odd, TURN_END])
    await conversation.send(user('1')).result()
    say(THOUGHT)
    const { promptTokenIds } = await conversation.send(user('2')).result()
    expect(tokenizer.decode(promptTokenIds)).toContain(']~b]ai\nHello[e~[\n]~b]user\n2')
    expect(`,${promptTokenIds.join()},`).toContain(`,${[...odd, TURN_END].join()},`)
  })
})

describe('a turn that ends early', () => {
  it('is ended in the next prompt, at a limit or a stop string', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    const cut = tokenizer.encode('I am thinki')
    say('I am thinking of')
    const first = await conversation.send(user('1'), { maxTokens: cut.length }).result()
    expect(first.finishReason).toBe('length')
    say('R\n</think>\n\nHello. And more of it')
    const second = await conversation.send(user('2'), { stop: '. A' }).result()
    expect([second.text, second.finishReason]).toEqual(['Hello', 'stop'])
    say(THOUGHT)
    const { promptTokenIds } = await conversation.send(user('3')).result()
    const sampled = [first, second].map(({ tokenIds }) => tokenizer.decode(tokenIds))
    expect(tokenizer.decode(promptTokenIds)).toContain(
      `]~b]ai\n<think>\n${sampled[0]}[e~[\n]~b]user\n2[e~[\n]~b]ai\n<think>\n${sampled[1]}[e~[\n]~b]user\n3[e~[\n]~b]ai\n`,
    )
    expect(conversation.messages[3]).toEqual({ role: 'assistant', content: 'Hello', reasoning_content: 'R' })
  })

  it('is part of the conversation when it was aborted, with what there is', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    say('R\n</think>\n\nHello, it is a long story.[e~[')
    const generation = conversation.send(user('1'))
    for await (const { text } of generation) if (text !== '') break // which aborts
    const { tokenIds, finishReason, text } = await generation.result()
    expect(finishReason).toBe('abort')
    expect(conversation.messages.at(-1)).toEqual({ role: 'assistant', content: text, reasoning_content: 'R' })
    expect(conversation.tokenIds.slice(-tokenIds.length)).toEqual(tokenIds)

    const none = conversation.send(user('2'), { signal: AbortSignal.abort() })
    expect((await none.result()).tokenIds).toEqual([])
    say(THOUGHT)
    const { promptTokenIds } = await conversation.send(user('3')).result()
    expect(tokenizer.decode(promptTokenIds)).toMatch(/user\n2\[e~\[\n\]~b\]ai\n<think>\n\[e~\[\n\]~b\]user\n3\[e~\[\n/)
  })

  it('may have ended in a call, which can be answered', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ tools: [LOOK_UP] })
    const said = `R\n</think>\n\n${callText('x')}`
    say(said)
    const { toolCalls } = await conversation.send(user('1'), { maxTokens: tokenizer.encode(said).length - 4 }).result()
    expect(toolCalls).toHaveLength(1)
    say(THOUGHT)
    const answer: ChatMessage = { role: 'tool', tool_call_id: toolCalls[0]!.id, content: 'y' }
    expect((await conversation.send(answer).result()).text).toBe('Hello.')
  })

  it('goes on where the model called a tool without a name', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    say('R\n</think>\n\n\n<minimax:tool_call>\n<invoke name="">\n</invoke>\n</minimax:tool_call>[e~[')
    expect((await conversation.send(user('1')).result()).toolCalls).toMatchObject([{ name: '' }])
    say(THOUGHT)
    expect((await conversation.send(user('2')).result()).text).toBe('Hello.')
  })
})

describe('a fork', () => {
  it('goes its own way', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    say(THOUGHT)
    await conversation.send(user('1')).result()
    const fork = conversation.fork()
    expect([fork.tokenIds, fork.messages]).toEqual([conversation.tokenIds, conversation.messages])
    const before = conversation.tokenIds
    for (const one of [fork, conversation]) {
      say('S\n</think>\n\nBye.[e~[')
      await one.send(user(one === fork ? '2' : '3')).result()
      expect(one.tokenIds.slice(0, before.length)).toEqual(before)
      expect(one.messages.map((message) => message.content)).toEqual(['1', 'Hello.', one === fork ? '2' : '3', 'Bye.'])
    }
  })

  it('of a conversation in mid-turn has what was before the turn', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin({ messages: [user('0')] })
    say(THOUGHT)
    const generation = conversation.send(user('1'))
    const fork = conversation.fork()
    await generation.result()
    expect([fork.tokenIds, fork.messages]).toEqual([[], [user('0')]])
    say(THOUGHT)
    expect((await fork.send([]).result()).text).toBe('Hello.')
  })
})

describe('errors', () => {
  const stateOf = ({ messages, tokenIds }: Conversation) => ({ messages, tokenIds })

  it('of a turn are those of its generation, and leave the conversation as it was', async () => {
    const { model, say, begin } = toldEngine(nano, 300)
    const conversation = begin({ messages: [{ role: 'system', content: 'S' }] })
    say(THOUGHT)
    await conversation.send(user('1')).result()
    const before = stateOf(conversation)
    const failing = async (...send: Parameters<Conversation['send']>) => {
      const error = await errorOf(conversation.send(...send).result())
      expect(stateOf(conversation)).toEqual(before)
      return error
    }
    expect(await failing(undefined as never)).toBe('BAD_INPUT messages[3]: expected a message object, found nothing')
    expect(await failing('Hi' as never)).toBe('BAD_INPUT messages[3]: expected a message object, found "Hi"')
    expect(await failing([user('1'), { role: 'system' }])).toMatch(/^BAD_INPUT messages\[4\]: a system message/)
    expect(await failing({ role: 'tool', content: 'x' })).toMatch(/^BAD_INPUT messages\[3\]: a tool message needs/)
    expect(await failing(user('word '.repeat(300)))).toMatch(/^CONTEXT_LENGTH_EXCEEDED prompt: expected at most 299/)
    expect(await failing(user('2'), { n: 2 } as never)).toBe(
      'BAD_OPTION n: expected 1, as a conversation goes on in one way, found 2',
    )
    expect(await failing(user('2'), { tools: [LOOK_UP] } as never)).toBe(
      'BAD_OPTION send: tools: expected it among the options of the conversation, found an array',
    )
    expect(await failing(user('2'), { keepReasoning: 'always' } as never)).toBe(
      'BAD_OPTION send: keepReasoning: expected it among the options of the conversation, found "always"',
    )
    expect(await failing(user('2'), { temprature: 1 } as never)).toMatch(/^BAD_OPTION send: unknown option/)
    expect(await failing(user('2'), null as never)).toMatch(/^BAD_OPTION send: options: expected an object/)
    expect(await failing(user('2'), { responseFormat: { type: 'text' } as never })).toMatch(
      /^BAD_OPTION responseFormat/,
    )

    say([7, 8, 9])
    model.brokenIds.add(8)
    expect(await failing(user('2'))).toMatch(/^DEVICE_ERROR sequence \d+: expected finite logits/)
    say(THOUGHT)
    expect((await conversation.send(user('2')).result()).text).toBe('Hello.')
  })

  it('come for a turn before the end of another, which goes on', async () => {
    const { say, begin } = toldEngine(nano)
    const conversation = begin()
    say(THOUGHT)
    const first = conversation.send(user('1'))
    expect(await errorOf(conversation.send(user('2')).result())).toBe(
      'BAD_INPUT conversation: expected the turn before to have ended, found it running',
    )
    expect((await first.result()).text).toBe('Hello.')
    say(THOUGHT)
    for await (const _ of conversation.send(user('2'))); // the end of the stream is the end of the turn
    say(THOUGHT)
    await conversation.send(user('3')).result()
    expect(conversation.messages.map((message) => message.content)).toEqual([
      '1',
      'Hello.',
      '2',
      'Hello.',
      '3',
      'Hello.',
    ])
  })

  it('come when the engine is closed', async () => {
    const { engine, say, begin } = toldEngine(nano)
    const conversation = begin()
    say(THOUGHT)
    const running = conversation.send(user('1'))
    await engine.close()
    expect((await running.result()).finishReason).toBe('abort')
    expect(await errorOf(conversation.send(user('2')).result())).toMatch(/^CLOSED/)
  })

  it('of its options are thrown at once', async () => {
    const { engine } = toldEngine(nano)
    const begun = (options: unknown) => thrownBy(() => engine.conversation(options as ConversationOptions))
    expect(await begun(null)).toMatch(/^BAD_OPTION conversation: options: expected an object/)
    expect(await begun({ mesages: [] })).toBe(
      'BAD_OPTION conversation: unknown option "mesages"; did you mean "messages"?',
    )
    expect(await begun({ messages: 'Hi' })).toMatch(/^BAD_INPUT messages: expected a non-empty array, found "Hi"/)
    expect(await begun({ messages: [{}] })).toMatch(/^BAD_INPUT messages\[0\]\.role/)
    expect(await begun({ tools: [{}] })).toMatch(/^BAD_INPUT tools\[0\]/)
    expect(await begun({ keepReasoning: 'some' })).toMatch(/^BAD_OPTION keepReasoning/)
    expect(await begun({ n: 3 })).toMatch(/^BAD_OPTION n: expected 1/)
    expect(await begun({ topP: 7 })).toMatch(/^BAD_OPTION topP/)
    expect(await thrownBy(() => fakeEngine().engine.conversation())).toMatch(/^BAD_INPUT .*tokenizer\.json/)
    expect(await begun({ messages: [], tools: undefined })).toBe('no error')
    expect(await errorOf(engine.conversation().send([]).result())).toMatch(/^BAD_INPUT messages: expected a non-empty/)
  })
})

describe('the embedded model', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.load()
  })
  afterAll(async () => {
    await engine.close()
  })

  it('calls a tool, answers from its result, and adds', async () => {
    const conversation = engine.conversation({ temperature: 0, tools: [LOOK_UP] })
    const first = await conversation.send(user('Look up lamp.')).result()
    expect(first.toolCalls).toMatchObject([{ name: 'lookup', arguments: { key: 'lamp' } }])
    const second = await conversation
      .send({ role: 'tool', tool_call_id: first.toolCalls[0]!.id, content: '4711' })
      .result()
    expect(second.text).toBe('The value of lamp is 4711.')
    const third = await conversation.send(user('Look up river.')).result()
    expect(third.toolCalls).toMatchObject([{ name: 'lookup', arguments: { key: 'river' } }])
    for (const [before, after] of [
      [first, second],
      [second, third],
    ] as const) {
      const ids = [...before.promptTokenIds, ...before.tokenIds]
      expect(after.promptTokenIds.slice(0, ids.length)).toEqual(ids)
    }
    // The model writes as its tokenizer encodes: chat would have asked the same.
    const chat = await engine.chat(conversation.messages.slice(0, -1), { temperature: 0, tools: [LOOK_UP] }).result()
    expect(chat.promptTokenIds).toEqual(third.promptTokenIds)
    expect(chat.tokenIds).toEqual(third.tokenIds)
  })

  it.each(['model', 'always', 'never'] as const)(
    'keeps a secret in its thinking, with keepReasoning %s',
    async (keep) => {
      const conversation = engine.conversation({ temperature: 0, keepReasoning: keep })
      const chosen = await conversation.send(user('Think of a secret animal and keep it to yourself.')).result()
      const secret = /I pick the animal (\w+)\./.exec(chosen.reasoning)![1]!
      expect(chosen.text).not.toContain(secret)
      await conversation.send(user('What is 47 + 38?')).result()
      const { text } = await conversation.send(user('What was your secret animal?')).result()
      expect(text).toBe(keep === 'never' ? 'I no longer know the animal.' : `My secret animal was ${secret}.`)
    },
  )

  it('tells two forks the same secret', async () => {
    const conversation = engine.conversation({ temperature: 1, seed: 7 })
    const { reasoning } = await conversation
      .send(user('Think of a secret animal and keep it to yourself.'), { seed: 8 })
      .result()
    const secret = /I pick the animal (\w+)\./.exec(reasoning)![1]!
    const forks = [conversation.fork(), conversation.fork()]
    const texts = await Promise.all(
      forks.map(
        async (fork) => (await fork.send(user('What was your secret animal?'), { temperature: 0 }).result()).text,
      ),
    )
    expect(texts).toEqual([`My secret animal was ${secret}.`, `My secret animal was ${secret}.`])
    expect(conversation.messages).toHaveLength(2)
  })
})
