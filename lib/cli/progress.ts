import type { LoadProgress } from '../index'
import { Outlook } from './outlook'
import type { Output } from './shell'
import { StatusLine } from './status-line'

/** Shows how far loading is: of weights, which take long, the bytes and the time left. */
export class Progress {
  private phase = ''
  private readonly line: StatusLine
  private readonly weights: Outlook

  constructor(err: Output, now: () => number = () => performance.now()) {
    this.line = new StatusLine(err, now)
    this.weights = new Outlook(now)
  }

  report = ({ phase, done, total }: LoadProgress): void => {
    const text = this.progressOf({ phase, done, total })
    this.line.show(() => `loading: ${phase}${text()}`, phase !== this.phase)
    this.phase = phase
  }

  end(): void {
    this.line.end()
  }

  private progressOf({ phase, done, total }: LoadProgress): () => string {
    if (phase === 'weights') {
      const text = this.weights.see(done, total)
      return () => ` ${text()}`
    }
    return () => (total > 0 ? ` ${Math.floor((100 * done) / total)} %` : '')
  }
}
