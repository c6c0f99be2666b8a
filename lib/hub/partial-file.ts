/**
 * A file that is not whole yet, and the lock that keeps processes from downloading the same twice.
 *
 * BASE.ID.incomplete   written by one process, which touches it every few seconds; old ones were left by a process that died
 * BASE.incomplete      given up in order: its time is the epoch, and nobody has it open
 *
 * The rule from which safety follows: a process writes only to files that it made or that were given up in order. What a dead process left is
 * copied, since that process may only have slept. So the lock may fail (clocks of two machines, a long sleep) and cost work, never bytes.
 */
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'

const TOUCH_MS = 5000
const DEAD_AFTER_MS = 30_000
const SUFFIX = '.incomplete'
const READ_BYTES = 1 << 20

interface Found {
  file: string
  state: 'busy' | 'given up' | 'abandoned'
}

export class PartialFile {
  private touched: Promise<unknown> = Promise.resolve()
  private readonly timer: NodeJS.Timeout

  private constructor(
    private readonly base: string,
    private readonly file: string,
    private readonly handle: FileHandle,
    private bytes: number,
  ) {
    this.timer = setInterval(() => {
      this.touched = touch(handle, new Date()).catch(() => {}) // late: another may take it for abandoned, and copy it
    }, TOUCH_MS).unref()
  }

  /** Takes over what is there, or begins anew; null while another process is at it. */
  static async claim(base: string): Promise<PartialFile | null> {
    const before = await partialsOf(base)
    if (before.some(({ state }) => state === 'busy')) return null
    const own = `${base}.${randomUUID()}${SUFFIX}`
    if (!before[0] || !(await takeOver(before[0], own))) await (await open(own, 'wx')).close()
    const handle = await open(own, 'r+').catch(() => null) // taken away meanwhile: its time was old
    if (!handle) return null
    await touch(handle, new Date())
    const partial = new PartialFile(base, own, handle, (await handle.stat()).size)
    // Of those that came in the same moment each now sees the other. All step back, or one that saw nobody goes on.
    const rivals = await partialsOf(base)
    if (!rivals.some(({ file, state }) => state === 'busy' && file !== own)) return partial
    await partial.release()
    return null
  }

  get size(): number {
    return this.bytes
  }

  /** All of the content so far. */
  async *read(): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    for (let at = 0; at < this.bytes; ) {
      const { bytesRead } = await this.handle.read(buffer, 0, READ_BYTES, at)
      if (bytesRead === 0) throw new Error(`${this.file}: expected ${this.bytes} bytes, found ${at}`)
      yield buffer.subarray(0, bytesRead)
      at += bytesRead
    }
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, this.bytes)
      done += bytesWritten
      this.bytes += bytesWritten
    }
  }

  async clear(): Promise<void> {
    await this.handle.truncate(0)
    this.bytes = 0
  }

  /** Gives the file its final name, whole; false when it was taken away by a process that took this one for dead. */
  async finish(final: string): Promise<boolean> {
    await this.handle.sync() // else the new name may outlive a power cut, and its bytes not
    await this.close()
    try {
      await rename(this.file, final)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
      throw error
    }
    for (const { file, state } of await partialsOf(this.base)) if (state !== 'busy') await rm(file, { force: true })
    return true
  }

  /** Leaves what there is for whoever goes on with it. */
  async release(): Promise<void> {
    const empty = this.bytes === 0
    await this.close(empty ? undefined : new Date(0))
    await (empty ? rm(this.file, { force: true }) : rename(this.file, this.base + SUFFIX)).catch(() => {})
  }

  private async close(time?: Date): Promise<void> {
    clearInterval(this.timer)
    await this.touched // or it would come after ours
    if (time) await touch(this.handle, time).catch(() => {})
    await this.handle.close().catch(() => {}) // finish has synced; else what is there counts, and is checked
  }
}

/** Bytes that a download would not have to fetch again. */
export async function partialBytes(base: string): Promise<number> {
  const sizes = await Promise.all((await partialsOf(base)).map(({ file }) => stat(file).catch(() => null)))
  return Math.max(0, ...sizes.map((found) => found?.size ?? 0))
}

async function partialsOf(base: string): Promise<Found[]> {
  const folder = path.dirname(base)
  const prefix = `${path.basename(base)}.`
  const names = await readdir(folder).catch(() => [])
  const found: Found[] = []
  for (const name of names.filter((name) => name.startsWith(prefix) && name.endsWith(SUFFIX))) {
    const file = path.join(folder, name)
    const time = (await stat(file).catch(() => null))?.mtimeMs
    if (time === undefined) continue // gone meanwhile
    if (time > Date.now() - DEAD_AFTER_MS) found.push({ file, state: 'busy' })
    else found.push({ file, state: time === 0 && file === base + SUFFIX ? 'given up' : 'abandoned' })
  }
  return found
}

/** False when it is gone. */
async function takeOver({ file, state }: Found, own: string): Promise<boolean> {
  try {
    if (state === 'given up') {
      await rename(file, own)
    } else {
      await copyFile(file, own, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
      await rm(file, { force: true })
    }
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

function touch(handle: FileHandle, time: Date): Promise<void> {
  return handle.utimes(time, time)
}
