import type { LoadProgress } from '../index'
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

  report = ({ phase, done, total }: LoadProgress): void => {
    const terminal = this.err.isTTY
    const begins = phase !== this.phase
    const ends = done >= total
    const due = this.now() - this.shownAt >= (terminal ? TERMINAL_MS : LINE_MS)
    if (!begins && !(terminal ? due || ends : due && !ends)) return
    this.phase = phase
    this.shownAt = this.now()
    const share = total > 0 && (terminal || !begins) ? ` ${Math.floor((100 * done) / total)} %` : ''
    this.err.write(terminal ? `\rloading: ${phase}${share}\x1b[K` : `loading: ${phase}${share}\n`)
  }

  /** Takes the terminal's line away. */
  end(): void {
    if (this.err.isTTY && this.phase !== '') this.err.write('\r\x1b[K')
  }
}
