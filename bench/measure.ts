/** Honest times on a busy machine: contenders take turns, so that a slow moment hits all of them, and medians are compared. */

/** One contender: a call that returns the microseconds of what it measures. */
export type Contender = () => number | Promise<number>

export interface Sample {
  /** Microseconds. */
  median: number
  /** Half the distance of the quartiles, in percent of the median. */
  spread: number
  times: number[]
}

/** Runs every contender once a round, after one round that does not count. */
export async function takeTurns<K extends string>(
  contenders: Record<K, Contender>,
  rounds: number,
): Promise<Record<K, Sample>> {
  const names = Object.keys(contenders) as K[]
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<K, number[]>
  for (let round = -1; round < rounds; round++) {
    for (const name of names) {
      const time = await contenders[name]()
      if (round >= 0) times[name].push(time)
    }
  }
  return Object.fromEntries(names.map((name) => [name, sample(times[name])])) as Record<K, Sample>
}

export function sample(times: number[]): Sample {
  const sorted = times.toSorted((a, b) => a - b)
  const median = quantile(sorted, 0.5)
  return { median, spread: (50 * (quantile(sorted, 0.75) - quantile(sorted, 0.25))) / median, times }
}

/** The median over the rounds of what `floor` took as a share of what `time` took: both saw the same machine in a round. */
export function share(floor: Sample, time: Sample): number {
  return quantile(
    time.times.map((t, round) => floor.times[round]! / t).toSorted((a, b) => a - b),
    0.5,
  )
}

/** Of ascending values; between two of them in proportion. */
export function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1)
  const low = Math.floor(at)
  return sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!)
}
