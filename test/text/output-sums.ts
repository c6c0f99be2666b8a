/** What deltas add up to, as their readers see it. */
import { expect } from 'vitest'
import type { Delta, ParsedOutput } from '../../lib/text/output-parser'

/** @throws where a client would: id and name must come once and first, the arguments must be JSON, and indices must rise. */
export function sumOf(deltas: readonly Delta[]): ParsedOutput {
  const calls: { id: string; name: string; json: string }[] = []
  for (const { index, id, name, arguments: json } of deltas.flatMap((delta) => delta.toolCalls ?? [])) {
    if (index === calls.length) {
      expect(id).toMatch(/^call_\w+$/)
      calls.push({ id: id!, name: name!, json: '' })
    } else {
      expect([index, id, name]).toEqual([calls.length - 1, undefined, undefined])
    }
    calls[index]!.json += json
  }
  return {
    reasoning: deltas.map((delta) => delta.reasoning ?? '').join(''),
    text: deltas.map((delta) => delta.text ?? '').join(''),
    toolCalls: calls.map(({ id, name, json }) => ({ id, name, arguments: JSON.parse(json) })),
  }
}

export interface Parsed {
  reasoning: string
  text: string
  toolCalls: { name: string; arguments: unknown }[]
}

/** The same without ids, which are random. */
export const withoutIds = ({ toolCalls, ...output }: ParsedOutput): Parsed => ({
  ...output,
  toolCalls: toolCalls.map(({ name, arguments: given }) => ({ name, arguments: given })),
})
