import { describe, expect, it } from 'vitest'
import { PagePool } from '../../lib/cache/pages'

describe('the page pool', () => {
  it('gives every page once, and takes the last one back first', () => {
    const pool = new PagePool(3)
    expect([pool.take(), pool.take(), pool.take()]).toEqual([0, 1, 2])
    expect(pool.free).toBe(0)
    pool.release(1)
    pool.release(2)
    expect(pool.free).toBe(2)
    expect(pool.take()).toBe(2)
    pool.check()
  })

  it('frees a page with its last reference', () => {
    const pool = new PagePool(2)
    const page = pool.take()
    pool.retain(page)
    pool.release(page)
    expect([pool.free, pool.referencesOf(page)]).toEqual([1, 1])
    pool.release(page)
    expect([pool.free, pool.referencesOf(page)]).toEqual([2, 0])
    pool.check()
  })

  it('notices a page that is freed twice', () => {
    const pool = new PagePool(2)
    const page = pool.take()
    pool.release(page)
    pool.release(page)
    expect(() => pool.check()).toThrow(/references/)
  })

  it('notices a page with more references than it was given', () => {
    const pool = new PagePool(2)
    const page = pool.take()
    pool.release(page)
    pool.retain(page)
    expect(() => pool.check()).toThrow(`page ${page} has 1 references and is free`)
  })
})
