import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Shell } from '../shell'

const MOST_LINES = 1000
const PRIVATE = 0o600

/** What was typed, kept for the next chat. A history that cannot be read or written is shorter, and no error. */
export class HistoryFile {
  /** The earliest first. */
  readonly lines: readonly string[]
  private last: string | undefined

  constructor(private readonly file: string) {
    const lines = attempt(() => readFileSync(file, 'utf8').split('\n').filter(Boolean)) ?? []
    this.lines = lines.slice(-MOST_LINES)
    this.last = this.lines.at(-1)
    if (lines.length > MOST_LINES) attempt(() => writeFileSync(file, joined(this.lines), { mode: PRIVATE }))
  }

  add = (line: string): void => {
    if (line === this.last) return
    this.last = line
    attempt(() => {
      mkdirSync(path.dirname(this.file), { recursive: true, mode: 0o700 })
      appendFileSync(this.file, joined([line]), { mode: PRIVATE })
    })
  }
}

/** Where it is: undefined where nobody's home is known. */
export function historyPath({ XDG_STATE_HOME, HOME }: Shell['env']): string | undefined {
  const state = XDG_STATE_HOME || (HOME && path.join(HOME, '.local', 'state'))
  return state ? path.join(state, 'm2', 'chat-history') : undefined
}

const joined = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('')

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}
