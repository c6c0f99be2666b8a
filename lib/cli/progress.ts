import type { LoadProgress } from '../index'
import type { Output } from './shell'

const TERMINAL_MS = 100
const LINE_MS = 5000

/** Shows how far loading is: one line that renews itself on a terminal; elsewhere a line every few seconds, so that a quick load says nothing. */
export class Progress {
  private phase = ''
  private shownAt: number

  constructor(
    private readonly err: Output,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.shownAt = now()
  }

  report = ({ phase, done, total }: LoadProgress): void => {
    const terminal = this.err.isTTY
    const due = this.now() - this.shownAt >= (terminal ? TERMINAL_MS : LINE_MS)
    if (!due && !(terminal && phase !== this.phase)) return
    this.phase = phase
    this.shownAt = this.now()
    const text = `loading: ${phase}${total > 0 ? ` ${Math.floor((100 * done) / total)} %` : ''}`
    this.err.write(terminal ? `\r${text}\x1b[K` : `${text}\n`)
  }

  /** Takes the terminal's line away. */
  end(): void {
    if (this.err.isTTY && this.phase !== '') this.err.write('\r\x1b[K')
  }
}
