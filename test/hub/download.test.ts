import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { M2Error } from '../../lib/errors'
import { type DownloadOptions, download } from '../../lib/hub/download'
import {
  blobId,
  COMMIT,
  drop,
  etagOf,
  FakeHub,
  FILES,
  isWeights,
  NEEDED,
  onFile,
  REPO,
  sendFile,
  sha256,
} from './fake-hub'
import { contents } from './folder'

const WEIGHTS = 'model-1.safetensors'
const BYTES = FILES[WEIGHTS]!

let dir: string
let hub: FakeHub
beforeEach(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'm2-hub-'))
  hub = await FakeHub.start()
})
afterEach(() => {
  hub.stop()
  try {
    for (const name of existsSync(blobs()) ? readdirSync(blobs()) : []) {
      // Whatever a test did: what has a final name is whole.
      if (!name.endsWith('.incomplete'))
        expect(name).toBe(etags(readFileSync(path.join(blobs(), name))).get(name.length))
    }
  } finally {
    rmSync(dir, { recursive: true })
  }
})

const etags = (bytes: Buffer) => new Map([sha256(bytes), blobId(bytes)].map((etag) => [etag.length, etag]))
const root = () => path.join(dir, 'hub', 'models--owner--model')
const blobs = () => path.join(root(), 'blobs')
const snapshot = () => path.join(root(), 'snapshots', COMMIT)
const blob = (name: string) => path.join(blobs(), etagOf(name))
const partials = () => readdirSync(blobs()).filter((name) => name.endsWith('.incomplete'))
const expected = () => Object.fromEntries([...NEEDED].sort().map((name) => [name, FILES[name]!.toString('latin1')]))

function start(options: Partial<DownloadOptions> = {}) {
  const seen = { pauses: [] as number[], notices: [] as string[], progress: [] as number[], total: 0, licence: '' }
  const folder = download({
    repo: REPO,
    env: { HF_ENDPOINT: hub.endpoint, HF_HOME: dir, HF_TOKEN: 'secret' },
    signal: new AbortController().signal,
    pause: async (ms) => {
      seen.pauses.push(ms)
    },
    onStart: ({ licence }) => {
      seen.licence = licence ?? ''
    },
    onProgress: ({ done, total }) => {
      seen.progress.push(done)
      seen.total = total
    },
    onNotice: (message) => seen.notices.push(message),
    ...options,
  })
  return { folder, seen }
}

async function failure(options: Partial<DownloadOptions> = {}): Promise<string> {
  const error = await start(options).folder.catch((error) => error)
  if (!(error instanceof M2Error)) throw error
  return `${error.code} ${error.message}`
}

describe('a download', () => {
  it("fills Hugging Face's cache with what the engine needs", async () => {
    const { folder, seen } = start()
    expect(await folder).toBe(snapshot())
    expect(contents(snapshot())).toEqual(expected())
    expect(readlinkSync(path.join(snapshot(), WEIGHTS))).toBe(`../../blobs/${etagOf(WEIGHTS)}`)
    expect(readFileSync(path.join(root(), 'refs', 'main'), 'utf8')).toBe(COMMIT)
    expect(readdirSync(blobs()).sort()).toEqual(NEEDED.map(etagOf).sort())
    expect(seen.licence).toBe('modified-mit')
    expect(seen.progress.at(-1)).toBe(seen.total)
    expect(seen.total).toBe(NEEDED.reduce((sum, name) => sum + FILES[name]!.length, 0))
  })

  it('asks only for the list when all is there', async () => {
    await start().folder
    hub.seen.length = 0
    const { folder, seen } = start()
    expect(await folder).toBe(snapshot())
    expect(hub.seen).toHaveLength(1)
    expect(seen.progress.at(-1)).toBe(seen.total)
  })

  it('never gives the token to another host', async () => {
    await start().folder
    expect(hub.requests('storage ').map(({ token }) => token)).toEqual([undefined, undefined])
    expect(new Set(hub.seen.filter(({ path }) => path.startsWith('GET')).map(({ token }) => token))).toEqual(
      new Set(['Bearer secret']),
    )
  })

  it('takes the token from the file of hf auth login', async () => {
    writeFileSync(path.join(dir, 'token'), 'from-a-file\n')
    await start({ env: { HF_ENDPOINT: `${hub.endpoint}/`, HF_HOME: dir } }).folder
    expect(hub.seen[0]?.token).toBe('Bearer from-a-file')
  })

  it('puts plain files into a folder', async () => {
    const to = path.join(dir, 'plain')
    expect(await start({ to }).folder).toBe(to)
    expect(contents(to)).toEqual(expected())
    expect(existsSync(root())).toBe(false)
  })

  it('keeps the files of a folder that are right and replaces those that are not', async () => {
    const to = path.join(dir, 'plain')
    mkdirSync(to)
    writeFileSync(path.join(to, WEIGHTS), BYTES)
    writeFileSync(path.join(to, 'config.json'), Buffer.alloc(FILES['config.json']!.length))
    await start({ to }).folder
    expect(contents(to)).toEqual(expected())
    expect(hub.requests(WEIGHTS)).toEqual([])
  })

  it('stays with the commit it began with when the revision moves on', async () => {
    hub.faults = [
      (request) => {
        if (request.url?.includes('/resolve/')) hub.list.sha = 'd'.repeat(40)
        return false
      },
    ]
    expect(await start().folder).toBe(snapshot())
    expect(contents(snapshot())).toEqual(expected())
    expect(hub.requests('resolve').every(({ path }) => path.includes(COMMIT))).toBe(true)
  })

  it('names no revision that is a commit', async () => {
    hub.faults = [
      (request, response) => {
        if (!request.url?.includes(`/revision/${COMMIT}`)) return false
        response.end(JSON.stringify(hub.list))
        return true
      },
    ]
    await start({ revision: COMMIT }).folder
    expect(existsSync(path.join(root(), 'refs'))).toBe(false)
  })
})

describe('going on', () => {
  it('asks for the rest after a dropped connection', async () => {
    hub.faults = [onStorage(WEIGHTS, drop(BYTES, 100_000), 2)]
    const { folder, seen } = start()
    await folder
    expect(contents(snapshot())).toEqual(expected())
    const begins = hub.requests(`storage GET /${REPO}/resolve/${COMMIT}/${WEIGHTS}`).map(({ range }) => range)
    expect(begins).toEqual([undefined, 'bytes=100000-', 'bytes=200000-'])
    expect(seen.notices).toHaveLength(2)
    expect(seen.notices[0]).toMatch(/^model-1\.safetensors: the connection was lost .*; trying again in 1 s$/)
  })

  it('takes up what an earlier download left', async () => {
    leave(`${blob(WEIGHTS)}.incomplete`, BYTES.subarray(0, 123_456), 0)
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
    expect(hub.requests(`storage GET /${REPO}/resolve/${COMMIT}/${WEIGHTS}`)[0]?.range).toBe('bytes=123456-')
    expect(readdirSync(blobs())).toHaveLength(NEEDED.length)
  })

  it('takes up a copy of what a killed process left', async () => {
    leave(`${blob(WEIGHTS)}.dead.incomplete`, BYTES.subarray(0, 1000), Date.now() / 1000 - 60)
    await start().folder
    expect(hub.requests(`storage GET /${REPO}/resolve/${COMMIT}/${WEIGHTS}`)[0]?.range).toBe('bytes=1000-')
    expect(readdirSync(blobs())).toHaveLength(NEEDED.length)
  })

  it('begins again where the server ignores ranges', async () => {
    leave(`${blob(WEIGHTS)}.incomplete`, BYTES.subarray(0, 5000), 0)
    hub.faults = [onStorage(WEIGHTS, (_, response) => response.end(BYTES))]
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
  })

  it('begins again when what was left is wrong', async () => {
    leave(`${blob(WEIGHTS)}.incomplete`, Buffer.alloc(5000, 'x'), 0)
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
  })

  it('begins again when what was left is too long', async () => {
    leave(`${blob(WEIGHTS)}.incomplete`, Buffer.alloc(BYTES.length + 1), 0)
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
  })

  it('refuses bytes from another place than it asked for', async () => {
    leave(`${blob(WEIGHTS)}.incomplete`, BYTES.subarray(0, 5000), 0)
    hub.faults = [
      onStorage(WEIGHTS, (_, response) =>
        response.writeHead(206, { 'content-range': `bytes 6000-${BYTES.length - 1}/${BYTES.length}` }).end('bytes'),
      ),
    ]
    expect(await failure()).toMatch(/DOWNLOAD_FAILED model-1.*expected the bytes from 5000 on, found bytes 6000-/)
    expect(readFileSync(`${blob(WEIGHTS)}.incomplete`).equals(BYTES.subarray(0, 5000))).toBe(true)
  })

  it('asks again after an answer that is shorter than the file', async () => {
    hub.faults = [onStorage(WEIGHTS, (_, response) => response.end(BYTES.subarray(0, 70_000)), 1)]
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
  })

  it.each([
    [429, '7', 7000],
    [503, '0', 0],
    [500, undefined, undefined],
    [408, 'Thu, 01 Jan 1970 00:00:00 GMT', 0],
  ])('waits after %i with Retry-After %s', async (status, retryAfter, ms) => {
    const headers = retryAfter === undefined ? {} : { 'retry-after': retryAfter }
    hub.faults = [onFile('config.json', (_, response) => response.writeHead(status, headers).end('no'), 1)]
    const { folder, seen } = start()
    await folder
    expect(contents(snapshot())).toEqual(expected())
    expect(seen.pauses).toHaveLength(1)
    if (ms === undefined) expect(seen.pauses[0]).toBeGreaterThanOrEqual(250)
    else expect(seen.pauses[0]).toBe(ms)
  })

  it('asks the hub for a new link when the storage refuses an old one', async () => {
    hub.faults = [onStorage(WEIGHTS, (_, response) => response.writeHead(403).end(), 1)]
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
  })

  it('takes a connection that falls silent for lost', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      hub.faults = [onStorage(WEIGHTS, (_, response) => void response.write(BYTES.subarray(0, 50_000)), 1)]
      const { folder, seen } = start()
      const there = NEEDED.reduce((sum, name) => sum + FILES[name]!.length, 0) - (BYTES.length - 50_000)
      while (seen.progress.at(-1) !== there) await new Promise(setImmediate)
      vi.advanceTimersByTime(30_000)
      await folder
      expect(seen.notices).toEqual([expect.stringMatching(/the connection was silent for 30 s; trying again/)])
      expect(contents(snapshot())).toEqual(expected())
    } finally {
      vi.useRealTimers()
    }
  })

  it('stops at the signal, keeps what there is, and goes on from there', async () => {
    const interrupt = new AbortController()
    hub.faults = [onStorage(WEIGHTS, (_, response) => void response.write(BYTES.subarray(0, 50_000)), 1)]
    const { folder } = start({
      signal: interrupt.signal,
      onProgress: ({ done, total }) => {
        if (done === total - (BYTES.length - 50_000)) interrupt.abort()
      },
    })
    await expect(folder).rejects.toThrow(/abort/i)
    expect(readFileSync(`${blob(WEIGHTS)}.incomplete`).equals(BYTES.subarray(0, 50_000))).toBe(true)
    expect(existsSync(snapshot())).toBe(false)
    expect(existsSync(path.join(root(), 'refs'))).toBe(false)
    await start().folder
    expect(contents(snapshot())).toEqual(expected())
    expect(hub.requests('storage ').at(-1)?.range).toBe('bytes=50000-')
  })
})

describe('what is refused', () => {
  it('a wrong checksum, after a second try', async () => {
    const wrong = Buffer.from(BYTES)
    wrong[1000] = 0
    hub.faults = [onStorage(WEIGHTS, (request, response) => sendFile(wrong, request, response))]
    expect(await failure()).toMatch(
      /^DOWNLOAD_FAILED model-1\.safetensors: expected the checksum \w{64}, found \w{64}, tw/,
    )
    expect(hub.requests(`storage GET /${REPO}/resolve/${COMMIT}/${WEIGHTS}`)).toHaveLength(2)
    expect(readdirSync(blobs()).filter((name) => name.startsWith(etagOf(WEIGHTS)))).toEqual([])
  })

  it('a file of another length than the list says', async () => {
    const longer = Buffer.concat([FILES['config.json']!, Buffer.from(' ')])
    hub.faults = [onFile('config.json', (_, response) => response.end(longer))]
    expect(await failure()).toMatch(/config\.json: expected the checksum .* found more than 28 bytes, twice/)
    hub.faults = [onFile('config.json', (_, response) => response.end('{}'))]
    expect(await failure()).toMatch(/config\.json: found only 2 of 28 bytes, 9 times in a row/)
  })

  it('a connection that drops always, without looping for ever', async () => {
    hub.faults = [onStorage(WEIGHTS, (_, response) => void response.destroy())]
    const { folder, seen } = start()
    await expect(folder).rejects.toThrow(/model-1\.safetensors: the connection was lost .*, 9 times in a row$/)
    expect(seen.pauses).toHaveLength(8)
    expect(Math.max(...seen.pauses)).toBeGreaterThan(16_000)
  })

  it.each([
    [401, '', /^MODEL_NOT_FOUND owner\/model: expected a public model .* \(401\).*private or gated: set HF_TOKEN/],
    [401, 'x', /^MODEL_NOT_FOUND owner\/model: .* does not accept the token \(401\)/],
    [403, 'x', /^MODEL_NOT_FOUND owner\/model: no access \(403\): accept its terms at http.*\/owner\/model/],
    [
      404,
      '',
      /^MODEL_NOT_FOUND owner\/model: expected a model with the revision main on http.*, found nothing \(404\)/,
    ],
    [400, '', /^DOWNLOAD_FAILED owner\/model: http.* answered 400 Bad Request$/],
  ])('%i with the token "%s"', async (status, token, message) => {
    hub.faults = [(_, response) => !!response.writeHead(status).end()]
    expect(await failure({ env: { HF_ENDPOINT: hub.endpoint, HF_HOME: dir, HF_TOKEN: token } })).toMatch(message)
    expect(hub.seen).toHaveLength(1)
    expect(readdirSync(dir)).toEqual([])
  })

  it('a revision that is not there', async () => {
    hub.faults = [(_, response) => !!response.writeHead(404, { 'x-error-code': 'RevisionNotFound' }).end()]
    expect(await failure({ revision: 'v9' })).toMatch(/with the revision v9 on .*, found no such revision \(404\)/)
  })

  it('a gated file behind a public list', async () => {
    hub.faults = [onFile('config.json', (_, response) => response.writeHead(403).end())]
    expect(await failure()).toMatch(/accept its terms/)
  })

  it('a hub that cannot be reached', async () => {
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: dir }
    hub.stop()
    expect(await failure({ env })).toBe(
      `DOWNLOAD_FAILED owner/model: cannot reach ${new URL(env.HF_ENDPOINT).host} (ECONNREFUSED), 4 times in a row`,
    )
  })

  it.each([
    '../evil.json',
    '/etc/evil.json',
    'a/../../evil.json',
    '..\\evil.json',
    'C:evil.json',
    'evil\0.json',
    '.',
    '',
  ])('the path %j', async (rfilename) => {
    ;(hub.list.siblings as unknown[]).push({ rfilename, size: 2, blobId: blobId(Buffer.from('{}')) })
    expect(await failure()).toMatch(/^BAD_CHECKPOINT owner\/model: expected paths inside the repository, found "/)
    expect(hub.seen).toHaveLength(1)
    expect(readdirSync(dir)).toEqual([])
  })

  it.each([
    ['no list', () => ({}), /expected a commit, found nothing/],
    ['a commit that is a path', () => ({ ...hub.list, sha: '../../x' }), /expected a commit, found "..\/..\/x"/],
    [
      'no checksum',
      () => ({ ...hub.list, siblings: [...sound(), { rfilename: 'a.json', size: 1 }] }),
      /checksum of a.json/,
    ],
    ['no size', () => ({ ...hub.list, siblings: [...sound(), { rfilename: 'a.json' }] }), /the size of a.json/],
    ['no model', () => ({ ...hub.list, siblings: [] }), /^MODEL_NOT_FOUND .*config.json/],
    [
      'no safetensors',
      () => ({ ...hub.list, siblings: sound().filter(({ rfilename }) => !isWeights(rfilename)) }),
      /^MODEL_NOT_FOUND owner\/model: expected weights as .safetensors, found pytorch_model.bin$/,
    ],
    [
      'a shard missing',
      () => ({ ...hub.list, siblings: sound().filter(({ rfilename }) => rfilename !== WEIGHTS) }),
      /^BAD_CHECKPOINT owner\/model: expected model-1.safetensors in the repository/,
    ],
  ])('a list with %s', async (_, list, message) => {
    hub.list = list()
    expect(await failure()).toMatch(message)
    expect(existsSync(path.join(root(), 'refs'))).toBe(false)
  })

  it('more than the disk has room for', async () => {
    for (const sibling of sound()) if (sibling.rfilename === WEIGHTS) sibling.size = 2 ** 52
    expect(await failure()).toMatch(/^DOWNLOAD_FAILED .*: expected 4096 TiB of free space .*, found [\d.]+ [GMT]iB$/)
    expect(hub.requests('resolve')).toEqual([])
  })

  it('a folder that cannot be written', async () => {
    writeFileSync(path.join(dir, 'file'), '')
    expect(await failure({ to: path.join(dir, 'file', 'below') })).toMatch(/^DOWNLOAD_FAILED .*file.*ENOTDIR$/)
  })

  it.each(['model', 'owner/../x', 'a/b/c', '../x', 'owner/na me', 'owner--x/y'])('the repository %s', async (repo) => {
    expect(await failure({ repo })).toMatch(/^BAD_OPTION .*owner\/name/)
  })

  it('a revision that is a path out of the cache', async () => {
    expect(await failure({ revision: '../../main' })).toMatch(/^BAD_OPTION ..\/..\/main/)
  })

  it('an endpoint or a token that is none', async () => {
    expect(await failure({ env: { HF_ENDPOINT: 'hub', HF_HOME: dir } })).toMatch(/^BAD_OPTION HF_ENDPOINT/)
    const text = await failure({ env: { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'two\nlines' } })
    expect(text).toMatch(/^BAD_OPTION HF_TOKEN/)
    expect(text).not.toContain('lines\n')
  })
})

describe('two at once', () => {
  it('share the work in one process', async () => {
    const folders = await Promise.all([start().folder, start().folder])
    expect(folders).toEqual([snapshot(), snapshot()])
    expect(contents(snapshot())).toEqual(expected())
    expect(readdirSync(blobs()).sort()).toEqual(NEEDED.map(etagOf).sort())
  })

  it('in two processes, one of which is killed, leave whole files alone', async () => {
    // The other process hangs in the middle of a file until it is killed.
    hub.faults = [onStorage(WEIGHTS, (_, response) => void response.write(BYTES.subarray(0, 40_000)), 1)]
    const main = path.join(__dirname, '..', '..', 'dist', 'cli', 'main.js')
    const other = spawn(process.execPath, [main, 'download', REPO], {
      env: { ...process.env, HF_ENDPOINT: hub.endpoint, HF_HOME: dir },
      stdio: 'ignore',
    })
    await until(() => hub.requests(`storage GET /${REPO}/resolve/${COMMIT}/${WEIGHTS}`).length === 1)
    await until(() => partials().length === 1 && readdirSync(blobs()).length === NEEDED.length)
    const { folder } = start()
    await until(() => hub.requests('/api/').length === 2)
    const exited = new Promise((resolve) => other.on('exit', resolve))
    other.kill('SIGKILL')
    await exited
    utimesSync(path.join(blobs(), partials()[0]!), 1, 1) // as half a minute later
    expect(await folder).toBe(snapshot())
    expect(contents(snapshot())).toEqual(expected())
    expect(readdirSync(blobs()).sort()).toEqual(NEEDED.map(etagOf).sort())
  })
})

/** A fault of the storage host alone: the hub redirects there first. */
function onStorage(...[name, answer, times]: Parameters<typeof onFile>): ReturnType<typeof onFile> {
  const fault = onFile(name, answer, times)
  return (request, response) => `http://${request.headers.host}` !== hub.endpoint && fault(request, response)
}

function sound(): { rfilename: string; size: number }[] {
  return hub.list.siblings as { rfilename: string; size: number }[]
}

/** A partial file of another download; `time` in seconds. */
function leave(file: string, bytes: Buffer, time: number): void {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, bytes)
  utimesSync(file, time, time)
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}
