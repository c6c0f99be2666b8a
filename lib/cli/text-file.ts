/** Files that a person names, and what is said where they cannot be had. `name` is what errors call the file. */
import { readFile } from 'node:fs/promises'
import { getSystemErrorMap } from 'node:util'
import { M2Error } from '../index'

/** @throws {M2Error} BAD_INPUT */
export async function readText(file: string, name = file): Promise<string> {
  return decodeText(await readFile(file).catch((error) => refused(error, name)), name)
}

/** @throws {M2Error} BAD_INPUT for what is not UTF-8 */
export function decodeText(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new M2Error('BAD_INPUT', `${name}: expected UTF-8 text, found other bytes`)
  }
}

/** What the system would not do with a file. @throws {M2Error} BAD_INPUT */
export function refused(error: NodeJS.ErrnoException, name: string): never {
  const reason = getSystemErrorMap().get(error.errno ?? 0)?.[1] ?? error.message
  throw new M2Error('BAD_INPUT', `${name}: ${reason}`)
}
