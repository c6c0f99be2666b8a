/** `m2 generate`: one prompt, one answer. Data goes to stdout, everything else to stderr. */
import type { Command } from 'commander'
import type { Engine, EngineOptions, GenerateOptions, Generation, Result } from '../index'
import { INTERRUPTED } from './exit-status'
import { Printer } from './printer'
import { Progress } from './progress'
import { type Prompt, type PromptFlags, readPrompt } from './prompt'
import { logprobTable, summary } from './report'
import type { Shell } from './shell'
import { decimal, nonEmpty, whole } from './values'

type Sampling = Pick<
  GenerateOptions,
  'maxTokens' | 'temperature' | 'topP' | 'topK' | 'minP' | 'seed' | 'ignoreEos' | 'logprobs'
>

interface Flags extends PromptFlags, Sampling {
  model?: string
  device?: EngineOptions['device']
  kvDtype?: EngineOptions['kvDtype']
  weightDtype?: EngineOptions['weightDtype']
  stop?: string[]
  json?: boolean
  quiet?: boolean
}

const EXAMPLES = `
Examples:
  m2 generate "What is 47 + 38?"
  m2 generate --system "Answer in one word." --prompt-file question.txt
  cat question.txt | m2 generate - --json`

/** Adds the command; `done` receives its exit status. */
export function addGenerate(program: Command, shell: Shell, done: (status: number) => void): void {
  program
    .command('generate')
    .description('answer a prompt (a chat unless --raw)')
    .argument('[prompt]', 'the prompt; - reads it from stdin')
    .option('--model <model>', 'its folder, or owner/name once downloaded (default: the small embedded one)')
    .option('--device <device>', 'auto, cpu, cuda or cuda:N')
    .option('--weight-dtype <type>', 'what weights are held as: auto, bf16, fp8 or int4 (default: as stored)')
    .option('--kv-dtype <type>', 'element type of the KV cache: f32, bf16 or fp8 (default: bf16)')
    .option('--max-tokens <n>', 'most tokens to generate (default: what is left of the context)', whole({ least: 1 }))
    .option('--temperature <t>', "0 takes the most probable token (default: the model's own)", decimal({ least: 0 }))
    .option(
      '--top-p <p>',
      'smallest set of tokens whose probabilities reach p',
      decimal({ least: 0, most: 1, above: true }),
    )
    .option('--top-k <k>', 'the k most probable tokens; 0: all', whole({ least: 0 }))
    .option('--min-p <p>', 'tokens at least p times as probable as the most probable', decimal({ least: 0, most: 1 }))
    .option('--seed <n>', 'the same seed and prompt give the same tokens', whole())
    .option('--stop <text>', 'end before this text (repeatable)', nonEmpty)
    .option('--system <text>', 'system message')
    .option('--ignore-eos', "go on past the model's end of message")
    .option(
      '--logprobs <n>',
      'log probabilities of each token and of the n most probable ones',
      whole({ least: 0, most: 20 }),
    )
    .option('--json', 'print one JSON object: the result, the model and the device')
    .option('--quiet', 'no progress and no summary on stderr')
    .option('--raw', 'continue the prompt as plain text, without the chat template')
    .option('--prompt-file <file>', 'read the prompt from a file; - for stdin')
    .option('--token-ids <file>', 'continue the token ids of a JSON array in a file; - for stdin')
    .addHelpText('after', EXAMPLES)
    .action(async (argument: string | undefined, flags: Flags) => done(await generate(argument, flags, shell)))
}

async function generate(argument: string | undefined, flags: Flags, shell: Shell): Promise<number> {
  const prompt = await readPrompt(argument, flags, shell.stdin)
  const engine = await loadEngine(flags, shell)
  try {
    const generation = start(engine, prompt, flags)
    let interrupted = false
    shell.onInterrupt(() => {
      interrupted = true
      generation.abort()
    })
    const result = flags.json ? await generation.result() : await print(generation, shell)
    if (flags.json) {
      shell.stdout.write(`${JSON.stringify({ ...result, model: engine.model, device: engine.device })}\n`)
    } else {
      if (!engine.tokenizer) shell.stdout.write(`${JSON.stringify(result.tokenIds)}\n`)
      if (flags.logprobs !== undefined) shell.stderr.write(logprobTable(result, engine.tokenizer))
    }
    if (!flags.quiet) shell.stderr.write(`${summary(result)}\n`)
    return interrupted ? INTERRUPTED : 0
  } finally {
    await engine.close()
  }
}

async function loadEngine({ model, device, kvDtype, weightDtype, quiet }: Flags, shell: Shell): Promise<Engine> {
  const options = { device, kvDtype, weightDtype }
  if (quiet) return shell.load(model, options)
  const progress = new Progress(shell.stderr)
  try {
    return await shell.load(model, { ...options, onProgress: progress.report })
  } finally {
    progress.end()
  }
}

function start(engine: Engine, prompt: Prompt, flags: Flags): Generation {
  const { maxTokens, temperature, topP, topK, minP, seed, stop, ignoreEos, logprobs } = flags
  const options: GenerateOptions = { maxTokens, temperature, topP, topK, minP, seed, stop, ignoreEos, logprobs }
  return 'messages' in prompt ? engine.chat(prompt.messages, options) : engine.generate(prompt.raw, options)
}

async function print(generation: Generation, shell: Shell): Promise<Result> {
  const printer = new Printer(shell.stdout, !shell.env.NO_COLOR && shell.env.TERM !== 'dumb')
  try {
    for await (const chunk of generation) printer.push(chunk)
    const result = await generation.result()
    printer.calls(result.toolCalls)
    return result
  } finally {
    printer.endLine()
  }
}
