/** A conversation in a file, as JSON: what `/save` writes and `/load` reads. */
import { randomBytes } from 'node:crypto'
import { rename, rm, writeFile } from 'node:fs/promises'
import { type ChatMessage, M2Error } from '../../index'
import { readText, refused } from '../text-file'

const FORMAT = 'm2-chat-1'

export interface SavedChat {
  /** What the model was called. */
  model: string
  /** '' where there was none. */
  system: string
  /** Without the system message; contents are strings. */
  messages: ChatMessage[]
}

/** Writes a file anew, or in the place of a saved chat: never over anything else. @throws {M2Error} BAD_INPUT */
export async function saveChat(file: string, chat: SavedChat): Promise<void> {
  const text = `${JSON.stringify({ format: FORMAT, ...chat }, undefined, 2)}\n`
  const isNew = await writeFile(file, text, { flag: 'wx', mode: 0o600 }).then(
    () => true,
    (error) => (error.code === 'EEXIST' ? false : refused(error, file)),
  )
  if (!isNew) await replace(file, text)
}

async function replace(file: string, text: string): Promise<void> {
  await readChat(file).catch((error) => {
    throw new M2Error('BAD_INPUT', `${error.message}; it is not overwritten: take another name`)
  })
  const whole = `${file}.${randomBytes(4).toString('hex')}`
  try {
    await writeFile(whole, text, { flag: 'wx', mode: 0o600 })
    await rename(whole, file)
  } catch (error) {
    await rm(whole, { force: true })
    refused(error as NodeJS.ErrnoException, file)
  }
}

/** @throws {M2Error} BAD_INPUT for what is no saved chat. What its messages say is for the engine to check. */
export async function readChat(file: string): Promise<SavedChat> {
  const { format, model, system, messages } = parsed(await readText(file), file)
  const isChat = format === FORMAT && typeof model === 'string' && typeof system === 'string' && isMessages(messages)
  if (!isChat) throw new M2Error('BAD_INPUT', `${file}: expected a chat that /save wrote, found other JSON`)
  return { model, system, messages }
}

function parsed(text: string, file: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text))
  } catch {
    throw new M2Error('BAD_INPUT', `${file}: expected a chat that /save wrote, found text that is not JSON`)
  }
}

function isMessages(messages: unknown): messages is ChatMessage[] {
  return Array.isArray(messages) && messages.every((message) => typeof message?.content === 'string')
}
