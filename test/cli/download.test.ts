import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ByteStatus } from '../../lib/cli/byte-status'
import { run } from '../../lib/cli/program'
import { COMMIT, FakeHub, FILES, NEEDED, onFile, REPO } from '../hub/fake-hub'
import { contents } from '../hub/folder'
import { fakeShell } from './fake-shell'

const MAIN = path.join(__dirname, '..', '..', 'dist', 'cli', 'main.js')
const WEIGHTS = 'model-1.safetensors'

let dir: string
let hub: FakeHub
beforeEach(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-cli-download-'))
  hub = await FakeHub.start()
})
afterEach(() => {
  hub.stop()
  rmSync(dir, { recursive: true })
})

const env = () => ({ HF_ENDPOINT: hub.endpoint, HF_HOME: dir })
const snapshot = () => path.join(dir, 'hub', 'models--owner--model', 'snapshots', COMMIT)
const blobs = () => path.join(dir, 'hub', 'models--owner--model', 'blobs')
const expected = () => Object.fromEntries([...NEEDED].sort().map((name) => [name, FILES[name]!.toString('latin1')]))

async function m2(...args: string[]) {
  const { shell, seen } = fakeShell({ env: env() })
  const status = await run(args, shell)
  return { status, stdout: seen.stdout, stderr: seen.stderr }
}

interface Ended {
  status: number | null
  stdout: string
  stderr: string
}

function start(...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env() } })
  const seen = { stdout: '', stderr: '' }
  child.stdout.on('data', (text) => {
    seen.stdout += text
  })
  child.stderr.on('data', (text) => {
    seen.stderr += text
  })
  return { child, ended: new Promise((resolve) => child.on('close', (status) => resolve({ status, ...seen }))) }
}

describe('m2 download', () => {
  it('prints the folder, and the commit, the size and the licence beside it', async () => {
    expect(await m2('download', REPO)).toEqual({
      status: 0,
      stdout: `${snapshot()}\n`,
      stderr: `owner/model at cccccccccccc: 8 files, 488.4 KiB; licence: modified-mit\n`,
    })
    expect(contents(snapshot())).toEqual(expected())
  })

  it('takes a revision and a folder', async () => {
    hub.faults = [
      (request, response) => {
        if (!request.url?.includes('/revision/refs%2Fpr%2F1?')) return false
        response.end(JSON.stringify(hub.list))
        return true
      },
    ]
    const to = path.join(dir, 'plain')
    const { status, stdout } = await m2('download', REPO, '--revision', 'refs/pr/1', '--to', to)
    expect({ status, stdout }).toEqual({ status: 0, stdout: `${to}\n` })
    expect(contents(to)).toEqual(expected())
  })

  it('says when it tries again', async () => {
    const busy = onFile('config.json', (_, response) => response.writeHead(429, { 'retry-after': '0' }).end(), 1)
    hub.faults = [busy]
    const { status, stderr } = await m2('download', REPO)
    expect(status).toBe(0)
    expect(stderr).toMatch(/\nconfig\.json: 127\.0\.0\.1:\d+ answered 429; trying again in 0 s\n$/)
  })

  it('fails with one line and status 1 when the hub does, and 2 when asking otherwise would help', async () => {
    hub.faults = [(_, response) => !!response.writeHead(400).end()]
    const refused = await m2('download', REPO)
    expect(refused.stderr).toMatch(/^m2: owner\/model: [^\n]+ 400 [^\n]+\n$/)
    expect(refused).toMatchObject({ status: 1, stdout: '' })
    hub.faults = []
    const { status, stderr } = await m2('download', 'owner/other')
    expect(status).toBe(2)
    expect(stderr).toMatch(/^m2: owner\/other: expected a model with the revision main on [^\n]+ \(404\)\n$/)
    expect((await m2('download', 'other')).status).toBe(2)
    expect((await m2('download')).status).toBe(2)
  })

  it('two at once, as processes, end with the same whole model', async () => {
    const ended = await Promise.all([start('download', REPO).ended, start('download', REPO).ended])
    expect(ended.map(({ status, stdout }) => [status, stdout])).toEqual([
      [0, `${snapshot()}\n`],
      [0, `${snapshot()}\n`],
    ])
    expect(contents(snapshot())).toEqual(expected())
    expect(readdirSync(blobs())).toHaveLength(NEEDED.length)
  })

  it('stops at Ctrl-C with status 130 and goes on from there', async () => {
    const half = FILES[WEIGHTS]!.subarray(0, 150_000)
    const { child, ended } = start('download', REPO)
    const part = new Promise<void>((resolve) => {
      hub.faults = [onFile(WEIGHTS, (_, response) => response.write(half, () => resolve()), 1)]
    })
    await part
    while (!existsSync(blobs()) || readdirSync(blobs()).length < NEEDED.length) await new Promise(setImmediate)
    child.kill('SIGINT')
    const { status, stdout, stderr } = await ended
    expect({ status, stdout }).toEqual({ status: 130, stdout: '' })
    expect(stderr).toMatch(/\nstopped; the same command goes on from here\n$/)
    expect(existsSync(snapshot())).toBe(false)
    expect((await m2('download', REPO)).status).toBe(0)
    expect(contents(snapshot())).toEqual(expected())
  })
})

describe('the status of a download', () => {
  it('shows bytes, rate and the time left', () => {
    const seen = { text: '', clock: 0 }
    const status = new ByteStatus(
      { write: (text) => (seen.text += text), isTTY: true },
      'downloading',
      () => seen.clock,
    )
    const total = 100 * 2 ** 30
    const at = (ms: number, done: number) => {
      seen.text = ''
      seen.clock = ms
      status.report({ done, total })
      return seen.text.replace('\r', '').replace('\x1b[K', '')
    }
    expect(at(0, 2 ** 30)).toBe('') // what was there before: no part of the rate
    expect(at(1000, 2 ** 30 + 100 * 2 ** 20)).toBe('downloading: 1.1 GiB of 100 GiB, 100 MiB/s, 17 min left')
    expect(at(2000, 2 ** 30 + 100 * 2 ** 20)).toBe('downloading: 1.1 GiB of 100 GiB, 50 MiB/s, 34 min left')
    for (let ms = 3000; ms <= 60_000; ms += 500) at(ms, 2 ** 31)
    expect(at(61_000, 2 ** 31)).toBe('downloading: 2 GiB of 100 GiB')
    expect(at(62_000, 2 ** 31 + 15 * 2 ** 20)).toMatch(/, 1 MiB\/s, 27 h \d+ min left$/)
    expect(at(63_000, total - 2 ** 20)).toMatch(/, 1 s left$/)
    seen.text = ''
    status.say('a line')
    status.end()
    expect(seen.text).toBe('\r\x1b[Ka line\n')
  })
})
