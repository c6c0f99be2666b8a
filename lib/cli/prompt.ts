/** What `m2 generate` is asked: read and checked before a model is loaded. */
import { type ChatMessage, M2Error } from '../index'
import type { Shell } from './shell'
import { decodeText, readText } from './text-file'

export interface PromptFlags {
  promptFile?: string
  tokenIds?: string
  system?: string
  raw?: boolean
}

/** Messages to be rendered by the chat template, or text or ids to be continued as they are. */
export type Prompt = { messages: ChatMessage[] } | { raw: string | number[] }

/** @throws M2Error BAD_INPUT or BAD_OPTION when there is not exactly one prompt, or when it cannot be read. */
export async function readPrompt(
  argument: string | undefined,
  flags: PromptFlags,
  stdin: Shell['stdin'],
): Promise<Prompt> {
  const given = [
    ['the argument', argument],
    ['--prompt-file', flags.promptFile],
    ['--token-ids', flags.tokenIds],
  ].flatMap(([name, value]) => (value === undefined ? [] : [name]))
  if (given.length === 0) {
    throw new M2Error('BAD_INPUT', 'no prompt: give it as an argument, or with --prompt-file FILE, or - for stdin')
  }
  if (given.length > 1) throw new M2Error('BAD_INPUT', `one prompt was expected, found ${given.join(' and ')}`)
  const raw = flags.raw || flags.tokenIds !== undefined
  if (raw && flags.system !== undefined) {
    throw new M2Error('BAD_OPTION', '--system is part of a chat: it does not go with --raw or --token-ids')
  }
  if (flags.tokenIds !== undefined) return { raw: parseIds(await read('--token-ids', flags.tokenIds, stdin)) }

  const text = await promptText(argument, flags.promptFile, stdin)
  if (raw) return { raw: text }
  const system: ChatMessage[] = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
  return { messages: [...system, { role: 'user', content: text }] }
}

async function promptText(argument: string | undefined, file: string | undefined, stdin: Shell['stdin']) {
  if (file === undefined && argument !== undefined && argument !== '-') return argument
  const text = await read(file === undefined ? 'the prompt' : '--prompt-file', file ?? '-', stdin)
  return text.replace(/\r?\n$/, '') // the end of a file's last line is not part of what it says
}

/** The text of a file, or of stdin for `-`; `what` names it in errors. */
async function read(what: string, file: string, stdin: Shell['stdin']): Promise<string> {
  const name = `${what} ${file}`
  return file === '-' ? decodeText(await readAll(stdin), name) : readText(file, name)
}

async function readAll(stream: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

function parseIds(text: string): number[] {
  let ids: unknown
  try {
    ids = JSON.parse(text)
  } catch (error) {
    throw new M2Error('BAD_INPUT', `--token-ids: expected a JSON array, found ${(error as Error).message}`)
  }
  if (!Array.isArray(ids)) throw new M2Error('BAD_INPUT', `--token-ids: expected a JSON array, found ${typeof ids}`)
  const wrong = ids.findIndex((id) => !Number.isSafeInteger(id) || id < 0)
  if (wrong >= 0) {
    throw new M2Error(
      'BAD_INPUT',
      `--token-ids: expected token ids, found ${JSON.stringify(ids[wrong])} at index ${wrong}`,
    )
  }
  return ids as number[]
}
