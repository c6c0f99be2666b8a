import { expect, it } from 'vitest'
import { checkKnownKeys } from '../lib/known-keys'

it('names the nearest known option for one it does not know', () => {
  const known = ['tools', 'keepReasoning', 'identity']
  expect(() => checkKnownKeys({ tools: [], keepResoning: 'never' }, known, 'renderChat')).toThrow(
    expect.objectContaining({
      code: 'BAD_OPTION',
      message: 'renderChat: unknown option "keepResoning"; did you mean "keepReasoning"?',
    }),
  )
  expect(() => checkKnownKeys({ identity: 'x' }, known, 'renderChat')).not.toThrow()
})
