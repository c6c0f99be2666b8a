/** The ids of conversations against an oracle: the whole history rendered by the template, and encoded. */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { type KeepReasoning, type NextTurns, renderSegments } from '../../lib/text/chat'
import { M2_FORMAT } from '../../lib/text/chat-format'
import { joinSegments, type Segment } from '../../lib/text/markup'
import { type ChatMessage, checkMessages } from '../../lib/text/messages'
import { OutputParser } from '../../lib/text/output-parser'
import { type ChatTemplate, chooseTemplate } from '../../lib/text/template'
import { Tokenizer } from '../../lib/text/tokenizer'
import { Transcript } from '../../lib/text/transcript'
import { WRITING } from '../reference/texts'
import { PATTERNS, trainTokenizer, withTokenizerFile } from '../reference/tokenizers'
import { randomConversation, randomText, TOOLS } from './conversations'
import { Random } from './random'

const sourceOf = (text: string) => ({ text, file: 'chat_template.jinja', variables: {} })
const M2_TEMPLATE = readFileSync('test/text/fixtures/m2_chat_template.jinja', 'utf8')
const NANO_TEMPLATE = readFileSync('models/nano/chat_template.jinja', 'utf8')
const m2 = chooseTemplate(sourceOf(M2_TEMPLATE))
const nano = chooseTemplate(sourceOf(NANO_TEMPLATE))
/** Other words for the assistant: our code does not know these formats. */
const foreignM2 = chooseTemplate(sourceOf(M2_TEMPLATE.replaceAll("']~b]ai'", "']~b]bot'")))
const foreignNano = chooseTemplate(sourceOf(NANO_TEMPLATE.replaceAll(']~b]ai', ']~b]bot')))

const TAGS = ['<think>', '</think>', '<minimax:tool_call>', '</minimax:tool_call>', '</thi', '<minimax:tool']

let small: Tokenizer
let large: Tokenizer
beforeAll(async () => {
  small = await Tokenizer.load('models/nano')
  const newlines = '\n\n\n a\n\n  b\n c\n\n\n\n d).\n\n e\n'.repeat(50)
  const json = trainTokenizer(PATTERNS.o200k, [...WRITING, newlines].join('\n'), 1500)
  large = await withTokenizerFile(json, (dir) => Tokenizer.load(dir))
})

/** Plays a conversation at the level of its ids. */
class Play {
  readonly messages: ChatMessage[] = []
  transcript: Transcript
  prompt = new Int32Array(0)
  next!: NextTurns

  constructor(
    readonly tokenizer: Tokenizer,
    readonly template: ChatTemplate,
    readonly keepReasoning: KeepReasoning,
  ) {
    this.transcript = Transcript.empty(tokenizer)
  }

  /** The ids that the next answer begins behind. */
  ask(...added: ChatMessage[]): Int32Array {
    const answered = this.transcript.ids.length > 0 ? this.messages.length : 0
    this.messages.push(...added)
    const turns = checkMessages(this.messages)
    this.next = this.template.renderNext(turns, answered, { tools: TOOLS, keepReasoning: this.keepReasoning })
    this.transcript = this.transcript.before(this.next)
    const segments = this.transcript.missing(this.next.segments)
    this.prompt = Int32Array.from([...this.transcript.ids, ...this.tokenizer.encodeSegments(segments)])
    return this.prompt
  }

  answer(message: ChatMessage, ids: ArrayLike<number>): void {
    this.messages.push(message)
    this.transcript = this.transcript.answered(this.prompt, ids)
  }

  get oracle(): Segment[] {
    return this.template.render(this.messages, { tools: TOOLS, keepReasoning: this.keepReasoning })
  }

  get expected(): number[] {
    return Array.from(this.tokenizer.encodeSegments(this.oracle))
  }

  /** The ids of an answer behind the prompt, as the tokenizer gives them; undefined where it would not leave the prompt as it is. */
  idsOf(message: ChatMessage): Int32Array | undefined {
    const segments = this.transcript.missing(this.next.segments)
    const behind = sampledSegments(message)
    const whole = this.tokenizer.encodeSegments([...segments, ...behind])
    const length = this.prompt.length - this.transcript.ids.length
    const isBehind = whole.subarray(0, length).join() === this.prompt.subarray(this.transcript.ids.length).join()
    return isBehind ? whole.subarray(length) : undefined
  }
}

/** What the model writes for a message, behind the generation prompt. */
function sampledSegments(message: ChatMessage): Segment[] {
  const settings = { tools: [], addGenerationPrompt: false, keepReasoning: 'always' } as const
  const turns = checkMessages([{ role: 'user' }, { ...message, reasoning_content: message.reasoning_content || '?' }])
  const segments = renderSegments(turns, M2_FORMAT, settings)
  const opening = segments.findIndex((segment) => segment.text === '<think>') + 1
  return [{ text: `${message.reasoning_content}\n`, special: false }, ...segments.slice(opening + 1, -1)]
}

/** What a model may write: texts with no tags in them, and with whitespace where it matters. */
function randomAnswer(random: Random): ChatMessage & { reasoning_content: string; content: string } {
  const start = random.pick(['', '', '', 'so ', ' ', '\n', '\n\n', '  ', ' \n', '\u3000'])
  const end = random.pick(['', '', '.', '\n', ' ', ').\n'])
  const calls = random.next() < 0.4 ? [{ name: 'other', arguments: { a: randomText(random, TAGS) } }] : []
  return {
    role: 'assistant',
    reasoning_content: `r${randomText(random, TAGS)}${end}`,
    content: `${start}${randomText(random, TAGS)}${end}`,
    ...(calls.length > 0 && { tool_calls: calls }),
  }
}

function randomQuestion(random: Random, last: ChatMessage | undefined): ChatMessage[] {
  const results = random.list(3, (): ChatMessage => ({ role: 'tool', content: randomText(random) }))
  if (last?.tool_calls?.length && random.next() < 0.7) return [{ role: 'tool', content: 'done' }, ...results]
  const question: ChatMessage = { role: 'user', content: randomText(random) }
  const kind = last ? random.below(6) : 5
  if (kind === 0) return []
  if (kind === 1) return [question, question]
  if (kind === 2) return [question, { role: 'assistant', content: 'given', reasoning_content: randomText(random) }]
  return [question]
}

const KEEP = ['model', 'always', 'never'] as const
const FORMATS = { m2, nano, foreignM2, foreignNano }
const cases = Object.keys(FORMATS).flatMap((format) => KEEP.map((keep) => ({ format, keep }) as const))

describe('a transcript', () => {
  it.each(cases)('is what the template renders: $format, keepReasoning $keep', ({ format, keep }) => {
    const count = format.startsWith('foreign') ? 15 : 80
    let answers = 0
    for (let seed = 0; seed < count; seed++) {
      const random = new Random(seed)
      const play = new Play(random.pick([small, large]), FORMATS[format as keyof typeof FORMATS], keep)
      if (random.next() < 0.4) play.messages.push(...randomConversation(random))
      for (let turn = 0; turn < 5; turn++) {
        const before = [...play.transcript.ids]
        const prompt = [...play.ask(...randomQuestion(random, play.messages.at(-1)))]
        expect(prompt).toEqual(play.expected)
        if (keep === 'always') expect(prompt.slice(0, before.length)).toEqual(before)
        const answer = randomAnswer(random)
        const ids = play.idsOf(answer)
        if (!ids) break
        answers++
        play.answer(answer, ids)
      }
    }
    expect(answers).toBeGreaterThan(4 * count)
  })

  it.each(['model', 'never'] as const)('keeps odd ids, and cuts only thinking out of them: %s', (keep) => {
    let kept = 0
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const tokenizer = random.pick([small, large])
      const play = new Play(tokenizer, m2, keep)
      const tails: number[][] = []
      for (let turn = 0; turn < 4; turn++) {
        const prompt = play.ask({ role: 'user', content: randomText(random) })
        expect(tokenizer.decode(prompt)).toBe(joinSegments(play.oracle))
        for (const tail of tails) expect(`,${prompt.join()},`).toContain(`,${tail.join()},`)
        expect(prompt.filter((id) => id === tokenizer.idOf('<think>'))).toHaveLength(1)
        const answer = { ...randomAnswer(random), tool_calls: [] }
        const ids = sampledSegments(answer).flatMap((segment) => oddIds(tokenizer, segment, random))
        // Behind whitespace a cut may join tokens.
        if (/^[^\s]/.test(answer.content)) tails.push(ids.slice(ids.lastIndexOf(tokenizer.idOf('</think>')!) + 3))
        play.answer(answer, ids)
      }
      kept += tails.length
    }
    expect(kept).toBeGreaterThan(300)
  })

  it.each(['model', 'never'] as const)('ends turns that were cut off anywhere: %s', (keep) => {
    for (let seed = 0; seed < 300; seed++) {
      const random = new Random(seed)
      const tokenizer = random.pick([small, large])
      const play = new Play(tokenizer, m2, keep)
      for (let turn = 0; turn < 4; turn++) {
        const prompt = play.ask({ role: 'user', content: `q${turn}` })
        expect(tokenizer.decode(prompt)).toBe(joinSegments(play.oracle))
        const whole = play.idsOf({
          ...randomAnswer(random),
          content: random.pick(['', 'abc', ' a\n', '\n\nb']),
          tool_calls: [],
        })
        if (!whole) break
        const ids = whole.subarray(0, random.below(whole.length))
        play.answer(parsed(tokenizer.decode(ids)), ids)
      }
    }
  })

  it('appends to what was sampled without dropping anything', () => {
    for (const template of [nano, m2]) {
      for (let seed = 0; seed < 100; seed++) {
        const random = new Random(seed)
        const play = new Play(random.pick([small, large]), template, 'always')
        let sofar: number[] = []
        for (let turn = 0; turn < 4; turn++) {
          const prompt = play.ask(...randomQuestion(random, play.messages.at(-1)))
          expect([...prompt.subarray(0, sofar.length)]).toEqual(sofar)
          if (turn > 0) {
            const added = play.tokenizer.decode(prompt.subarray(sofar.length))
            const isEnded = sofar.at(-1) === play.tokenizer.idOf('[e~[')
            expect(added).toMatch(isEnded ? /^\n\]~b\]/ : /^\[e~\[\n\]~b\]/)
          }
          const ids = random
            .list(30, () => random.below(play.tokenizer.vocabSize))
            .filter((id) => isUsed(play.tokenizer, id))
          play.answer({ role: 'assistant', content: 'whatever', tool_calls: [{ name: 'other', arguments: {} }] }, ids)
          sofar = [...prompt, ...ids]
          expect([...play.transcript.ids]).toEqual(sofar)
        }
      }
    }
  })
})

const isUsed = (tokenizer: Tokenizer, id: number) => !tokenizer.unusedIds.includes(id)

/** Ids of a text that the tokenizer would not give: those of random pieces of it. */
function oddIds(tokenizer: Tokenizer, { text, special }: Segment, random: Random): number[] {
  const pieces = special ? [text] : [...text]
  const glued = pieces.reduce<string[]>((all, piece) => {
    if (all.length > 0 && random.next() < 0.5 && !/\s/.test(piece)) all.push((all.pop() ?? '') + piece)
    else all.push(piece)
    return all
  }, [])
  return glued.flatMap((piece) => [...tokenizer.encode(piece, { special })])
}

/** The message that an output is. */
function parsed(output: string): ChatMessage {
  const parser = new OutputParser()
  parser.push(output)
  const { text, reasoning } = parser.end()
  return { role: 'assistant', content: text, reasoning_content: reasoning }
}
