import { EventEmitter } from 'node:events'
import { StringDecoder } from 'node:string_decoder'
import type { ReadStream } from 'node:tty'

const PASTE_BEGINS = '\x1b[200~'
const PASTE_ENDS = '\x1b[201~'

/**
 * A terminal's input as readline edits well: key by key, because what comes all at once it puts at the end of the line, wherever the cursor is. What the
 * terminal marks as a paste goes to `onPaste` as a whole, with line feeds for line ends.
 */
export class Keys extends EventEmitter {
  private readonly decoder = new StringDecoder('utf8')
  /** What there is of a paste that has begun. */
  private pasted: string | undefined
  /** The beginning of what may be a mark. */
  private held = ''

  constructor(
    private readonly input: ReadStream,
    private readonly onPaste: (text: string) => void,
  ) {
    super()
    input.on('data', (bytes: Buffer) => this.take(this.decoder.write(bytes)))
    input.on('end', () => this.emit('end'))
  }

  get isRaw(): boolean {
    return this.input.isRaw
  }

  setRawMode(isRaw: boolean): void {
    this.input.setRawMode(isRaw)
  }

  pause(): void {
    this.input.pause()
  }

  resume(): void {
    this.input.resume()
  }

  private take(text: string): void {
    let rest = this.held + text
    for (let at = rest.indexOf(this.mark); at >= 0; at = rest.indexOf(this.mark)) {
      this.pass(rest.slice(0, at))
      rest = rest.slice(at + this.mark.length)
      this.turn()
    }
    const held = beginningOf(this.mark, rest)
    this.held = rest.slice(rest.length - held)
    this.pass(rest.slice(0, rest.length - held))
  }

  /** The one that comes next. */
  private get mark(): string {
    return this.pasted === undefined ? PASTE_BEGINS : PASTE_ENDS
  }

  private pass(text: string): void {
    if (this.pasted !== undefined) this.pasted += text
    else for (const key of text) this.emit('data', Buffer.from(key))
  }

  private turn(): void {
    const { pasted } = this
    this.pasted = pasted === undefined ? '' : undefined
    if (pasted !== undefined) this.onPaste(pasted.replaceAll(/\r\n?/g, '\n'))
  }
}

/** How many characters at the end of `text` may begin a mark: three at least, as fewer may be a key. */
function beginningOf(mark: string, text: string): number {
  let length = Math.min(mark.length - 1, text.length)
  while (length >= 3 && !text.endsWith(mark.slice(0, length))) length--
  return length >= 3 ? length : 0
}
