/** The embedded model's answers to questions it was not trained on, greedy, against the recorded count per kind. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { Template } from '@huggingface/jinja'
import { Tokenizer } from '@huggingface/tokenizers'
import { expect, it } from 'vitest'
import { Driver } from './driver'

interface Question {
  kind: string
  messages: object[]
  tools?: object[]
  expected: string
}

const NANO = path.join(__dirname, '../../models/nano')
const EOS = 3
const SEQUENCES = 16
const MAX_TOKENS = 256

const text = (name: string) => readFileSync(path.join(NANO, name), 'utf8')
const json = (name: string) => JSON.parse(text(name))

/** What follows the reasoning, up to the end of the turn. */
const answerIn = (output: string) => output.replace(/^.*?<\/think>\n\n/s, '').split('[e~[')[0]

/** Answers all prompts greedily, SEQUENCES at a time; a row that ends takes the next prompt. */
async function answer(driver: Driver, prompts: readonly number[][]): Promise<number[][]> {
  const outputs: number[][] = prompts.map(() => [])
  const waiting = [...prompts.keys()].reverse()
  const running: (number | undefined)[] = new Array(SEQUENCES).fill(undefined)
  for (;;) {
    for (let row = 0; row < SEQUENCES; row++) {
      const output = outputs[running[row] ?? -1]
      if (output && output.at(-1) !== EOS && output.length < MAX_TOKENS) continue
      driver.release(row)
      running[row] = waiting.pop()
    }
    const rows = [...running.keys()].filter((row) => running[row] !== undefined)
    if (rows.length === 0) return outputs
    const chunks = rows.map((row) => {
      const output = outputs[running[row]!]!
      return { row, ids: output.length > 0 ? output.slice(-1) : prompts[running[row]!]! }
    })
    const samples = await driver.step(chunks)
    for (const [i, row] of rows.entries()) outputs[running[row]!]!.push(samples[i]![0]!.id)
  }
}

it.each(['bf16', 'fp8'] as const)(
  'the embedded model answers as many held-out questions of each kind as recorded, less two, over a %s cache',
  async (kvDtype) => {
    const questions: Question[] = text('eval/heldout.jsonl')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    const template = new Template(text('chat_template.jinja'))
    const tokenizer = new Tokenizer(json('tokenizer.json'), { ...json('tokenizer_config.json') })
    const prompts = questions.map(({ messages, tools }) => {
      const prompt = template.render({ messages, tools: tools ?? null, add_generation_prompt: true })
      return tokenizer.encode(prompt, { add_special_tokens: false }).ids
    })

    const kvScales = async () => Float32Array.from(json('m2-kv-scales.json').scales as number[])
    const capacity = { maxContext: 1536, maxSequences: SEQUENCES, maxStepTokens: SEQUENCES * 1024 }
    const driver = await Driver.load(NANO, { ...capacity, kvDtype, kvScales })
    const outputs = await answer(driver, prompts)

    const right = new Map<string, number>()
    for (const [i, { kind, expected }] of questions.entries()) {
      const output = tokenizer.decode(outputs[i]!, { skip_special_tokens: false, clean_up_tokenization_spaces: false })
      right.set(kind, (right.get(kind) ?? 0) + (answerIn(output) === expected ? 1 : 0))
    }
    const recorded: [string, [number, number]][] = Object.entries(json('eval/accuracy.json'))
    expect([...right.keys()].sort()).toEqual(recorded.map(([kind]) => kind).sort())
    for (const [kind, [count]] of recorded) {
      expect(right.get(kind), `right answers of kind ${kind}`).toBeGreaterThanOrEqual(count - 2)
    }
  },
  240_000,
)
