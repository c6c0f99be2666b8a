/**
 * One repository in the cache that Hugging Face's tools share:
 *
 * models--owner--name/blobs/ETAG              the contents
 * models--owner--name/snapshots/COMMIT/NAME   relative links to them
 * models--owner--name/refs/REVISION           the commit of a branch or tag
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, readlink, rename, symlink } from 'node:fs/promises'
import path from 'node:path'
import type { Destination, Target } from './destination'
import { type HubFile, isSafePath, type Listing } from './listing'

export class RepoCache implements Destination {
  readonly folder: string

  constructor(cache: string, repo: string) {
    this.folder = path.join(cache, `models--${repo.replace('/', '--')}`)
  }

  target(file: HubFile): Target {
    const blob = this.blob(file.etag)
    return { file, final: blob, partial: blob, trusted: true }
  }

  snapshot(commit: string): string {
    return path.join(this.folder, 'snapshots', commit)
  }

  /** The commit that a revision had when it was downloaded; undefined when it never was. */
  async commitOf(revision: string): Promise<string | undefined> {
    const text = await readFile(this.ref(revision), 'utf8').catch(() => '')
    return isSafePath(text.trim()) ? text.trim() : undefined
  }

  async assemble({ commit, files }: Listing): Promise<string> {
    const folder = this.snapshot(commit)
    for (const { name, etag } of files) await this.link(path.join(folder, name), etag)
    return folder
  }

  /** Notes the commit of a revision; a commit needs no note. */
  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit) return
    await replace(this.ref(revision), async (temporary) => {
      const handle = await open(temporary, 'wx')
      await handle.writeFile(commit)
      await handle.sync()
      await handle.close()
    })
  }

  private async link(file: string, etag: string): Promise<void> {
    const target = path.relative(path.dirname(file), this.blob(etag))
    if ((await readlink(file).catch(() => '')) === target) return
    await replace(file, (temporary) => symlink(target, temporary))
  }

  private blob(etag: string): string {
    return path.join(this.folder, 'blobs', etag)
  }

  private ref(revision: string): string {
    return path.join(this.folder, 'refs', revision)
  }
}

/** Gives a file its name only when it is whole, whatever had the name before. */
async function replace(file: string, make: (temporary: string) => Promise<void>): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true })
  const temporary = `${file}.${randomUUID()}.tmp`
  await make(temporary)
  await rename(temporary, file)
}
