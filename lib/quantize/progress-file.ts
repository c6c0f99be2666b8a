/**
 * How far a quantisation is, in the folder that it fills: so the same command goes on after an interruption. The file is there from the first step to the
 * last but one; config.json comes last, so that a folder that is not done is no model.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import { isObject } from '../model/json-fields'

const FILE = 'm2-quantize.json'

export class ProgressFile {
  private constructor(
    private readonly folder: string,
    /** What is made of what. */
    private readonly plan: string,
    private readonly files: Record<string, number[]>,
  ) {}

  /**
   * Makes the folder, or goes on with what there is.
   * @throws {M2Error} BAD_INPUT for a folder that holds anything else, or cannot be written.
   */
  static async open(folder: string, plan: string): Promise<ProgressFile> {
    await writing(folder, mkdir(folder, { recursive: true }))
    const present = (await writing(folder, readdir(folder))).filter((name) => name !== partialOf(FILE))
    if (!present.includes(FILE)) {
      if (present.length > 0) refuse(folder, `an empty folder, or none, found ${present.sort().slice(0, 3).join(', ')}`)
      const file = new ProgressFile(folder, plan, {})
      await file.write()
      return file
    }
    const known = parse(await readFile(path.join(folder, FILE), 'utf8').catch(() => ''))
    if (known?.plan !== plan) refuse(folder, 'what an interrupted run of the same model left, found that of another')
    return new ProgressFile(folder, plan, known.files)
  }

  /** The losses of a file that is there, as columns; undefined: it is not. */
  of(name: string): number[] | undefined {
    return this.files[name]
  }

  /** `partial` is whole: it gets its name. */
  async finish(partial: string, name: string, losses: Float64Array): Promise<void> {
    await writing(this.folder, rename(partial, path.join(this.folder, name)))
    this.files[name] = Array.from(losses)
    await this.write()
  }

  async remove(): Promise<void> {
    await writing(this.folder, rm(path.join(this.folder, FILE)))
  }

  private async write(): Promise<void> {
    await writeWhole(path.join(this.folder, FILE), JSON.stringify({ plan: this.plan, files: this.files }))
  }
}

function parse(text: string): { plan: string; files: Record<string, number[]> } | null {
  try {
    const { plan, files } = JSON.parse(text)
    const isSound =
      isObject(files) && Object.values(files).every((row) => Array.isArray(row) && row.every(Number.isFinite))
    return typeof plan === 'string' && isSound ? { plan, files: files as Record<string, number[]> } : null
  } catch {
    return null
  }
}

export const partialOf = (file: string): string => `${file}.partial`

/** A file is whole under its name, or it is not there. */
export async function writeWhole(file: string, text: string): Promise<void> {
  const partial = partialOf(file)
  await writing(file, writeFile(partial, text, { flush: true })) // else the name may outlive a lost machine, and the text not
  await writing(file, rename(partial, file))
}

export async function writing<T>(place: string, work: Promise<T>): Promise<T> {
  return work.catch((cause: NodeJS.ErrnoException) => {
    throw new M2Error('BAD_INPUT', `${place}: expected a place to write files, found ${cause.code ?? cause.message}`, {
      cause,
    })
  })
}

function refuse(folder: string, expected: string): never {
  throw new M2Error('BAD_INPUT', `${folder}: expected ${expected}`)
}
