import { expect, it } from 'vitest'
import { messagesFace } from '../../lib/server/anthropic/messages'
import { chatCompletions } from '../../lib/server/openai/chat'
import { completions } from '../../lib/server/openai/completions'
import { findRoute, modelOf, pathOf, routeName, shapeAt } from '../../lib/server/routes'

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
  expect(() => findRoute('/other', 'GET')).toThrow(
    expect.objectContaining({ status: 404, message: expect.stringMatching(/one of \/v1\/.*, found "\/other"$/) }),
  )
  expect(() => findRoute('/tokenize', 'HEAD')).toThrow(
    expect.objectContaining({ status: 405, headers: { allow: 'POST' } }),
  )
})

it.each([
  ['/chat/completions', '/v1/chat/completions'],
  ['/v1/v1/messages', '/v1/messages'],
  ['/v1/v1/messages/count_tokens', '/v1/messages/count_tokens'],
  ['//v1/responses', '/v1/responses'],
  ['/api/models/', '/v1/models'],
  ['/v1/tokenize', '/tokenize'],
])('whose base URL is wrong hears what %s may have been meant as', (path, meant) => {
  expect(() => findRoute(path, 'POST')).toThrow(`path: expected ${meant} (is the base URL right?), found "${path}"`)
})

it('errors at a path that is not there have the shape of the API that was meant', () => {
  expect(shapeAt('/v1/v1/messages')).toBe(messagesFace)
})

it.each([
  ['/v1/messages?beta=true', '/v1/messages'],
  ['http://here:80/v1/messages?beta=true', '/v1/messages'],
  ['/health#top', '/health'],
  ['http://here', ''],
])('the path of the target %s is %s', (target, path) => {
  expect(pathOf(target)).toBe(path)
})
