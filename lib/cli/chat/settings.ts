/** `/set`: how answers are drawn, by name. */
import { M2Error } from '../../index'
import { nearest } from '../../known-keys'
import { SAMPLING, type Sampling } from '../sampling'
import { table } from '../table'

type Name = keyof Sampling

/** "top_p" and "top-p" are `topP`. */
const NAMES = new Map((Object.keys(SAMPLING) as Name[]).map((name) => [snake(name), name]))

/** What `sampling` is with "top_p 0.9", or with "top_p default". @throws {M2Error} BAD_OPTION */
export function changed(sampling: Sampling, argument: string): Sampling {
  const [word = '', value, ...rest] = argument.split(/\s+/)
  const spelt = snake(word).replaceAll('-', '_')
  const name = NAMES.get(spelt)
  if (!name) {
    throw new M2Error(
      'BAD_OPTION',
      `/set: no such setting: ${word}; did you mean ${nearest(spelt, [...NAMES.keys()])}?`,
    )
  }
  if (value === undefined || rest.length > 0) throw new M2Error('BAD_OPTION', `/set ${spelt}: expected one value`)
  return { ...sampling, [name]: value === 'default' ? undefined : read(name, value) }
}

function read(name: Name, value: string): number {
  try {
    return SAMPLING[name].read(value)
  } catch (error) {
    throw new M2Error('BAD_OPTION', `/set ${snake(name)} ${value}: ${(error as Error).message}`)
  }
}

export function settingsText(sampling: Sampling): string {
  return table([...NAMES].map(([word, name]) => [word, String(sampling[name] ?? 'default')]))
}

function snake(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}
