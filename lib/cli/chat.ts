/** `m2 chat`: a conversation in a terminal, or of a script. */
import path from 'node:path'
import type { Command } from 'commander'
import { M2Error, type ToolDefinition } from '../index'
import { Chat, systemMessages } from './chat/chat'
import { completions } from './chat/commands'
import { HistoryFile, historyPath } from './chat/history-file'
import { type Lines, PipedLines } from './chat/lines'
import { Session } from './chat/session'
import { addModelOptions, loadEngine, type ModelFlags } from './model-flags'
import { addSamplingOptions, type Sampling, samplingOf } from './sampling'
import type { Shell } from './shell'
import { count } from './table'
import { readText } from './text-file'

interface Flags extends ModelFlags, Sampling {
  system?: string
  load?: string
  tools?: string
}

const HELP = `
/help there lists the commands. Where stdin is no terminal, each line of it is a message or a command; answers go to stdout.

Examples:
  m2 chat --system "Be brief."
  printf 'What is 47 + 38?\\n/stats\\n' | m2 chat`

/** Adds the command; `done` receives its exit status. */
export function addChat(program: Command, shell: Shell, done: (status: number) => void): void {
  const command = program.command('chat').description('talk with a model')
  addSamplingOptions(addModelOptions(command))
    .option('--system <text>', 'system message')
    .option('--load <file>', 'go on with a conversation that /save wrote')
    .option('--tools <file>', 'JSON array of tools that the model may call; you are asked for their results')
    .addHelpText('after', HELP)
    .action(async (flags: Flags) => done(await chat(flags, shell)))
}

async function chat(flags: Flags, shell: Shell): Promise<number> {
  if (flags.system !== undefined && flags.load !== undefined) {
    throw new M2Error('BAD_OPTION', '--system: a conversation from --load has its own; leave one of them out')
  }
  const tools = flags.tools === undefined ? undefined : await readTools(flags.tools)
  const engine = await loadEngine(flags, shell)
  try {
    const session = new Session(engine, { tools, sampling: samplingOf(flags) }, systemMessages(flags.system ?? ''))
    const { context, directory } = engine.model
    const name = flags.model ?? path.basename(directory)
    const lines = openLines(shell)
    try {
      const talk = new Chat(shell, lines, session, { name, context })
      if (flags.load !== undefined) await talk.load(flags.load)
      if (lines.isTerminal)
        shell.stderr.write(`${name} on ${engine.device}, ${count(context)} tokens of context; /help\n`)
      return await talk.run()
    } finally {
      lines.close()
    }
  } finally {
    await engine.close()
  }
}

async function readTools(file: string): Promise<ToolDefinition[]> {
  const text = await readText(file, `--tools ${file}`)
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new M2Error('BAD_INPUT', `--tools ${file}: expected a JSON array, found ${(error as Error).message}`)
  }
}

function openLines(shell: Shell): Lines {
  if (!shell.openTerminal) return new PipedLines(shell.stdin)
  const file = historyPath(shell.env)
  const history = file === undefined ? undefined : new HistoryFile(file)
  return shell.openTerminal({
    history: history?.lines ?? [],
    remember: (line) => history?.add(line),
    complete: completions,
    isDumb: shell.env.TERM === 'dumb',
  })
}
