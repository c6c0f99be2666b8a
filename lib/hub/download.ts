/** A model from a hub to this machine: all files that the engine needs, several at a time. */
import { mkdir, readFile, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { M2Error } from '../errors'
import { formatBytes } from '../model/byte-size'
import { missingFiles } from '../model/checkpoint'
import { HubClient } from './client'
import { PlainFolder, type Target } from './destination'
import { isRepoName, isSafePath, type Listing, readListing } from './listing'
import { partialBytes } from './partial-file'
import { cacheFolder, type Env, tokenFile } from './places'
import { RepoCache } from './repo-cache'
import { type Pause, pause } from './retries'
import { transfer } from './transfer'

/** In bytes; what was there already counts. */
export interface DownloadProgress {
  done: number
  total: number
}

export interface DownloadOptions {
  /** "owner/name". */
  repo: string
  /** A branch, a tag or a commit. Default: main. */
  revision?: string
  /** A folder for plain files, in place of the cache. */
  to?: string
  env: Env
  /** Ends the download; what there is stays for the next. */
  signal: AbortSignal
  /** Called once, before the first file. */
  onStart?: (what: Listing & { bytes: number }) => void
  onProgress?: (progress: DownloadProgress) => void
  /** Told of failures that are tried again, and of another process that downloads the same. */
  onNotice?: (message: string) => void
  /** How waiting between tries is done; tests do not wait. */
  pause?: Pause
}

const PARALLEL_FILES = 8
/** How often a file that another process downloads is looked at. */
const OTHERS_MS = 200

/**
 * Downloads a model.
 * @returns the folder with its files
 * @throws {M2Error} BAD_OPTION, MODEL_NOT_FOUND, BAD_CHECKPOINT, DOWNLOAD_FAILED; the signal's reason when it came
 */
export async function download(options: DownloadOptions): Promise<string> {
  const { repo, revision = 'main', to, env, onProgress = () => {}, onNotice = () => {} } = options
  if (!isRepoName(repo)) throw new M2Error('BAD_OPTION', `${repo}: expected a repository as owner/name`)
  if (!isSafePath(revision)) throw new M2Error('BAD_OPTION', `${revision}: expected a branch, a tag or a commit`)
  const failed = new AbortController() // the first failure ends all other transfers
  const signal = AbortSignal.any([options.signal, failed.signal])
  const client = new HubClient(repo, {
    endpoint: endpointOf(env),
    token: await tokenOf(env),
    signal,
    pause: options.pause ?? pause,
    onNotice,
  })
  const listing = readListing(repo, await client.list(revision))
  const bytes = listing.files.reduce((sum, { size }) => sum + size, 0)
  options.onStart?.({ ...listing, bytes })

  const destination = to === undefined ? new RepoCache(cacheFolder(env), repo) : new PlainFolder(to)
  const targets = listing.files.map((file) => destination.target(file))
  const counted = counter(targets, bytes, onProgress)
  const work = (target: Target) => transfer(client, listing.commit, target, (there) => counted(target, there))
  try {
    await mkdir(path.dirname(targets[0]!.final), { recursive: true })
    await checkSpace(path.dirname(targets[0]!.final), targets)
    await inParallel(targets, work, onNotice, failed, signal)
    const folder = await destination.assemble(listing)
    const missing = await missingFiles(folder)
    if (missing.length > 0) {
      throw new M2Error('BAD_CHECKPOINT', `${repo}: expected ${missing[0]} in the repository, found no such file`)
    }
    await destination.setCommit(revision, listing.commit) // last: what is known is whole
    return folder
  } catch (error) {
    throw fromFileSystem(error)
  }
}

/** Every worker takes the next file; one that another process downloads goes to the end. Throws the first failure, or the signal's reason. */
async function inParallel(
  targets: readonly Target[],
  work: (target: Target) => Promise<boolean>,
  onNotice: (message: string) => void,
  failed: AbortController,
  signal: AbortSignal,
): Promise<void> {
  const queue = [...targets]
  let alone = true
  const worker = async (): Promise<void> => {
    for (let target = queue.shift(); target && !signal.aborted; target = queue.shift()) {
      if (await work(target)) continue
      if (alone) onNotice(`${target.file.name}: another process downloads it; its files are waited for`)
      alone = false
      queue.push(target)
      await setTimeout(OTHERS_MS * (0.5 + Math.random()))
    }
  }
  const workers = Array.from({ length: PARALLEL_FILES }, () => worker().catch((error) => failed.abort(error)))
  await Promise.all(workers) // after this nothing is written any more
  signal.throwIfAborted()
}

/** Adds up how many bytes of each file there are. */
function counter(targets: readonly Target[], total: number, report: (progress: DownloadProgress) => void) {
  const there = new Map(targets.map((target) => [target, 0]))
  let done = 0
  return (target: Target, bytes: number): void => {
    done += bytes - there.get(target)!
    there.set(target, bytes)
    report({ done, total })
  }
}

function endpointOf(env: Env): string {
  const endpoint = env.HF_ENDPOINT || 'https://huggingface.co'
  if (/^https?:/.test(endpoint) && URL.canParse(endpoint)) return endpoint.replace(/\/+$/, '')
  throw new M2Error('BAD_OPTION', `HF_ENDPOINT: expected the address of a hub, found ${JSON.stringify(endpoint)}`)
}

async function tokenOf(env: Env): Promise<string | undefined> {
  const token = (env.HF_TOKEN || (await readFile(tokenFile(env), 'utf8').catch(() => ''))).trim()
  if (/^[\x21-\x7e]*$/.test(token)) return token || undefined
  throw new M2Error('BAD_OPTION', 'HF_TOKEN: expected one word, found other characters') // a secret: not shown
}

async function checkSpace(folder: string, targets: readonly Target[]): Promise<void> {
  let needed = 0
  for (const { file, final, partial } of targets) {
    const found = await stat(final).catch(() => null)
    if (found?.size !== file.size) needed += Math.max(0, file.size - (await partialBytes(partial)))
  }
  const { bavail, bsize } = await statfs(folder)
  if (needed <= bavail * bsize) return
  throw new M2Error(
    'DOWNLOAD_FAILED',
    `${folder}: expected ${formatBytes(needed)} of free space for what is still to come, found ${formatBytes(bavail * bsize)}`,
  )
}

/** A full disk or a folder that cannot be written is no bug: it gets its line. */
function fromFileSystem(error: unknown): unknown {
  const { code, path, syscall } = error as NodeJS.ErrnoException
  if (error instanceof M2Error || !syscall || !code) return error
  return new M2Error('DOWNLOAD_FAILED', `${path ?? 'the download'}: expected a place to write a file, found ${code}`, {
    cause: error,
  })
}
