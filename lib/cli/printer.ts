import type { Chunk, ToolCallDelta } from '../index'
import type { Output, Shell } from './shell'
import { StatusLine } from './status-line'
import { count } from './table'

/** No colours and no moving of the cursor, whatever the terminal could do. */
export const isPlain = (env: Shell['env']): boolean => !!env.NO_COLOR || env.TERM === 'dumb'

export const dim = (text: string): string => `\x1b[2m${text}\x1b[22m`

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a terminal would obey
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g

/** Text of a model without what a terminal would obey; tabs and line ends stay. */
export const visible = (text: string): string => text.replace(CONTROLS, '�')

interface Look {
  /** As `isPlain`. */
  plain: boolean
  /** A line that counts stands for the thinking until the answer begins. */
  hideThinking?: boolean
}

/**
 * Writes a stream of chunks for people. A terminal sees the thinking, dimmed (between its tags where it is plain), then the answer; a pipe or a
 * file gets the answer alone, so that a script reads what it asked for. Calls of tools have a line each: the name and the arguments as they come.
 */
export class Printer {
  private state: 'start' | 'thinking' | 'text' | 'call' = 'start'
  private last = ''
  private hiddenTokens = 0
  private readonly status: StatusLine

  constructor(
    private readonly out: Output,
    private readonly look: Look,
    now: () => number = () => performance.now(),
  ) {
    this.status = new StatusLine(out, now)
  }

  /** Says that the prompt is being read, until a chunk comes. */
  wait(promptTokens: number): void {
    if (this.out.isTTY && !this.look.plain) this.status.show(() => dim(`reading ${count(promptTokens)} tokens…`), true)
  }

  push({ text, reasoning, toolCalls = [], tokenIds }: Omit<Chunk, 'index'>): void {
    if (reasoning && this.out.isTTY) {
      if (this.look.hideThinking) this.countThinking(tokenIds.length)
      else this.think(reasoning)
    }
    if (text) this.say(text)
    for (const delta of toolCalls) this.call(delta)
  }

  /** Nothing more comes: what follows begins on a line of its own. */
  end(): void {
    this.status.end()
    if (this.last !== '' && this.last !== '\n') this.write('\n')
  }

  private countThinking(tokens: number): void {
    const isFirst = this.hiddenTokens === 0
    this.hiddenTokens += tokens
    if (!this.look.plain) this.status.show(() => dim(`thinking… ${this.hiddenTokens} tokens`), isFirst)
    else if (isFirst) this.write('thinking…\n')
  }

  private think(text: string): void {
    this.status.end()
    if (this.state === 'start' && this.look.plain) this.write('<think>\n')
    this.state = 'thinking'
    this.write(text, this.look.plain ? undefined : dim)
  }

  private say(text: string): void {
    this.begin('text')
    this.write(text)
  }

  private call({ name, arguments: fragment }: ToolCallDelta): void {
    if (name !== undefined) {
      this.begin('call')
      this.write(`${name} `)
    }
    this.write(fragment)
  }

  private begin(state: 'text' | 'call'): void {
    this.status.end()
    if (this.state === 'thinking') this.write(this.look.plain ? '\n</think>\n\n' : '\n\n')
    else if (this.state === 'call' || state === 'call') this.end()
    this.state = state
  }

  private write(text: string, style: (text: string) => string = (s) => s): void {
    this.out.write(style(this.out.isTTY ? visible(text) : text))
    this.last = text.at(-1) ?? this.last
  }
}
