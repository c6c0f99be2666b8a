/** One file from the hub to its final name, where it appears only whole and checked. */
import type { Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { M2Error } from '../errors'
import type { HubClient } from './client'
import type { Target } from './destination'
import { contentHash, type HubFile } from './listing'
import { PartialFile } from './partial-file'
import { TransientError } from './retries'

type OnBytes = (there: number) => void

/**
 * Downloads a file, from where an earlier try ended.
 * @param onBytes told how many of the file's bytes are there, which can become less
 * @returns false, and nothing is done, while another process is at it
 */
export async function transfer(client: HubClient, commit: string, target: Target, onBytes: OnBytes): Promise<boolean> {
  if (await isThere(client, target)) {
    onBytes(target.file.size)
    return true
  }
  const partial = await PartialFile.claim(target.partial)
  if (!partial) return false
  try {
    await fetchChecked(client, commit, target.file, partial, onBytes)
    return await partial.finish(target.final)
  } catch (error) {
    await partial.release()
    throw error
  }
}

async function isThere(client: HubClient, { file, final, trusted }: Target): Promise<boolean> {
  const found = await stat(final).catch(() => null)
  if (!found?.isFile() || found.size !== file.size) return false
  if (trusted) return true
  const hash = contentHash(file)
  await addTo(hash, createReadStream(final, { highWaterMark: 1 << 20 }), client)
  return hash.digest('hex') === file.etag
}

/** Gigabytes take a while: a stop is heeded. */
async function addTo(hash: Hash, content: AsyncIterable<Uint8Array>, client: HubClient): Promise<void> {
  for await (const bytes of content) {
    client.throwIfStopped()
    hash.update(bytes)
  }
}

/** A wrong checksum gets a second try from the beginning: what was there before may have been the wrong part. */
async function fetchChecked(
  client: HubClient,
  commit: string,
  file: HubFile,
  partial: PartialFile,
  onBytes: OnBytes,
): Promise<void> {
  let found = ''
  for (let tries = 0; tries < 2; tries++) {
    found = await fetchAll(client, commit, file, partial, onBytes)
    if (found === file.etag) return
    await partial.clear()
    onBytes(0)
  }
  throw new M2Error('DOWNLOAD_FAILED', `${file.name}: expected the checksum ${file.etag}, found ${found}, twice`)
}

/** Fetches until the file has its size; returns the checksum. */
async function fetchAll(
  client: HubClient,
  commit: string,
  file: HubFile,
  partial: PartialFile,
  onBytes: OnBytes,
): Promise<string> {
  if (partial.size > file.size) await partial.clear()
  let hash = contentHash(file)
  await addTo(hash, partial.read(), client)
  onBytes(partial.size)

  const retries = client.retriesOf(file)
  let most = partial.size
  while (partial.size < file.size) {
    try {
      for await (const { at, bytes } of client.file(file, commit, partial.size)) {
        if (at !== partial.size) {
          await partial.clear() // the server begins anew
          hash = contentHash(file)
        }
        await partial.append(bytes.subarray(0, file.size - partial.size))
        hash.update(bytes)
        onBytes(partial.size)
        if (at + bytes.length > file.size) return `more than ${file.size} bytes`
      }
      if (partial.size < file.size) throw new TransientError(`found only ${partial.size} of ${file.size} bytes`)
    } catch (error) {
      if (partial.size > most) retries.reset()
      most = Math.max(most, partial.size)
      await retries.after(error)
    }
  }
  return hash.digest('hex')
}
