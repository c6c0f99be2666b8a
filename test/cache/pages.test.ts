import { describe, expect, it } from 'vitest'
import { PagePool } from '../../lib/cache/pages'

describe('the page pool', () => {
  it('gives every page once, and takes the last one back first', () => {
    const pool = new PagePool(3)
    expect([pool.take(), pool.take(), pool.take()]).toEqual([0, 1, 2])
    expect(pool.free).toBe(0)
    pool.give(1)
    pool.give(2)
    expect(pool.free).toBe(2)
    expect(pool.take()).toBe(2)
    pool.check()
  })

  it('counts references', () => {
    const pool = new PagePool(2)
    const page = pool.take()
    expect([pool.retain(page), pool.retain(page), pool.release(page), pool.referencesOf(page)]).toEqual([1, 2, 1, 1])
    pool.check()
  })

  it('notices a page that is free twice', () => {
    const pool = new PagePool(2)
    const page = pool.take()
    pool.give(page)
    pool.take()
    pool.take()
    pool.give(page)
    pool.give(page)
    expect(() => pool.check()).toThrow(`page ${page} is free twice`)
  })

  it('notices a page that is free and named, and one with references below zero', () => {
    const named = new PagePool(2)
    named.retain(0)
    expect(() => named.check()).toThrow('page 0 has 1 references and is free')
    const below = new PagePool(2)
    below.release(below.take())
    expect(() => below.check()).toThrow('page 0 has -1 references and is not free')
  })
})
