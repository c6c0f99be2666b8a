/** Where Hugging Face's tools keep things on this machine, by their own environment variables, so that a model is downloaded once for all of them. */
import { homedir } from 'node:os'
import path from 'node:path'

export type Env = Readonly<Record<string, string | undefined>>

/** The folder of the repositories: HF_HUB_CACHE, else `hub` in HF_HOME. */
export function cacheFolder(env: Env): string {
  return path.resolve(expand(env.HF_HUB_CACHE) ?? path.join(hubHome(env), 'hub'))
}

/** The file in which `hf auth login` leaves a token: HF_TOKEN_PATH, else `token` in HF_HOME. */
export function tokenFile(env: Env): string {
  return path.resolve(expand(env.HF_TOKEN_PATH) ?? path.join(hubHome(env), 'token'))
}

function hubHome(env: Env): string {
  return expand(env.HF_HOME) ?? path.join(expand(env.XDG_CACHE_HOME) ?? path.join(homedir(), '.cache'), 'huggingface')
}

/** A variable that is set but empty counts as not set. */
function expand(folder: string | undefined): string | undefined {
  return folder?.replace(/^~(?=\/|$)/, homedir()) || undefined
}
