import { Outlook } from './outlook'
import type { Output } from './shell'
import { StatusLine } from './status-line'

/** Shows how far long work over bytes is. */
export class ByteStatus {
  private readonly line: StatusLine
  private readonly outlook: Outlook

  constructor(
    private readonly err: Output,
    /** "downloading" */
    private readonly verb: string,
    now: () => number = () => performance.now(),
  ) {
    this.line = new StatusLine(err, now)
    this.outlook = new Outlook(now)
  }

  report = ({ done, total }: { done: number; total: number }): void => {
    const text = this.outlook.see(done, total)
    this.line.show(() => `${this.verb}: ${text()}`)
  }

  /** A line that stays. */
  say = (text: string): void => {
    this.line.end()
    this.err.write(`${text}\n`)
  }

  end(): void {
    this.line.end()
  }
}
