/** Where a model folder keeps its chat template: chat_template.jinja, else the chat_template of tokenizer_config.json. */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import { isObject, type JsonObject, reasonOf } from './input'
import type { JinjaSource } from './jinja-template'

/** undefined: the folder has none. @throws M2Error BAD_CHECKPOINT naming a file that cannot be read. */
export async function findTemplateSource(modelDir: string): Promise<JinjaSource | undefined> {
  const jinjaFile = path.join(modelDir, 'chat_template.jinja')
  const configFile = path.join(modelDir, 'tokenizer_config.json')
  const [jinja, json] = await Promise.all([readIfThere(jinjaFile), readIfThere(configFile)])
  const config = json === undefined ? {} : parseConfig(json, configFile)
  const variables = specialTokens(config)
  if (jinja !== undefined) return { text: jinja, file: jinjaFile, variables }
  const text = defaultTemplate(config.chat_template, configFile)
  return text === undefined ? undefined : { text, file: configFile, variables }
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new M2Error('BAD_CHECKPOINT', `${file}: expected a readable file, found: ${reasonOf(cause)}`, { cause })
  }
}

function parseConfig(json: string, file: string): JsonObject {
  let config: unknown
  try {
    config = JSON.parse(json)
  } catch (cause) {
    throw new M2Error('BAD_CHECKPOINT', `${file}: expected JSON, found: ${reasonOf(cause)}`, { cause })
  }
  if (!isObject(config)) throw new M2Error('BAD_CHECKPOINT', `${file}: expected a JSON object, found something else`)
  return config
}

/** `given` is a string, or a list of named templates. */
function defaultTemplate(given: unknown, file: string): string | undefined {
  if (given === undefined || given === null || typeof given === 'string') return given ?? undefined
  const named = Array.isArray(given) ? given.find((entry) => isObject(entry) && entry.name === 'default') : undefined
  if (typeof named?.template === 'string') return named.template
  throw new M2Error(
    'BAD_CHECKPOINT',
    `${file}: expected chat_template to be a string, or a list with a template named "default"`,
  )
}

/** bos_token, eos_token and the like, which templates may print: strings, or objects with `content`. */
function specialTokens(config: JsonObject): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const [key, value] of Object.entries(config)) {
    const token = isObject(value) ? value.content : value
    if (key.endsWith('_token') && typeof token === 'string') tokens[key] = token
  }
  return tokens
}
