/** Where a chat's lines come from, and how they become messages. */

/** Ctrl-C at an empty prompt, or the end of the input. */
export type Signal = 'interrupt' | 'end'

export interface Lines {
  /** Someone types them: commands of their own may be completed, and Ctrl-C twice leaves. */
  readonly isTerminal: boolean
  /** The next line without its end; of a terminal, a paste as one. */
  read(prompt: string): Promise<{ line: string } | Signal>
  /** The line that is being read is the end. */
  close(): void
}

const PROMPT = '> '
const CONTINUED = '… '

/** Lines up to one that does not end in a backslash. Ctrl-C drops what was begun, which then is an empty message. */
export async function readMessage(lines: Lines, prompt = PROMPT): Promise<{ text: string } | Signal> {
  let text = ''
  for (;;) {
    const read = await lines.read(text === '' ? prompt : CONTINUED)
    if (read === 'end' && text !== '') return { text: text.trimEnd() }
    if (read === 'interrupt' && text !== '') return { text: '' }
    if (typeof read === 'string') return read
    text += read.line.endsWith('\\') ? `${read.line.slice(0, -1)}\n` : read.line
    if (!read.line.endsWith('\\')) return { text: text.trimEnd() }
  }
}

/** The lines of a file or a pipe. */
export class PipedLines implements Lines {
  readonly isTerminal = false
  private readonly lines: AsyncIterator<string>
  private stop!: (signal: Signal) => void
  private readonly closed = new Promise<Signal>((resolve) => {
    this.stop = resolve
  })

  constructor(stdin: AsyncIterable<Uint8Array>) {
    this.lines = linesOf(stdin)
  }

  read(): Promise<{ line: string } | Signal> {
    const next = this.lines
      .next()
      .then(({ done, value }) => (done ? 'end' : { line: value }) as { line: string } | Signal)
    return Promise.race([next, this.closed])
  }

  close(): void {
    this.stop('end')
  }
}

async function* linesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const part of bytes) {
    const lines = (rest + decoder.decode(part, { stream: true })).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield line.replace(/\r$/, '')
  }
  rest += decoder.decode()
  if (rest !== '') yield rest.replace(/\r$/, '')
}
