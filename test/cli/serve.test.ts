/** `m2 serve` in a process of its own, with the embedded model; and in memory what needs no process. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { run } from '../../lib/cli/program'
import { until } from '../server/http'
import { fakeShell } from './fake-shell'
import { m2, start } from './process'

const SUM = [{ role: 'user', content: 'What is 47 + 38?' }]
/** More than fits between a server and a client that does not read: the answer is halted until it does. */
const LONG = {
  ...{ messages: SUM, stream: true, ignore_eos: true, max_tokens: 400, n: 32 },
  ...{ logprobs: true, top_logprobs: 20 },
}

async function serve(...args: string[]) {
  const { child, ended } = start(['serve', '--port', '0', ...args])
  onTestFinished(() => void child.kill('SIGKILL'))
  let stderr = ''
  child.stderr!.on('data', (text) => {
    stderr += text
  })
  await until(() => stderr.includes('\n'))
  const url = /^m2: serving nano at (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(stderr)?.[1]
  expect(url, stderr).toBeDefined()
  const chat = (body: object, headers = {}) =>
    fetch(`${url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(body), headers })
  return { url: url!, child, ended, chat, lines: () => stderr.split('\n').slice(1, -1) }
}

describe('m2 serve', () => {
  it('says where it is, answers, logs without prompts, and ends with status 0 on SIGTERM', async () => {
    const { child, ended, chat, lines } = await serve()
    const answer = (await (await chat({ messages: SUM })).json()) as { model: string; choices: unknown[] }
    expect(answer).toMatchObject({ model: 'nano', choices: [{ message: { content: '47 + 38 = 85.' } }] })
    await chat({ messages: [{ role: 'robber', content: 'password' }] })
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ status: 0, stdout: '' })
    expect(lines()).toHaveLength(2)
    expect(lines()[0]).toMatch(/^\S+Z \w{32} POST \/v1\/chat\/completions 200 \d+ms prompt=46 cached=0 completion=\d+$/)
    expect(lines()[1]).toMatch(/^\S+Z \w{32} POST \/v1\/chat\/completions 400 \d+ms$/)
  })

  it('lets a stream end that runs when SIGTERM comes, and takes no further connection', async () => {
    const { url, child, ended, chat } = await serve('--quiet')
    const response = await chat(LONG)
    child.kill('SIGTERM')
    await refusal(url)
    const text = await response.text()
    expect(text.match(/"finish_reason":"length"/g)).toHaveLength(LONG.n)
    expect(text).toMatch(/\n\ndata: \[DONE\]\n\n$/)
    expect(await ended).toMatchObject({ status: 0, stderr: `m2: serving nano at ${url}\n` })
  })

  it('ends what still runs when the grace period is over, with what there is', async () => {
    const { child, ended, chat } = await serve('--grace', '0')
    const response = await chat(LONG)
    child.kill('SIGTERM')
    const text = await response.text()
    expect(text.match(/"finish_reason":"length"/g)).toHaveLength(LONG.n)
    expect(text.match(/"top_logprobs"/g)?.length ?? 0).toBeLessThan(LONG.n * LONG.max_tokens)
    expect((await ended).status).toBe(0)
  })

  it('waits no longer for a client that never reads', async () => {
    const { child, ended, chat } = await serve('--grace', '1')
    await chat(LONG)
    child.kill('SIGTERM')
    expect((await ended).status).toBe(0)
  })

  it('quits at once on a second signal', async () => {
    const { url, child, ended, chat } = await serve()
    const response = await chat(LONG)
    child.kill('SIGTERM')
    await refusal(url)
    child.kill('SIGINT')
    expect((await ended).status).toBe(130)
    await expect(response.text()).rejects.toThrow()
  })

  it('asks for the key that the environment or the flag names, and serves under the name it is given', async () => {
    const { url } = await serve('--api-key', 'secret', '--served-name', 'nano')
    expect((await fetch(`${url}/v1/models`)).status).toBe(401)
    const models = await fetch(`${url}/v1/models`, { headers: { authorization: 'Bearer secret' } })
    expect(await models.json()).toMatchObject({ data: [{ id: 'nano' }] })
    expect((await fetch(`${url}/health`)).status).toBe(200)
  })

  it.each([
    ['a port that is none', ['--port', '99999'], /--port/],
    ['a model that is not there', ['--port', '0', '--model', 'no/such/folder'], /no\/such\/folder/],
    ['an empty key', ['--port', '0', '--api-key', ''], /apiKey/],
  ])('%s: one line, status 2', async (_, args, message) => {
    const { status, stderr } = await m2(['serve', ...args])
    expect(stderr).toMatch(/^m2: [^\n]+\n$/)
    expect(stderr).toMatch(message)
    expect(status).toBe(2)
  })
})

describe('in memory', () => {
  it('a port that is taken: one line, status 1, and no model is loaded', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void other.close())
    await until(() => other.listening)
    const { port } = other.address() as AddressInfo
    const { shell, seen } = fakeShell()
    expect(await run(['serve', '--port', String(port)], shell)).toBe(1)
    expect(seen.stderr).toMatch(/^m2: cannot listen on 127\.0\.0\.1, port \d+: .*EADDRINUSE[^\n]*\n$/)
    expect(seen.loads).toEqual([])
  })

  it('hands its flags to the engine and closes it at the end', async () => {
    const { shell, seen, terminate } = fakeShell({ env: { M2_API_KEY: 'from-env' } })
    const args = ['--port', '0', '--model', 'm', '--device', 'cpu', '--kv-memory', '1GiB', '--max-sequences', '3']
    const status = run(['serve', ...args], shell)
    await until(() => seen.stderr.includes('serving'))
    const url = /http\S+/.exec(seen.stderr)![0]
    expect((await fetch(`${url}/v1/models`)).status).toBe(401)
    expect((await fetch(`${url}/v1/models`, { headers: { 'x-api-key': 'from-env' } })).status).toBe(200)
    terminate()
    expect(await status).toBe(0)
    expect(seen.loads).toEqual([['m', expect.objectContaining({ device: 'cpu', kvMemory: '1GiB', maxSequences: 3 })]])
    expect(seen.closed).toBe(1)
  })
})

/** Until no connection is taken any more. */
async function refusal(url: string): Promise<void> {
  const ask = () =>
    fetch(`${url}/health`).then(
      () => false,
      () => true,
    )
  while (!(await ask()));
}
