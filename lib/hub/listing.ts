/** What a hub says about a repository at one commit, checked: nothing of it is trusted to name a place on this machine or to be complete. */
import { createHash, type Hash } from 'node:crypto'
import { M2Error } from '../errors'
import { isObject, shown } from '../model/json-fields'

export interface HubFile {
  name: string
  /** Bytes. */
  size: number
  /** What the content hashes to, and the blob's name in the cache: sha256 for files in LFS, git's blob id (sha1) for others. */
  etag: string
}

export interface Listing {
  commit: string
  /** As the model card states it; undefined where it states none. */
  licence?: string
  /** Those that the engine reads, and what a user should have beside them. */
  files: HubFile[]
}

/** Weights, configuration, tokenizer and template lie at the top of a repository; copies in other formats have other names or folders. */
const NEEDED = /^([^/]+\.(safetensors|json|jinja)|merges\.txt|tokenizer\.model|(readme|licen[cs]e|notice)[^/]*)$/i
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that no name may have
const UNSAFE = /[\\:\x00-\x1f\x7f]/

/** "owner/name". */
export function isRepoName(text: string): boolean {
  return /^\w[\w.-]*\/\w[\w.-]*$/.test(text) && !/--|\.\./.test(text) // what would make the cache's folder names ambiguous
}

/** A relative path with forward slashes that stays in its folder and can be shown. */
export function isSafePath(name: unknown): name is string {
  return typeof name === 'string' && !UNSAFE.test(name) && !name.split('/').some((part) => /^\.{0,2}$/.test(part))
}

/**
 * Reads the hub's answer to `/api/models/REPO/revision/REVISION?blobs=true`.
 * @throws {M2Error} DOWNLOAD_FAILED for another answer; BAD_CHECKPOINT for paths that leave the folder; MODEL_NOT_FOUND without a model that the
 * engine could read.
 */
export function readListing(repo: string, answer: unknown): Listing {
  const { sha, siblings, cardData, tags } = isObject(answer) ? answer : {}
  if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha)) throw badAnswer(repo, 'a commit', sha)
  if (!Array.isArray(siblings)) throw badAnswer(repo, 'a list of files', siblings)
  const names = siblings.map((sibling) => {
    const name = isObject(sibling) ? sibling.rfilename : undefined
    if (isSafePath(name)) return name
    throw new M2Error('BAD_CHECKPOINT', `${repo}: expected paths inside the repository, found ${shown(name)}`)
  })
  const needed = siblings.filter(({ rfilename }) => NEEDED.test(rfilename))
  refuseWithoutModel(repo, names)
  return { commit: sha, licence: licenceOf(cardData, tags), files: needed.map((sibling) => readFile(repo, sibling)) }
}

/** The hash whose hex digest is the file's etag. */
export function contentHash({ etag, size }: HubFile): Hash {
  return etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}

function readFile(repo: string, { rfilename: name, size, blobId, lfs }: Record<string, unknown>): HubFile {
  const etag = isObject(lfs) ? lfs.sha256 : blobId
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw badAnswer(repo, `the size of ${name}`, size)
  if (typeof etag !== 'string' || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) {
    throw badAnswer(repo, `the checksum of ${name}`, etag)
  }
  return { name: name as string, size: size as number, etag }
}

function refuseWithoutModel(repo: string, names: readonly string[]): void {
  if (!names.includes('config.json')) {
    throw new M2Error('MODEL_NOT_FOUND', `${repo}: expected a model with a config.json, found none`)
  }
  if (names.some((name) => /^[^/]+\.safetensors$/.test(name))) return
  const others = names.filter((name) => /\.(safetensors|bin|gguf|pt|pth|onnx)$/.test(name))
  const found = others.length > 0 ? others.slice(0, 3).join(', ') : 'no weights'
  throw new M2Error('MODEL_NOT_FOUND', `${repo}: expected weights as .safetensors, found ${found}`)
}

/** The card's "other" has its name in a second field. Cards are anybody's text: what could command a terminal is taken out. */
function licenceOf(card: unknown, tags: unknown): string | undefined {
  const { license, license_name: name, license_link: link } = isObject(card) ? card : {}
  const tag = Array.isArray(tags) ? tags.find((tag) => /^license:/.test(tag))?.slice('license:'.length) : undefined
  const stated = [license === 'other' && name ? name : (license ?? tag)]
    .flat()
    .filter((part) => typeof part === 'string')
  if (stated.length === 0) return undefined
  const where = typeof link === 'string' ? ` (${link})` : ''
  return `${stated.join(', ')}${where}`.replace(/\p{C}/gu, '').slice(0, 200)
}

function badAnswer(repo: string, expected: string, found: unknown): M2Error {
  return new M2Error('DOWNLOAD_FAILED', `${repo}: the hub's answer: expected ${expected}, found ${shown(found)}`)
}
