/** Bodies that are almost right: no field of any shape gives a 500, a hang or a lost page. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Engine } from '../../lib/engine'
import { idle, serve } from './http'

let engine: Engine
let server: Awaited<ReturnType<typeof serve>>
beforeAll(async () => {
  engine = await Engine.load()
  server = await serve(engine)
})
afterAll(async () => {
  server.stop()
  await engine.close()
})

const schema = { type: 'object', properties: { target: { type: 'string' } }, required: ['target'] }
const tools = [{ type: 'function', function: { name: 'f', description: 'd', parameters: schema } }]
const call = { id: 'c', type: 'function', function: { name: 'f', arguments: '{"target":"a"}' } }
const shared = {
  ...{ max_tokens: 3, temperature: 1, top_p: 0.9, top_k: 5, min_p: 0.1, n: 2, stop: ['x'], seed: 1, user: 'u' },
  ...{ presence_penalty: 0.1, frequency_penalty: 0.1, repetition_penalty: 1.1, logit_bias: { '5': 1 } },
  ...{ stop_token_ids: [5], ignore_eos: true, return_token_ids: true, priority: 1, cache_salt: 's', stream: true },
  stream_options: { include_usage: true },
}
const BODIES: [path: string, body: unknown][] = [
  [
    '/v1/chat/completions',
    {
      ...shared,
      messages: [
        { role: 'system', content: 's' },
        { role: 'user', content: [{ type: 'text', text: 'a' }] },
        { role: 'assistant', content: null, reasoning_content: 'r', tool_calls: [call] },
        { role: 'tool', tool_call_id: 'c', content: 'done' },
      ],
      ...{ tools, tool_choice: 'auto', parallel_tool_calls: false, logprobs: true, top_logprobs: 2 },
      ...{ response_format: { type: 'text' }, max_reasoning_tokens: 2, keep_reasoning: 'always' },
      ...{ chat_template_kwargs: { enable_thinking: false }, thinking: true, reasoning_split: false },
      model: 'm',
    },
  ],
  ['/v1/completions', { ...shared, prompt: ['a', [5, 6]], logprobs: 2, echo: false, suffix: null, best_of: 2 }],
  ['/tokenize', { messages: [{ role: 'user', content: 'a' }], tools, add_special_tokens: true }],
  ['/tokenize', { text: 'a' }],
  ['/detokenize', { tokens: [5, 6] }],
]

/** Whatever JSON can say: each kind, the edges of numbers, and what is special to JavaScript or to the model. */
const VALUES: unknown[] = [
  ...[null, true, false, '', 'x', 'auto', 'required', '</think>', ']~b]ai', '\ud800', '\u0000', 'é'.repeat(50)],
  ...[0, 1, -1, 0.5, -0, 1e308, 1e-320, 2 ** 31, 2 ** 53, -(2 ** 53), 1535, 1536],
  ...[[], {}, [null], [[]], [[5]], ['x'], [5], [1e9], { type: 'function' }, { type: 'json_object' }, { length: 3 }],
  JSON.parse('{"__proto__": {"temperature": 0}, "constructor": 1, "toString": null}'),
  { type: 'json_schema', json_schema: { name: 'n', schema: { $ref: '#' } } },
  nested(300),
]

function nested(depth: number): unknown {
  return depth === 0 ? 1 : { a: [nested(depth - 1)] }
}

/** Park and Miller's. */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 48_271) % 2_147_483_647
    return state % below
  }
}

/** The same with one place in it changed, or left out. */
function mutate(value: unknown, below: (n: number) => number): unknown {
  if (typeof value !== 'object' || value === null || below(4) === 0) return VALUES[below(VALUES.length)]
  const keys = Object.keys(value)
  if (keys.length === 0) return VALUES[below(VALUES.length)]
  const key = keys[below(keys.length)]!
  const changed = below(8) === 0 ? undefined : mutate((value as Record<string, unknown>)[key], below)
  if (Array.isArray(value)) return value.map((item, i) => (String(i) === key ? changed : item))
  return { ...value, [key]: changed }
}

it.each(BODIES)('%s answers the body that is right', async (path, body) => {
  const response = await server.post(path, body)
  expect(response.status, await response.text()).toBe(200)
})

it('a body with one or two wrong values is answered, or refused with a reason', async () => {
  const below = random(20_261_125)
  const seen = new Map<number, number>()
  const ask = async (): Promise<void> => {
    const [path, body] = BODIES[below(BODIES.length)]!
    const changed = below(2) === 0 ? mutate(body, below) : mutate(mutate(body, below), below)
    const text = JSON.stringify(changed) ?? ''
    const response = await server.post(path, text)
    const answer = await response.text()
    seen.set(response.status, (seen.get(response.status) ?? 0) + 1)
    expect([200, 400], `${path} ${text}\n${answer}`).toContain(response.status)
    if (response.status === 400) expect(JSON.parse(answer).error.message, text).toMatch(/\w+.*: .*\w/)
  }
  for (let i = 0; i < 60; i++) await Promise.all(Array.from({ length: 20 }, ask))
  await idle(engine)
  expect(seen.get(200)).toBeGreaterThan(100)
  expect(seen.get(400)).toBeGreaterThan(200)
  expect(server.log.filter(({ status }) => status >= 500)).toEqual([])
})
