/**
 * What formats of weights, activations and KV cost the embedded model: right answers to its held-out questions, and the log-probability of the right answers'
 * text, against bf16 in all. FP8 weights are projections and experts as MiniMax publishes its own; int4 are the experts, quantised as they are loaded.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type ChatMessage, Engine, type EngineOptions, type Result, type ToolDefinition } from '../lib/index'
import { readTensorEntries } from '../lib/model/safetensors'
import { FP8_CONFIG, FP8_NAMES, inFp8, safetensorsBytes, type TensorToWrite } from '../test/reference/checkpoint-writer'
import { fromBf16Bits } from '../test/reference/number-formats'
import { digits, percent, type Table } from './tables'

const NANO = path.join(__dirname, '../models/nano')
const MAX_TOKENS = 256
const MAX_CONTEXT = 1536 // the longest questions fill the model's own
type Formats = Required<Pick<EngineOptions, 'weightDtype' | 'activationDtype' | 'kvDtype'>>
const FORMATS: Formats[] = [
  ...(['bf16', 'fp8', 'int4'] as const).flatMap((weightDtype) => [
    { weightDtype, activationDtype: 'auto', kvDtype: 'bf16' } as const,
    { weightDtype, activationDtype: 'auto', kvDtype: 'fp8' } as const,
  ]),
  ...(['fp8', 'int4'] as const).flatMap((weightDtype) => [
    { weightDtype, activationDtype: 'fp8', kvDtype: 'bf16' } as const,
    { weightDtype, activationDtype: 'fp8', kvDtype: 'fp8' } as const,
  ]),
]

interface Question {
  messages: ChatMessage[]
  tools?: ToolDefinition[]
  expected: string
  expected_reasoning: string
}

/** Of one combination of formats. */
interface Outcome {
  right: boolean[]
  /** Mean log-probability of a token, by question. */
  logprobs: number[]
  bytes: number
}

export async function benchQuality(): Promise<Table[]> {
  const questions: Question[] = readFileSync(path.join(NANO, 'eval/heldout.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const fp8 = await writeInFp8()
  try {
    const rows: string[][] = []
    let plain: Outcome | undefined
    for (const formats of FORMATS) {
      const { weightDtype, activationDtype, kvDtype } = formats
      const model = weightDtype === 'fp8' ? fp8 : NANO
      const outcome = await ask(model, { ...formats, maxContext: MAX_CONTEXT }, questions)
      plain ??= outcome
      rows.push([weightDtype, activationDtype, kvDtype, ...compare(outcome, plain), digits(outcome.bytes / 2 ** 20)])
    }
    return [
      {
        title: 'What formats cost the embedded model',
        note: `${questions.length} held-out questions, greedy; in brackets 95 % intervals (Wilson). Changed: answers that were right with bf16 and are wrong, and the other way round. Logprob: nats a token of the right answers' text, thinking included, less those of bf16; ± 1.96 standard errors over questions.`,
        columns: ['weights', 'activations', 'KV', 'right', 'changed', 'logprob', 'MiB of weights'],
        rows,
      },
    ]
  } finally {
    rmSync(fp8, { recursive: true, force: true })
  }
}

function compare({ right, logprobs }: Outcome, plain: Outcome): string[] {
  const count = right.filter(Boolean).length
  const lost = right.filter((is, i) => !is && plain.right[i]).length
  const won = right.filter((is, i) => is && !plain.right[i]).length
  const differences = logprobs.map((value, i) => value - plain.logprobs[i]!)
  const { mean, error } = meanOf(differences)
  const logprob =
    plain.logprobs === logprobs ? digits(meanOf(logprobs).mean) : `${signed(mean)} ± ${digits(1.96 * error)}`
  return [`${count} (${interval(count, right.length)})`, `-${lost} +${won}`, logprob]
}

const signed = (value: number) => `${value < 0 ? '' : '+'}${digits(value)}`

function meanOf(values: number[]): { mean: number; error: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1)
  return { mean, error: Math.sqrt(variance / values.length) }
}

/** Wilson's score interval of a share. */
function interval(count: number, n: number): string {
  const z = 1.96
  const share = count / n
  const middle = share + (z * z) / (2 * n)
  const reach = z * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n))
  const bound = (x: number) => percent(x / (1 + (z * z) / n), 1)
  return `${bound(middle - reach)} to ${bound(middle + reach)}`
}

async function ask(model: string, options: EngineOptions, questions: readonly Question[]): Promise<Outcome> {
  const engine = await Engine.load(model, options)
  try {
    const tokenizer = engine.tokenizer!
    const answers = await Promise.all(
      questions.map(({ messages, tools }) =>
        engine.chat(messages, { tools, temperature: 0, maxTokens: MAX_TOKENS }).result(),
      ),
    )
    const logprobs: number[] = []
    for (const [i, { expected, expected_reasoning }] of questions.entries()) {
      const text = tokenizer.encode(`${expected_reasoning}\n</think>\n\n${expected}[e~[`, { special: true })
      logprobs.push(await meanLogprob(engine, answers[i]!.promptTokenIds, text))
    }
    const right = answers.map((result, i) => answerIn(engine, result) === questions[i]!.expected)
    return { right, logprobs, bytes: engine.model.bytes }
  } finally {
    await engine.close()
  }
}

function answerIn(engine: Engine, { tokenIds }: Result): string {
  const text = engine.tokenizer!.decode(tokenIds, { special: true })
  return text.replace(/^.*?<\/think>\n\n/s, '').split('[e~[')[0]!
}

async function meanLogprob(engine: Engine, prompt: readonly number[], text: Int32Array): Promise<number> {
  const scores = (await engine.score([...prompt, ...text])).subarray(prompt.length)
  return scores.reduce((sum, value) => sum + value, 0) / scores.length
}

/** A copy of the embedded model whose projections and experts are FP8. */
async function writeInFp8(): Promise<string> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'm2-quality-'))
  cpSync(NANO, dir, { recursive: true, filter: (file) => !file.endsWith('.safetensors') })
  const bytes = readFileSync(path.join(NANO, 'model.safetensors'))
  const entries = await readTensorEntries(path.join(NANO, 'model.safetensors'))
  const tensors = entries.flatMap(({ name, dtype, shape, offset, bytes: length }): TensorToWrite[] => {
    const data = new Uint8Array(bytes.subarray(offset, offset + length))
    if (!FP8_NAMES.test(name)) return [{ name, dtype, shape, data }]
    const values = Float32Array.from(new Uint16Array(data.buffer), fromBf16Bits)
    return inFp8({ name, dtype: 'F32', shape, data: new Uint8Array(values.buffer) })
  })
  writeFileSync(path.join(dir, 'model.safetensors'), safetensorsBytes(tensors))
  const config = JSON.parse(readFileSync(path.join(NANO, 'config.json'), 'utf8'))
  writeFileSync(path.join(dir, 'config.json'), JSON.stringify({ ...config, quantization_config: FP8_CONFIG }))
  return dir
}
