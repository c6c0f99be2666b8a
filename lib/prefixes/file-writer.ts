/** Writing a file of saved prefixes: beside the target, whose place it takes at the end. So there is always a whole file, the old one or the new. */
import { randomUUID } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { M2Error } from '../errors'
import { encodeHeader, encodeSalts, HEADER_BYTES, type PageFormat, type PrefixIndex, pageBytesOf } from './file-format'

/** All of its calls throw M2Error BAD_INPUT when the file cannot be written. */
export class PrefixFileWriter {
  private readonly pageBytes: number
  private readonly checksums: number[] = []

  private constructor(
    private readonly file: string,
    private readonly temporary: string,
    private readonly handle: FileHandle,
    private readonly format: PageFormat,
  ) {
    this.pageBytes = pageBytesOf(format)
  }

  static async create(file: string, format: PageFormat): Promise<PrefixFileWriter> {
    const temporary = `${file}.${randomUUID()}.tmp`
    const handle = await writing(file, open(temporary, 'wx', 0o600)) // it holds prompts: nobody else reads it
    return new PrefixFileWriter(file, temporary, handle, format)
  }

  /** @param pages whole pages, one after the other */
  async append(pages: Uint8Array): Promise<void> {
    const position = HEADER_BYTES + this.checksums.length * this.pageBytes
    for (let begin = 0; begin < pages.length; begin += this.pageBytes) {
      this.checksums.push(crc32(pages.subarray(begin, begin + this.pageBytes)))
    }
    await this.write(pages, position)
  }

  /** @param index of the pages that were appended */
  async finish({ tokens, parents, salts }: PrefixIndex): Promise<void> {
    const n = this.checksums.length
    const saltText = encodeSalts(salts)
    const header = encodeHeader(this.format, n, saltText.length)
    let checksum = crc32(header)
    let position = HEADER_BYTES + n * this.pageBytes
    for (const part of [tokens, parents, Uint32Array.from(this.checksums), saltText]) {
      checksum = crc32(part, checksum)
      position = await this.write(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), position)
    }
    await this.write(new Uint8Array(Uint32Array.of(checksum).buffer), position)
    await this.write(header, 0)
    await writing(this.file, this.handle.sync()) // else the new name may outlive a power cut, and its bytes not
    await writing(this.file, this.handle.close())
    await writing(this.file, rename(this.temporary, this.file))
    await syncFolder(path.dirname(this.file))
  }

  /** Removes what was written, unless it was finished. */
  async discard(): Promise<void> {
    await this.handle.close().catch(() => {}) // closed already, or broken: the error that led here says more
    await rm(this.temporary, { force: true }).catch(() => {})
  }

  /** The position behind the bytes. */
  private async write(bytes: Uint8Array, position: number): Promise<number> {
    let done = 0
    while (done < bytes.length) {
      const written = this.handle.write(bytes, done, bytes.length - done, position + done)
      done += (await writing(this.file, written)).bytesWritten
    }
    return position + done
  }
}

async function writing<T>(file: string, work: Promise<T>): Promise<T> {
  return work.catch((cause: NodeJS.ErrnoException) => {
    const found = cause.code ?? cause.message
    throw new M2Error('BAD_INPUT', `${file}: expected a place to write a file, found ${found}`, { cause })
  })
}

/** Makes the new name last. Not every file system can: the file is whole either way. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder).catch(() => null)
  await handle?.sync().catch(() => {})
  await handle?.close()
}
