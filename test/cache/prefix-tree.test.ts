/** The prefix tree against a model of itself: a map from salt and all tokens up to the end of a page to that page. */
import { describe, expect, it } from 'vitest'
import { NONE, PrefixTree, ROOT } from '../../lib/cache/prefix-tree'
import { randomNumbers } from '../scheduler/simulation'

const S = 3

describe('the prefix tree', () => {
  it('finds a page by its parent, tokens and salt alone', () => {
    const tree = new PrefixTree(4, S)
    const tokens = Int32Array.of(1, 2, 3, 4, 5, 6)
    expect(tree.publish(2, ROOT, tokens, 0, '')).toBe(2)
    expect(tree.publish(0, 2, tokens, 3, '')).toBe(0)
    expect(tree.publish(1, ROOT, tokens, 3, 'salt')).toBe(1)
    expect(tree.find(ROOT, tokens, 0, '')).toBe(2)
    expect(tree.find(ROOT, tokens, 0, 'salt')).toBe(NONE)
    expect(tree.find(ROOT, tokens, 3, 'salt')).toBe(1)
    expect(tree.find(2, tokens, 3, '')).toBe(0)
    expect(tree.find(1, tokens, 3, '')).toBe(NONE)
    expect(tree.publish(3, 2, tokens, 3, '')).toBe(0)
    expect([tree.nodes, tree.has(3)]).toEqual([3, false])
  })

  it.each([1, 2, 3, 4, 5])('does what a map of whole prefixes does under random work, seed %i', (seed) => {
    const { next, between } = randomNumbers(seed)
    const pages = 24
    const tree = new PrefixTree(pages, S)
    const free = Array.from({ length: pages }, (_, i) => i)
    const known = new Map<string, number>()
    const users = new Map<number, number>() // of each page
    const paths: number[][] = []
    const idle: number[] = []
    for (let round = 0; round < 2000; round++) {
      if (next() < 0.5) {
        // Walk or grow a path, as a sequence does.
        const salt = next() < 0.3 ? 'salt' : ''
        const tokens = Int32Array.from({ length: S * between(1, 4) }, () => between(0, 1))
        const path: number[] = []
        for (let from = 0; from < tokens.length; from += S) {
          const parent = path.at(-1) ?? ROOT
          const key = `${salt}:${tokens.subarray(0, from + S).join()}`
          expect(tree.find(parent, tokens, from, salt)).toBe(known.get(key) ?? NONE)
          let page = known.get(key)
          if (page === undefined) {
            if (free.length === 0) {
              if (tree.oldest === NONE) break
              expect(tree.oldest).toBe(idle[0])
              const evicted = tree.evict()
              expect(evicted).toBe(idle.shift())
              for (const [prefix, owner] of known) if (owner === evicted) known.delete(prefix)
              free.push(evicted)
            }
            page = free.pop()!
            expect(tree.publish(page, parent, tokens, from, salt)).toBe(page)
            known.set(key, page)
            users.set(page, 1)
          } else {
            users.set(page, users.get(page)! + 1)
            if (users.get(page) === 1) {
              tree.wake(page)
              idle.splice(idle.indexOf(page), 1)
            }
          }
          path.push(page)
        }
        paths.push(path)
      } else if (paths.length > 0) {
        const [path] = paths.splice(between(0, paths.length - 1), 1)
        for (const page of path!.reverse()) {
          users.set(page, users.get(page)! - 1)
          if (users.get(page)! > 0) continue
          tree.rest(page)
          idle.push(page)
        }
      }
      tree.check((page) => users.get(page) ?? 0)
      expect([...tree.idleNodes()]).toEqual(idle)
      expect(tree.nodes).toBe(known.size)
    }
  })
})
