import type { Chunk, Result } from '../index'
import type { Output } from './shell'

/**
 * Writes a stream of chunks for people. A terminal sees the thinking, dimmed (between its tags where colour is off), then the answer; a pipe or a
 * file gets the answer alone, so that a script reads what it asked for.
 */
export class Printer {
  private state: 'start' | 'thinking' | 'text' = 'start'
  private last = ''

  constructor(
    private readonly out: Output,
    private readonly colour: boolean,
  ) {}

  push(chunk: Pick<Chunk, 'text' | 'reasoning'>): void {
    if (chunk.reasoning && this.out.isTTY) this.think(chunk.reasoning)
    if (chunk.text) this.say(chunk.text)
  }

  /** Calls of tools, which a model can make though it was offered none. */
  calls(calls: Result['toolCalls']): void {
    for (const call of calls) {
      this.endLine()
      this.say(`${call.name} ${JSON.stringify(call.arguments)}`)
    }
  }

  endLine(): void {
    if (this.last !== '' && this.last !== '\n') this.write('\n')
  }

  private think(text: string): void {
    if (this.state === 'start' && !this.colour) this.write('<think>\n')
    this.state = 'thinking'
    this.write(text, this.colour ? (s) => `\x1b[2m${s}\x1b[22m` : undefined)
  }

  private say(text: string): void {
    if (this.state === 'thinking') this.write(this.colour ? '\n\n' : '\n</think>\n\n')
    this.state = 'text'
    this.write(text)
  }

  private write(text: string, style: (text: string) => string = (s) => s): void {
    this.out.write(style(text))
    this.last = text.at(-1) ?? this.last
  }
}
