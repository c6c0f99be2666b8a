import { M2Error } from './errors'

/** Edit distance between two words, insertions, deletions and replacements counting one each. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}

/** The one of `known`, which are not none, that `word` is most like. */
export const nearest = (word: string, known: readonly string[]): string =>
  known.reduce((best, name) => (distance(word, name) < distance(word, best) ? name : best))

/** @throws M2Error BAD_OPTION for the first key of `options` that is not in `known`, naming the nearest one that is. */
export function checkKnownKeys(options: object, known: readonly string[], what: string): void {
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue
    throw new M2Error('BAD_OPTION', `${what}: unknown option "${key}"; did you mean "${nearest(key, known)}"?`)
  }
}
