/** From what a user calls a model to its folder, without a network. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import { missingFiles } from '../model/checkpoint'
import { isRepoName } from './listing'
import { cacheFolder, type Env } from './places'
import { RepoCache } from './repo-cache'

/**
 * @param model a folder, or the "owner/name" of a downloaded model; a folder of that name goes before
 * @returns an absolute path. That of a folder is not looked into.
 * @throws {M2Error} BAD_OPTION for what is no name; MODEL_NOT_FOUND when an "owner/name" is not in the cache, or not all of it
 */
export async function findModel(model: string, env: Env): Promise<string> {
  if (typeof model !== 'string' || model === '') {
    const expected = 'the path of a folder, or the owner/name of a downloaded model'
    throw new M2Error('BAD_OPTION', `model: expected ${expected}, found ${JSON.stringify(model)}`)
  }
  const folder = path.resolve(model)
  if (!isRepoName(model) || (await stat(folder).catch(() => null))?.isDirectory()) return folder
  const cache = new RepoCache(cacheFolder(env), model)
  const commit = await cache.commitOf('main')
  if (commit === undefined) {
    throw new M2Error(
      'MODEL_NOT_FOUND',
      `${model}: expected a folder, or a model in ${cache.folder}, found neither; to download it: m2 download ${model}`,
    )
  }
  const snapshot = cache.snapshot(commit)
  const missing = await missingFiles(snapshot)
  if (missing.length > 0) {
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : ''
    throw new M2Error(
      'MODEL_NOT_FOUND',
      `${snapshot}: expected a whole model, found it without ${missing[0]}${more}; to complete it: m2 download ${model}`,
    )
  }
  return snapshot
}
