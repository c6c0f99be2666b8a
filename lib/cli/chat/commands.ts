/** What a person types at the prompt of `m2 chat`: a message, or a command that begins with a slash. Nothing but reading it. */
import { M2Error } from '../../index'
import { nearest } from '../../known-keys'
import { table } from '../table'

/** Each command: what it takes, and what `/help` says of it. */
const COMMANDS = {
  help: { takes: '', help: 'what you are reading' },
  thinking: { takes: 'on|off', help: "show or hide the model's thinking" },
  stats: { takes: '', help: 'tokens, tokens/s, cache hits, context used' },
  set: {
    takes: 'NAME VALUE',
    help: 'temperature, top_p, top_k, min_p, max_tokens, seed (or show them)',
  },
  system: { takes: 'TEXT', help: 'begin anew under a system message; "" for none (or show it)' },
  undo: { takes: '', help: 'drop the last message and its answer' },
  retry: { takes: '', help: 'answer the last message again, with another seed' },
  reset: { takes: '', help: 'begin a new conversation (/new)' },
  save: { takes: 'FILE', help: 'write the conversation into a file' },
  load: { takes: 'FILE', help: 'go on with a conversation from a file' },
  exit: { takes: '', help: 'leave (/quit, Ctrl-D, Ctrl-C twice)' },
} as const

export type CommandName = keyof typeof COMMANDS

const ALIASES = new Map<string, CommandName>([
  ['new', 'reset'],
  ['quit', 'exit'],
])
const NAMES = Object.keys(COMMANDS) as CommandName[]
const SLASHED = [...NAMES, ...ALIASES.keys()].map((name) => `/${name}`)

export type Entry = { message: string } | { command: CommandName; argument: string }

/** @throws {M2Error} BAD_INPUT for a command that there is not, or that is not given what it takes. */
export function readEntry(text: string): Entry {
  if (text.startsWith('//')) return { message: text.slice(1) }
  if (!text.startsWith('/')) return { message: text }
  const [, word = '', argument = ''] = /^\/(\S*)\s*([\s\S]*)$/.exec(text)!
  const command = NAMES.find((name) => name === word) ?? ALIASES.get(word)
  if (command === undefined) {
    const meant = nearest(`/${word}`, SLASHED)
    throw new M2Error('BAD_INPUT', `/${word}: no such command; did you mean ${meant}? (//${word} says it to the model)`)
  }
  return { command, argument: checkArgument(command, argument.trim()) }
}

function checkArgument(command: CommandName, argument: string): string {
  const { takes } = COMMANDS[command]
  const usage = `expected /${command} ${takes}`.trimEnd()
  const isMissing = takes === 'FILE' && argument === ''
  const isWrong = takes === 'on|off' && argument !== 'on' && argument !== 'off'
  const isTooMuch = takes === '' && argument !== ''
  if (!isMissing && !isWrong && !isTooMuch) return argument
  throw new M2Error('BAD_INPUT', `${usage}, found ${argument === '' ? 'nothing' : `"${argument}"`} behind it`)
}

/** The commands that a line may be the beginning of. */
export const completions = (line: string): string[] =>
  line.startsWith('/') ? SLASHED.filter((name) => name.startsWith(line)) : []

export const helpText = (): string =>
  `${table(NAMES.map((name) => [`/${name} ${COMMANDS[name].takes}`.trimEnd(), COMMANDS[name].help]))}
A line that ends in \\ goes on in the next. A paste is one message, sent by Enter.
// at the beginning is a slash of the message. A space there keeps the line out
of the history. Ctrl-C stops an answer, and what there is of it stays.
`
