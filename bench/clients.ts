/**
 * 200 clients at once who stream answers of `m2 serve` for a minute, over sockets and from another process: each asks its own question again and again,
 * greedily, and each answer must be, to the letter, what the same question got alone. Memory is what the system says the server's process has, at its least
 * within a few seconds: between two collections of garbage it goes up and down by 20 MB. The KV cache is so small that it is full before memory is looked
 * at, since a page takes memory when it is first used.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { quantile } from './measure'
import { digits, type Table } from './tables'

const CLIENTS = 200
const SECONDS = 60
/** Until then the server warms up. */
const WARM_SECONDS = 10
/** Seconds of which the least memory counts. */
const WINDOW_SECONDS = 5
const KV_MEMORY = '40MiB'
const MOST_GROWTH = 10e6 // bytes

interface Answer {
  text: string
  reasoning: string
  finish: string
  usage: { completion_tokens: number } | undefined
  /** Milliseconds to the first delta with something in it. */
  first: number
}

/** What all clients saw. */
interface Seen {
  answers: number
  tokens: number
  first: number[]
}

export async function benchClients(): Promise<Table[]> {
  const server = await startServer()
  try {
    const questions = Array.from({ length: CLIENTS }, (_, i) => `What is ${100 + 3 * i} + ${(7 * i) % 800}?`)
    const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS })
    const alone: Answer[] = []
    for (const question of questions) alone.push(await ask(server.url, agent, question))
    const seen: Seen = { answers: 0, tokens: 0, first: [] }
    const end = performance.now() + SECONDS * 1000
    const clients = questions.map(async (question, i) => {
      while (performance.now() < end) check(question, await ask(server.url, agent, question), alone[i]!, seen)
    })
    const all = Promise.all(clients)
    all.catch(() => {})
    await wait(WARM_SECONDS * 1000)
    const before = await leastMemory(server.child)
    await wait((SECONDS - WARM_SECONDS - 2 * WINDOW_SECONDS) * 1000)
    const growth = (await leastMemory(server.child)) - before
    await all
    agent.destroy()
    await checkIdle(server.url)
    if (growth > MOST_GROWTH) throw new Error(`expected at most 10 MB more memory, found ${digits(growth / 1e6)} MB`)
    return [table(seen, before, growth)]
  } finally {
    server.child.kill('SIGTERM')
    await once(server.child, 'exit')
  }
}

function table(seen: Seen, before: number, growth: number): Table {
  const first = seen.first.toSorted((a, b) => a - b)
  const times = [0.5, 0.95, 0.99, 1].map((q) => digits(quantile(first, q)))
  return {
    title: `${CLIENTS} streaming clients for ${SECONDS} s`,
    note:
      `Every answer was that of the same question alone. Memory of the server's process: the least of ${WINDOW_SECONDS} s after ` +
      `${WARM_SECONDS} s, and how much more of the last ${WINDOW_SECONDS} s.`,
    columns: ['answers', 'tokens/s', 'first token, ms: median', '95 %', '99 %', 'longest', 'resident, MB', 'more, MB'],
    rows: [
      [String(seen.answers), digits(seen.tokens / SECONDS), ...times, digits(before / 1e6), (growth / 1e6).toFixed(1)],
    ],
  }
}

function check(question: string, found: Answer, expected: Answer, seen: Seen): void {
  for (const part of ['text', 'reasoning', 'finish'] as const) {
    if (found[part] === expected[part]) continue
    throw new Error(
      `${question}: expected the ${part} ${JSON.stringify(expected[part])}, found ${JSON.stringify(found[part])}`,
    )
  }
  seen.answers++
  seen.tokens += found.usage!.completion_tokens
  seen.first.push(found.first)
}

async function startServer(): Promise<{ child: ChildProcess; url: string }> {
  const main = path.join(__dirname, '..', 'dist', 'cli', 'main.js')
  const args = [main, 'serve', '--port', '0', '--kv-memory', KV_MEMORY]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const lines = createInterface({ input: child.stderr! })
  const url = await new Promise<string>((resolve, reject) => {
    lines.on('line', (line) => {
      const address = /http:\/\/\S+/.exec(line)
      if (address) resolve(address[0])
    })
    child.once('exit', (status) => reject(new Error(`m2 serve ended with ${status}; it needs \`npm run build\``)))
  })
  return { child, url }
}

async function ask(url: string, agent: http.Agent, question: string): Promise<Answer> {
  const start = performance.now()
  const request = http.request(`${url}/v1/chat/completions`, { method: 'POST', agent })
  const messages = [{ role: 'user', content: question }]
  request.end(JSON.stringify({ messages, temperature: 0, stream: true, stream_options: { include_usage: true } }))
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  if (response.statusCode !== 200) throw new Error(`${question}: status ${response.statusCode}`)
  const answer: Answer = { text: '', reasoning: '', finish: '', usage: undefined, first: Number.NaN }
  let isDone = false
  for await (const line of createInterface({ input: response })) {
    if (line === 'data: [DONE]') isDone = true
    else if (line.startsWith('data: ')) take(JSON.parse(line.slice(6)), answer, start)
  }
  if (!isDone || !answer.usage) throw new Error(`${question}: the stream was cut off`)
  return answer
}

// biome-ignore lint/suspicious/noExplicitAny: an event of the API
function take(event: any, answer: Answer, start: number): void {
  const { delta, finish_reason } = event.choices[0] ?? {}
  if (Number.isNaN(answer.first) && (delta?.content || delta?.reasoning_content))
    answer.first = performance.now() - start
  answer.text += delta?.content ?? ''
  answer.reasoning += delta?.reasoning_content ?? ''
  answer.finish = finish_reason ?? answer.finish
  answer.usage = event.usage ?? answer.usage
}

async function checkIdle(url: string): Promise<void> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  const privatePages = /^m2_pages_private (\d+)/m.exec(metrics)?.[1]
  if (privatePages !== '0') throw new Error(`expected no private pages at the end, found ${privatePages}`)
}

async function leastMemory(child: ChildProcess): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let i = 0; i < 10 * WINDOW_SECONDS; i++) {
    least = Math.min(least, residentBytes(child))
    await wait(100)
  }
  return least
}

function residentBytes({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)![1])
}
