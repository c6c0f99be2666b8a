import { createInterface, type Interface } from 'node:readline'
import type { ReadStream, WriteStream } from 'node:tty'
import { visible } from '../printer'
import { Keys } from './keys'
import type { Lines, Signal } from './lines'

export interface TerminalSettings {
  /** What was typed in earlier chats, the earliest first. */
  history: readonly string[]
  /** A line that is to be remembered. */
  remember(line: string): void
  /** What a line may become. */
  complete(line: string): string[]
  /** The terminal understands nothing but text. */
  isDumb: boolean
}

const PASTES_MARKED = '\x1b[?2004h'
const PASTES_UNMARKED = '\x1b[?2004l'
const MOST_LINES = 1000

type Read = { line: string } | Signal

/**
 * A person at a keyboard: editing and history by readline. Only while a line is read the terminal is in raw mode; at all other times Ctrl-C is a
 * signal again, and whatever ends the process leaves a terminal that works. What is pasted sends nothing before Enter.
 */
export class Terminal implements Lines {
  readonly isTerminal = true
  private readonly editor: Interface
  private isPasting = false
  /** Lines of a paste above the one that is edited. */
  private above: string[] = []
  /** What came while nobody read. */
  private readonly early: Read[] = []
  private waiting: ((read: Read) => void) | undefined
  private isClosed = false

  constructor(
    private readonly input: ReadStream,
    private readonly output: WriteStream,
    private readonly settings: TerminalSettings,
  ) {
    const keys = new Keys(input, (text) => this.paste(text))
    this.editor = createInterface({
      input: keys as unknown as NodeJS.ReadableStream,
      output,
      history: settings.history.toReversed(),
      historySize: MOST_LINES,
      crlfDelay: Infinity,
      completer: (line: string) => [settings.complete(line), line],
    })
    this.rest()
    this.editor.on('line', (line) => this.take(line))
    this.editor.on('history', (history) => this.remember(history))
    this.editor.on('SIGINT', () => this.interrupt())
    this.editor.on('close', () => this.end())
    this.editor.on('SIGCONT', () => this.listen())
    process.once('exit', () => this.close())
  }

  read(prompt: string): Promise<Read> {
    const early = this.early.shift()
    if (early) return Promise.resolve(early)
    if (this.isClosed) return Promise.resolve('end')
    this.editor.setPrompt(prompt)
    this.listen()
    return new Promise((resolve) => {
      this.waiting = resolve
    })
  }

  close(): void {
    if (!this.isClosed) this.editor.close()
  }

  /** Also again after Ctrl-Z. */
  private listen(): void {
    this.input.setRawMode(true)
    if (!this.settings.isDumb) this.output.write(PASTES_MARKED)
    this.editor.prompt(true)
  }

  /** Nobody reads: the terminal is as the shell left it. */
  private rest(): void {
    if (!this.isClosed) this.editor.pause()
    this.input.setRawMode(false)
    if (!this.settings.isDumb) this.output.write(PASTES_UNMARKED)
  }

  private give(read: Read): void {
    this.rest()
    if (this.waiting) this.waiting(read)
    else this.early.push(read)
    this.waiting = undefined
  }

  private take(line: string): void {
    this.above.push(line)
    if (this.isPasting) {
      this.editor.setPrompt('')
      this.editor.prompt()
      return
    }
    const lines = this.above
    this.above = []
    this.give({ line: lines.join('\n') })
  }

  /** Where the cursor is; what stands behind it goes to the end, since each line end sends a whole line. */
  private paste(text: string): void {
    const behind = this.editor.line.slice(this.editor.cursor)
    this.editor.write(null, { ctrl: true, name: 'k' })
    this.isPasting = true
    this.editor.write(visible(text))
    this.isPasting = false
    this.editor.write(behind)
    for (const _ of behind) this.editor.write(null, { name: 'left' })
  }

  private interrupt(): void {
    const isEmpty = this.editor.line === '' && this.above.length === 0
    this.above = []
    this.editor.write(null, { ctrl: true, name: 'e' })
    this.editor.write(null, { ctrl: true, name: 'u' })
    if (!isEmpty) return
    this.output.write('\n')
    this.give('interrupt')
  }

  private remember(history: string[]): void {
    const [line = ''] = history
    if (line.startsWith(' ')) history.shift()
    else if (line !== '') this.settings.remember(line)
  }

  private end(): void {
    this.isClosed = true
    if (this.waiting) this.output.write('\n')
    this.give('end')
  }
}
