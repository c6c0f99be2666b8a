import { formatBytes } from '../model/byte-size'

/** The rate is that of the last seconds: what a user sees now, and what a connection or disk that changed does from now on. */
const RATE_MS = 15_000
const SAMPLE_MS = 500

/** How far long work over bytes is, how fast, and how long it still takes. */
export class Outlook {
  private samples: { at: number; done: number }[] = []

  constructor(private readonly now: () => number) {}

  /** To be told of every step; the text is made when it is asked for. */
  see(done: number, total: number): () => string {
    const at = this.now()
    if (at - (this.samples.at(-1)?.at ?? -Infinity) >= SAMPLE_MS) this.samples.push({ at, done })
    while (this.samples[1] && this.samples[0]!.at < at - RATE_MS) this.samples.shift()
    return () => `${formatBytes(done)} of ${formatBytes(total)}${this.rest(at, done, total)}`
  }

  private rest(at: number, done: number, total: number): string {
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
