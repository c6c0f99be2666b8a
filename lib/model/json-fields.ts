/**
 * Reading a JSON file of a checkpoint field by field: every complaint names the file, the field, what was expected and
 * what was found, in one line.
 */
import { readFile } from 'node:fs/promises'
import { M2Error, type M2ErrorCode } from '../errors'

/** How a found value is shown in a message: JSON, cut short. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** Parses the text of a JSON file whose top is an object. @throws {M2Error} BAD_CHECKPOINT when it is not. */
export function parseObject(text: string, file: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    const reason = (cause as Error).message.replace(/\s+/g, ' ')
    throw new M2Error('BAD_CHECKPOINT', `${file}: expected JSON, found what does not parse: ${reason}`, { cause })
  }
  if (!isObject(value)) throw new M2Error('BAD_CHECKPOINT', `${file}: expected a JSON object, found ${shown(value)}`)
  return value
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A JSON object of a file, read by typed getters. A field that is null counts as absent, as in Hugging Face files. */
export class JsonFields {
  readonly #values: Record<string, unknown>
  readonly #file: string
  readonly #prefix: string

  constructor(values: Record<string, unknown>, file: string, prefix = '') {
    this.#values = values
    this.#file = file
    this.#prefix = prefix
  }

  /** Reads and parses a file; null when there is none. */
  static async readFile(file: string): Promise<JsonFields | null> {
    let text: string
    try {
      text = await readFile(file, 'utf8')
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ENOTDIR') return null
      throw new M2Error('MODEL_NOT_FOUND', `${file}: expected a readable file, found ${code ?? message}`, { cause })
    }
    return new JsonFields(parseObject(text, file), file)
  }

  raw(name: string): unknown {
    return this.#values[name] ?? undefined
  }

  fail(code: M2ErrorCode, name: string, expected: string, found = shown(this.raw(name))): never {
    throw new M2Error(code, `${this.#file}: ${this.#prefix}${name}: expected ${expected}, found ${found}`)
  }

  number(name: string, expected: string, accepts: (value: number) => boolean): number | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    if (typeof value === 'number' && Number.isFinite(value) && accepts(value)) return value
    return this.fail('BAD_CHECKPOINT', name, expected)
  }

  positive(name: string): number | undefined {
    return this.number(name, 'a number above 0', (value) => value > 0)
  }

  /** A count: an integer from 1 to 2^31 - 1. */
  count(name: string): number | undefined {
    return this.number(name, 'an integer of at least 1', (value) => isInt32(value) && value >= 1)
  }

  requiredCount(name: string): number {
    return this.count(name) ?? this.fail('BAD_CHECKPOINT', name, 'an integer of at least 1')
  }

  boolean(name: string): boolean | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'boolean') return value
    return this.fail('BAD_CHECKPOINT', name, 'true or false')
  }

  string(name: string): string | undefined {
    const value = this.raw(name)
    if (value === undefined || typeof value === 'string') return value
    return this.fail('BAD_CHECKPOINT', name, 'a string')
  }

  array(name: string): unknown[] | undefined {
    const value = this.raw(name)
    if (value === undefined || Array.isArray(value)) return value
    return this.fail('BAD_CHECKPOINT', name, 'an array')
  }

  object(name: string): JsonFields | undefined {
    const value = this.raw(name)
    if (value === undefined) return undefined
    if (!isObject(value)) return this.fail('BAD_CHECKPOINT', name, 'an object')
    return new JsonFields(value, this.#file, `${this.#prefix}${name}.`)
  }

  /** Token ids given as one number or an array of them; empty when the field is absent. */
  tokenIds(name: string): number[] {
    const value = this.raw(name)
    if (value === undefined) return []
    const ids = Array.isArray(value) ? value : [value]
    if (ids.every((id) => isInt32(id) && id >= 0)) return ids
    return this.fail('BAD_CHECKPOINT', name, 'a token id or an array of token ids')
  }
}

function isInt32(value: unknown): value is number {
  return Number.isInteger(value) && Math.abs(value as number) <= 0x7fff_ffff
}
