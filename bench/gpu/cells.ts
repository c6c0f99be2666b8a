/** What a run on a device found, as bench/results keeps it: cells, each measured against its floor or with the reason why it was not. */
import type { Header } from '../header'

/** What products multiply; each has a rate of its own. */
export type Unit = 'f32' | 'bf16' | 'e4m3'

/** Two for a product and its sum. */
export type Operations = Partial<Record<Unit, number>>

/** What the device does at best, measured in the same run. */
export interface Limits {
  /** Bytes a second. */
  bandwidth: number
  /** Operations a second; a unit that nobody could measure is absent. */
  rates: Partial<Record<Unit, number>>
}

/** What a cell is about, and what it cannot do without. */
export interface Question {
  /** The table that it stands in. */
  group: string
  /** "attention", "decode". */
  work: string
  shape: string
  bytes: number
  operations: Operations
  /** That a model computes in it. */
  tokens?: number
  /** Microseconds that were expected before anybody measured. */
  predictedUs?: number
}

export interface Measured extends Question {
  us: number
  floorUs: number
  /** floorUs / us. */
  share: number
  tokensPerSecond?: number
  peer?: string
  peerUs?: number
  /** peerUs / us: above 1 we are faster. */
  ratio?: number
}

/** Not measured, and why. */
export type Missing = Question & { reason: string }
export type Cell = Measured | Missing

/** Before the limits are known. */
export type Timed = (Question & { us: number }) | Missing

export interface Results extends Header {
  driver: string
  /** Who ran the ops beside us, or why nobody did. */
  peer: string
  limits: Limits
  cells: Cell[]
}

export const isMeasured = (cell: Cell): cell is Measured => 'us' in cell

/** Microseconds: the bytes at the bandwidth, or the operations at the rates of their units, whichever takes longer. */
export function floorOf({ bytes, operations }: Pick<Question, 'bytes' | 'operations'>, limits: Limits): number {
  const seconds = Object.entries(operations).map(([unit, count]) => {
    const rate = limits.rates[unit as Unit]
    return rate ? count / rate : 0
  })
  return 1e6 * Math.max(bytes / limits.bandwidth, sum(seconds))
}

export const total = (operations: Operations): number => sum(Object.values(operations))

const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0)

/** `peers`: microseconds by name, of which the quickest counts. */
export function judge(question: Question, us: number, limits: Limits, peers: Record<string, number> = {}): Measured {
  const floorUs = floorOf(question, limits)
  const [best] = Object.entries(peers).sort(([, a], [, b]) => a - b)
  return {
    ...question,
    ...{ us, floorUs, share: floorUs / us },
    ...(question.tokens ? { tokensPerSecond: (1e6 * question.tokens) / us } : {}),
    ...(best ? { peer: best[0], peerUs: best[1], ratio: best[1] / us } : {}),
  }
}
