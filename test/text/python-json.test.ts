import { describe, expect, it } from 'vitest'
import { pythonJson } from '../../lib/text/python-json'

describe('pythonJson', () => {
  it.each([
    [1, '1'],
    [-7.25, '-7.25'],
    [0, '0'],
    [-0, '-0.0'],
    [0.1, '0.1'],
    [0.0001, '0.0001'],
    [0.00012345, '0.00012345'],
    [0.00001, '1e-05'],
    [-0.0000123, '-1.23e-05'],
    [1e-7, '1e-07'],
    [1.5e-10, '1.5e-10'],
    [5e-324, '5e-324'],
    [1e21, '1e+21'],
    [1.7976931348623157e308, '1.7976931348623157e+308'],
    [2 ** 53, '9007199254740992'],
    [1 / 3, '0.3333333333333333'],
  ])('writes the number %d as Python does: %s', (value, text) => {
    expect(pythonJson(value)).toBe(text)
  })

  it('separates with a comma and a space, a colon and a space, at every depth', () => {
    expect(pythonJson({ a: [1, { b: null }], c: {}, d: [], e: true })).toBe(
      '{"a": [1, {"b": null}], "c": {}, "d": [], "e": true}',
    )
  })

  it('keeps the order of keys', () => {
    expect(pythonJson({ z: 1, a: 2, m: 3 })).toBe('{"z": 1, "a": 2, "m": 3}')
  })

  it('escapes what JSON must and nothing else', () => {
    expect(pythonJson('"\\\b\f\n\r\t\u0001\u001f\u007fé東🚀</>&\u2028')).toBe(
      '"\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\u007fé東🚀</>&\u2028"',
    )
  })

  it('leaves out keys without a value', () => {
    expect(pythonJson({ a: undefined, b: 1 })).toBe('{"b": 1}')
  })
})
