import type { Output } from './shell'

const TERMINAL_MS = 100
const LINE_MS = 5000

/** How far something is: one line that renews itself on a terminal; elsewhere a line every few seconds, so that what is quick says nothing. */
export class StatusLine {
  private showing = false
  private shownAt: number

  constructor(
    private readonly err: Output,
    private readonly now: () => number,
  ) {
    this.shownAt = now()
  }

  /** @param urgent shown at once on a terminal */
  show(text: () => string, urgent = false): void {
    const terminal = this.err.isTTY
    const due = this.now() - this.shownAt >= (terminal ? TERMINAL_MS : LINE_MS)
    if (!due && !(terminal && urgent)) return
    this.shownAt = this.now()
    this.showing = true
    this.err.write(terminal ? `\r${text()}\x1b[K` : `${text()}\n`)
  }

  /** Takes the terminal's line away. */
  end(): void {
    if (this.err.isTTY && this.showing) this.err.write('\r\x1b[K')
    this.showing = false
  }
}
