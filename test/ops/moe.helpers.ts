/** Routings of T tokens to A of E experts, and their counting sort written with a filter per expert. */
import { Random } from './helpers'

export interface Routing {
  tokens: number
  experts: number
  active: number
  expertIds: Int32Array // [T, A], the experts of a token differ
}

export type Spread = 'random' | 'emptyExperts' | 'oneTakesAll'

/** emptyExperts: only every third expert is used. oneTakesAll: every token's first expert is the last one, the others are few. */
export function routing(tokens: number, experts: number, active: number, spread: Spread): Routing {
  const random = new Random(tokens * experts + active)
  const usable = spread === 'emptyExperts' ? (e: number) => e % 3 === 1 : () => true
  const expertIds = Int32Array.from(
    Array.from({ length: tokens }, () => {
      const order = random.shuffled(experts).filter(usable)
      const ids = spread === 'oneTakesAll' ? [experts - 1, ...order.filter((e) => e !== experts - 1)] : order
      return ids.slice(0, active)
    }).flat(),
  )
  return { tokens, experts, active, expertIds }
}

export function permutation({ experts, expertIds }: Routing) {
  const pairs = Array.from(expertIds, (expert, pair) => ({ expert, pair }))
  const groups = Array.from({ length: experts }, (_, e) => pairs.filter((p) => p.expert === e).map((p) => p.pair))
  const source = Int32Array.from(groups.flat())
  const target = new Int32Array(source.length)
  source.forEach((pair, row) => {
    target[pair] = row
  })
  const offsets = new Int32Array(experts + 1)
  groups.forEach((group, e) => {
    offsets[e + 1] = offsets[e]! + group.length
  })
  return { offsets, source, target }
}

/** The expert of a permuted row. */
export const expertOf = (offsets: Int32Array, row: number) => offsets.findIndex((_, e) => row < offsets[e + 1]!)
