import type { LoadProgress } from '../index'
import type { Output } from './shell'
import { StatusLine } from './status-line'

/** Shows how far loading is. */
export class Progress {
  private phase = ''
  private readonly line: StatusLine

  constructor(err: Output, now: () => number = () => performance.now()) {
    this.line = new StatusLine(err, now)
  }

  report = ({ phase, done, total }: LoadProgress): void => {
    const percent = total > 0 ? ` ${Math.floor((100 * done) / total)} %` : ''
    this.line.show(() => `loading: ${phase}${percent}`, phase !== this.phase)
    this.phase = phase
  }

  end(): void {
    this.line.end()
  }
}
