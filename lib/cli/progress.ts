import type { Output } from './shell'

const TERMINAL_MS = 100
const LINE_MS = 5000

/** Shows how far loading is: one line that renews itself on a terminal; elsewhere a line at the start of a phase and every few seconds. */
export class Progress {
  private phase = ''
  private shownAt = 0

  constructor(
    private readonly err: Output,
    private readonly now: () => number = () => performance.now(),
  ) {}

  report = ({ phase, done, total }: { phase: string; done: number; total: number }): void => {
    const wait = this.err.isTTY ? TERMINAL_MS : LINE_MS
    if (phase === this.phase && done < total && this.now() - this.shownAt < wait) return
    if (phase === this.phase && !this.err.isTTY && done >= total) return
    this.phase = phase
    this.shownAt = this.now()
    const text = `loading: ${phase}${total > 0 ? ` ${Math.floor((100 * done) / total)} %` : ''}`
    this.err.write(this.err.isTTY ? `\r${text}\x1b[K` : `${text}\n`)
  }

  /** Takes the terminal's line away. */
  end(): void {
    if (this.err.isTTY && this.phase !== '') this.err.write('\r\x1b[K')
  }
}
