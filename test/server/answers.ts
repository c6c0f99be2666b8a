/** Invented answers, and the chunks that they may come in. */
import type { Chunk, Result } from '../../lib/generation'
import type { ToolCallDelta } from '../../lib/text/output-parser'
import type { Random } from '../text/random'

const USAGE = { promptTokens: 50, cachedTokens: 32, completionTokens: 20, reasoningTokens: 7 }

export function resultOf(fields: Partial<Result>): Result {
  return {
    text: '',
    reasoning: '',
    toolCalls: [],
    tokenIds: [],
    promptTokenIds: [],
    finishReason: fields.toolCalls ? 'tool_calls' : 'stop',
    usage: USAGE,
    timing: { queueMs: 0, prefillMs: 0, firstTokenMs: 0, decodeMs: 0 },
    ...fields,
  }
}

export function chunkOf(fields: Partial<Chunk>): Chunk {
  return { text: '', tokenIds: [], index: 0, ...fields }
}

const TEXTS = ['', 'a', 'Sure: ', 'line\n', '"quoted" \\ back', '𝄞 é', '</think>', '{"x":']

export function randomResult(random: Random): Result {
  const text = () => random.list(4, () => random.pick(TEXTS)).join('')
  const toolCalls = random.list(3, () => ({
    id: `call_${random.below(1e9)}`,
    name: random.pick(['look_up', 'clock']),
    arguments: Object.fromEntries(random.list(3, () => [random.pick(['key', 'n']), random.pick([text(), 5, null])])),
  }))
  const finishReason = random.pick(
    toolCalls.length > 0 ? (['tool_calls', 'length'] as const) : (['stop', 'length'] as const),
  )
  return resultOf({ reasoning: text(), text: text(), toolCalls, finishReason })
}

/** The pieces of a result in order, some of them merged as chunks that nobody read are. */
export function randomChunks({ reasoning, text, toolCalls }: Result, random: Random): Chunk[] {
  const pieces = [
    ...random.chunks(reasoning, 6).map((piece) => chunkOf({ reasoning: piece })),
    ...random.chunks(text, 6).map((piece) => chunkOf({ text: piece })),
    ...toolCalls.flatMap((call, index) =>
      callDeltas({ ...call, index }, random).map((delta) => chunkOf({ toolCalls: [delta] })),
    ),
  ]
  const chunks: Chunk[] = []
  for (const piece of pieces) {
    const last = chunks.at(-1)
    if (last && random.below(3) === 0) merge(last, piece)
    else chunks.push({ ...piece })
  }
  return chunks
}

function callDeltas(
  { index, id, name, arguments: args }: Result['toolCalls'][number] & { index: number },
  random: Random,
): ToolCallDelta[] {
  const [first = '', ...rest] = random.chunks(JSON.stringify(args), 8)
  return [{ index, id, name, arguments: first }, ...rest.map((piece) => ({ index, arguments: piece }))]
}

function merge(into: Chunk, chunk: Chunk): void {
  into.text += chunk.text
  if (chunk.reasoning !== undefined) into.reasoning = (into.reasoning ?? '') + chunk.reasoning
  if (chunk.toolCalls) into.toolCalls = [...(into.toolCalls ?? []), ...chunk.toolCalls]
}
