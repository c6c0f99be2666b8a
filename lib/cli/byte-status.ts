import { formatBytes } from '../model/byte-size'
import type { Output } from './shell'
import { StatusLine } from './status-line'

/** The rate is that of the last seconds: what a user sees now, and what a connection that changed does from now on. */
const RATE_MS = 15_000
const SAMPLE_MS = 500

/** Shows how far long work over bytes is and how long it still takes. */
export class ByteStatus {
  private readonly line: StatusLine
  private samples: { at: number; done: number }[] = []

  constructor(
    private readonly err: Output,
    /** "downloading" */
    private readonly verb: string,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.line = new StatusLine(err, now)
  }

  report = ({ done, total }: { done: number; total: number }): void => {
    const at = this.now()
    if (at - (this.samples.at(-1)?.at ?? -Infinity) >= SAMPLE_MS) this.samples.push({ at, done })
    while (this.samples[1] && this.samples[0]!.at < at - RATE_MS) this.samples.shift()
    this.line.show(() => `${this.verb}: ${formatBytes(done)} of ${formatBytes(total)}${this.outlook(at, done, total)}`)
  }

  /** A line that stays. */
  say = (text: string): void => {
    this.line.end()
    this.err.write(`${text}\n`)
  }

  end(): void {
    this.line.end()
  }

  private outlook(at: number, done: number, total: number): string {
    const first = this.samples[0]!
    const rate = (done - first.done) / ((at - first.at) / 1000)
    return rate > 0 && rate < Infinity
      ? `, ${formatBytes(Math.round(rate))}/s, ${duration((total - done) / rate)} left`
      : ''
  }
}

function duration(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`
  const minutes = Math.ceil(seconds / 60)
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
