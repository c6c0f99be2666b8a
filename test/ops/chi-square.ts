/** Pearson's test: whether counts could be draws from a distribution. */

/** The probability that a chi-square variable of `df` degrees of freedom is above `value`: the regularised upper incomplete gamma function. */
export function upperTail(value: number, df: number): number {
  const [a, x] = [df / 2, value / 2]
  if (x === 0) return 1
  let logGamma = df % 2 ? Math.log(Math.PI) / 2 : 0
  for (let k = a - 1; k > 0; k--) logGamma += Math.log(k)
  const front = Math.exp(a * Math.log(x) - x - logGamma)
  if (x < a + 1) {
    let term = 1 / a
    let sum = term
    for (let k = a + 1; term > sum * 1e-16; k++) sum += term *= x / k
    return 1 - front * sum
  }
  // The continued fraction 1/(x+1-a- 1(1-a)/(x+3-a- 2(2-a)/(x+5-a- ...))), by Lentz's method.
  let b = x + 1 - a
  let [c, d] = [Infinity, 1 / b]
  let fraction = d
  for (let k = 1; k < 10000; k++) {
    const step = k * (a - k)
    b += 2
    d = 1 / (b + step * d)
    c = b + step / c
    fraction *= c * d
    if (Math.abs(c * d - 1) < 1e-15) break
  }
  return front * fraction
}

/** A p-value that right draws stay above: one test in a million falls below it, and seeds are fixed. */
export const NEVER_BY_CHANCE = 1e-6

/** The least expected count of a cell, for the statistic to have its distribution. */
const LEAST = 20

/**
 * The p-value of `draws` under `probabilities`. Neighbours in the order of `probabilities` share a cell until at least 20 draws are expected in it.
 * @throws when something was drawn that has no probability
 */
export function pValue(draws: readonly number[], probabilities: ReadonlyMap<number, number>): number {
  const counts = new Map<number, number>()
  for (const id of draws) {
    if (!probabilities.has(id)) throw new Error(`${id} was drawn, expected one of ${probabilities.size} others`)
    counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  const cells: { expected: number; count: number }[] = []
  let open = { expected: 0, count: 0 }
  for (const [id, probability] of probabilities) {
    open.expected += draws.length * probability
    open.count += counts.get(id) ?? 0
    if (open.expected < LEAST) continue
    cells.push(open)
    open = { expected: 0, count: 0 }
  }
  const last = cells.at(-1)
  if (!last || cells.length < 2) throw new Error(`${cells.length} cells, expected at least 2`)
  last.expected += open.expected
  last.count += open.count
  const statistic = cells.reduce((sum, { expected, count }) => sum + (count - expected) ** 2 / expected, 0)
  return upperTail(statistic, cells.length - 1)
}
