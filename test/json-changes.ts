/** Seeded changes to JSON values, for fuzzers of what reads them. */
import type { Random } from './reference/random'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Values that readers trip over. */
const ODD: Json[] = [
  ...[null, true, 0, -1, 1, 0.5, 3, 127, 2 ** 31, 2 ** 32 - 1, 2 ** 53, -(2 ** 63), 1e300, 1e-300],
  ...['', 'x', '../../etc/passwd', '\0', '\ud800', '1', 'F8_E4M3', 'BF16', '__proto__', 'model.safetensors'],
  ...[[], {}, [[]], [0], [1, 2], [-1, -1], [2 ** 31, 2 ** 31], { a: 1 }],
]

/** Every place in a JSON value, as a path of keys. */
function places(value: Json, at: string[] = []): string[][] {
  if (value === null || typeof value !== 'object') return [at]
  const keys = Object.keys(value).slice(0, 200)
  return [at, ...keys.flatMap((key) => places((value as { [key: string]: Json })[key]!, [...at, key]))]
}

function changeAt(root: Json, [...keys]: string[], change: (value: Json) => Json): Json {
  const last = keys.pop()
  if (last === undefined) return change(root)
  // biome-ignore lint/suspicious/noExplicitAny: any container
  const parent = keys.reduce((value: any, key) => value[key], root)
  const changed = change(parent[last])
  if (changed === undefined) delete parent[last]
  else parent[last] = changed
  return root
}

/** One change to a JSON value: another value in some place, a place less, a number a little off, or two places swapped. */
export function changed(random: Random, root: Json): Json {
  const all = places(root)
  const place = all[random.integer(all.length)]!
  const kind = random.integer(4)
  return changeAt(root, place, (value) => {
    if (kind === 0 && place.length > 0) return undefined as unknown as Json
    if (kind === 1 && typeof value === 'number') return value + [1, -1, 0.5, value, 32, 128][random.integer(6)]!
    if (kind === 2 && typeof value === 'string') return value.slice(0, random.integer(value.length + 1))
    return structuredClone(ODD[random.integer(ODD.length)]!) // the next change may be within it
  })
}
