import { expect, it } from 'vitest'
import { chatCompletions } from '../../lib/server/openai/chat'
import { completions } from '../../lib/server/openai/completions'
import { findRoute, modelOf, routeName, shapeAt } from '../../lib/server/routes'

it.each([
  ['/v1/completions', '/v1/completions'],
  ['/v1/models/a/b', '/v1/models/{id}'],
  ['/v1/models/{id}', '/v1/models/{id}'],
  ['/v1/models/', 'other'],
  ['/constructor', 'other'],
  ['', 'other'],
  ['*', 'other'],
])('the route of %j is %s', (path, name) => {
  expect(routeName(path)).toBe(name)
})

it('errors at a path and below it have the shape of its API', () => {
  expect(shapeAt('/v1/chat/completions')).toBe(chatCompletions)
  expect(shapeAt('/v1/chat/completions/more')).toBe(chatCompletions)
  expect(shapeAt('/v1/chat/completionsx')).toBe(completions)
  expect(shapeAt('/__proto__')).toBe(completions)
})

it('a name of a model is unescaped where it can be', () => {
  expect(modelOf('/v1/models/a%2Fb')).toBe('a/b')
  expect(modelOf('/v1/models/100%')).toBe('100%')
})

it('what is not there is 404, what is there otherwise is 405 and says how', () => {
  expect(() => findRoute('other', 'GET')).toThrow(expect.objectContaining({ status: 404 }))
  expect(() => findRoute('/tokenize', 'HEAD')).toThrow(
    expect.objectContaining({ status: 405, headers: { allow: 'POST' } }),
  )
})
