/** `m2 generate`: one prompt, one answer. Data goes to stdout, everything else to stderr. */
import type { Command } from 'commander'
import type { Engine, GenerateOptions, Generation, Result } from '../index'
import { INTERRUPTED } from './exit-status'
import { addModelOptions, loadEngine, type ModelFlags } from './model-flags'
import { isPlain, Printer } from './printer'
import { type Prompt, type PromptFlags, readPrompt } from './prompt'
import { logprobTable, summary } from './report'
import { addSamplingOptions, type Sampling, samplingOf } from './sampling'
import type { Shell } from './shell'
import { nonEmpty, whole } from './values'

interface Flags extends PromptFlags, ModelFlags, Sampling, Pick<GenerateOptions, 'ignoreEos' | 'logprobs'> {
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
  const command = program
    .command('generate')
    .description('answer a prompt (a chat unless --raw)')
    .argument('[prompt]', 'the prompt; - reads it from stdin')
  addSamplingOptions(addModelOptions(command))
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
  const engine = await loadEngine(flags, shell, flags.quiet)
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

function start(engine: Engine, prompt: Prompt, flags: Flags): Generation {
  const { stop, ignoreEos, logprobs } = flags
  const options: GenerateOptions = { ...samplingOf(flags), stop, ignoreEos, logprobs }
  return 'messages' in prompt ? engine.chat(prompt.messages, options) : engine.generate(prompt.raw, options)
}

async function print(generation: Generation, shell: Shell): Promise<Result> {
  const printer = new Printer(shell.stdout, { plain: isPlain(shell.env) })
  try {
    for await (const chunk of generation) printer.push(chunk)
    return await generation.result()
  } finally {
    printer.end()
  }
}
