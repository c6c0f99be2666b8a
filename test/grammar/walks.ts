/** Random texts of a grammar, token by token, and what a matcher says of given texts. */
import { expect } from 'vitest'
import type { CompiledGrammar, Matcher, Vocabulary } from '../../lib/grammar'
import type { Random } from '../text/random'

export function idsOf(mask: Int32Array): number[] {
  const ids: number[] = []
  for (let id = 0; id < mask.length * 32; id++) if ((mask[id >> 5]! >>> (id & 31)) & 1) ids.push(id)
  return ids
}

/**
 * The ids of a text that `grammar` allows, of about `length` tokens; behind them rather tokens are taken that lead to an end, or whole `closers` where
 * they are allowed.
 */
export function walk(grammar: CompiledGrammar, random: Random, length: number, closers: number[][] = []): number[] {
  const matcher = grammar.start()
  const ids: number[] = []
  for (let step = 0; ; step++) {
    const allowed = idsOf(matcher.mask())
    expect(allowed.length).toBeGreaterThan(0)
    const isEnd = grammar.endIds.some((id) => allowed.includes(id))
    if (isEnd && (allowed.length === grammar.endIds.length || step >= length || random.next() < 0.1)) return ids
    const texts = allowed.filter((id) => !grammar.endIds.includes(id))
    const closer = step >= length ? closers.find((each) => follows(matcher.clone(), each)) : undefined
    if (closer) {
      follows(matcher, closer)
      ids.push(...closer)
      continue
    }
    const id = step < length ? random.pick(texts) : closing(grammar.vocabulary, texts, random)
    expect(matcher.accept(id)).toBe(true)
    ids.push(id)
    if (step > 40 * length + 4000) throw new Error(`the walk finds no end: ${ids.slice(-20)}`)
  }
}

const follows = (matcher: Matcher, ids: readonly number[]): boolean => ids.every((id) => matcher.accept(id))

/** A token that ends what is open rather than beginning something. */
function closing(vocabulary: Vocabulary, ids: number[], random: Random): number {
  const rank = (id: number) => {
    const bytes = vocabulary.bytesOf(id)
    const at = bytes.length === 1 ? '"}]0'.indexOf(String.fromCharCode(bytes[0]!)) : -1
    return at < 0 ? 4 : at
  }
  if (random.next() < 0.3) return random.pick(ids) // inside of a string, what would close is no more than a character
  const best = Math.min(...ids.map(rank))
  return random.pick(ids.filter((id) => rank(id) === best))
}

/** Asserts that the mask allows exactly what `accept` does. */
export function expectMaskIsExact(matcher: Matcher, size: number): void {
  const accepted = Array.from({ length: size }, (_, id) => id).filter((id) => matcher.clone().accept(id))
  expect(idsOf(matcher.mask())).toEqual(accepted)
}
