/** What a face makes of bodies. */
import type { Engine } from '../../lib/engine'
import { M2Error } from '../../lib/errors'
import type { ChatOptions } from '../../lib/options'
import type { Exchange, Face } from '../../lib/server/face'
import type { JsonObject } from '../../lib/text/input'
import type { ChatMessage } from '../../lib/text/messages'
import type { Random } from '../text/random'

export const CONTEXT = { id: 'one', created: 1_700_000_000, model: 'some-model', tokenizer: null }

export function exchangeOf(face: Face, body: JsonObject): Exchange {
  return face.read(body, CONTEXT)
}

/** What the engine is asked for. */
export function asked(face: Face, body: JsonObject): { messages: ChatMessage[]; options: ChatOptions } {
  let found: { messages: ChatMessage[]; options: ChatOptions } | undefined
  const chat = (messages: ChatMessage[], { signal: _, ...options }: ChatOptions) => {
    found = { messages, options: JSON.parse(JSON.stringify(options)) as ChatOptions }
  }
  exchangeOf(face, body).start({ chat } as unknown as Engine, new AbortController().signal)
  return found!
}

/** The message of the refusal. Anything else that is thrown comes through. */
export function refusal(face: Face, body: JsonObject): string {
  try {
    asked(face, body)
  } catch (error) {
    if (error instanceof M2Error && ['BAD_INPUT', 'BAD_OPTION'].includes(error.code)) return error.message
    throw error
  }
  return 'accepted'
}

const STRANGE = [
  null,
  0,
  -1,
  1.5,
  '',
  'x',
  true,
  [],
  {},
  [null],
  [{}],
  { type: 'x' },
  { type: 'text' },
  [[]],
  '__proto__',
]

/** What is answered to bodies that came from one by `mutated`, and have few tokens to generate: how often which status, and what is wrong. */
export async function answersToMutants(
  post: (body: JsonObject) => Promise<Response>,
  body: JsonObject,
  limit: JsonObject,
  random: Random,
): Promise<{ statuses: Record<number, number>; wrong: string[] }> {
  const statuses: Record<number, number> = {}
  const wrong: string[] = []
  for (let i = 0; i < 200; i++) {
    const mutant = { ...mutated(body, random), ...limit }
    const answer = await post(mutant)
    const text = await answer.text()
    statuses[answer.status] = (statuses[answer.status] ?? 0) + 1
    // "messages[0]" is how the engine names what the API calls "messages.0".
    const isRefusal = answer.status === 400 && !/\w\[\d/.test(text)
    const isSound = isRefusal || (answer.status === 200 && !/event: (error|response.failed)/.test(text))
    if (!isSound) wrong.push(`${answer.status} ${text} for ${JSON.stringify(mutant)}`)
  }
  return { statuses, wrong }
}

/** A copy of a body with one value of it replaced, removed or repeated. */
export function mutated(body: JsonObject, random: Random): JsonObject {
  const copy = structuredClone(body)
  const places: [holder: JsonObject, key: string][] = []
  const visit = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, inner] of Object.entries(value)) {
      places.push([value as JsonObject, key])
      visit(inner)
    }
  }
  visit(copy)
  const [holder, key] = random.pick(places)
  if (random.below(5) === 0 && !Array.isArray(holder)) delete holder[key]
  else holder[key] = random.pick([...STRANGE, ...places.map(([from, name]) => structuredClone(from[name]))])
  return copy
}
