/** Where a download goes. */
import path from 'node:path'
import type { HubFile, Listing } from './listing'

export interface Target {
  file: HubFile
  /** The final name. */
  final: string
  /** What names of partial files begin with. */
  partial: string
  /** What has the final name was checked before it got it: so in the cache, where the name is the checksum. */
  trusted: boolean
}

export interface Destination {
  target(file: HubFile): Target
  /** Makes a model folder of the targets, which are all there; returns it. */
  assemble(listing: Listing): Promise<string>
  /** Makes the model known under a revision. */
  setCommit(revision: string, commit: string): Promise<void>
}

/** Plain files. */
export class PlainFolder implements Destination {
  constructor(private readonly folder: string) {}

  target(file: HubFile): Target {
    const final = path.join(this.folder, file.name)
    return { file, final, partial: `${final}.${file.etag}`, trusted: false }
  }

  async assemble(): Promise<string> {
    return path.resolve(this.folder)
  }

  async setCommit(): Promise<void> {} // a folder is of one revision and does not say of which
}
