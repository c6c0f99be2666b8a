/**
 * tokenizer.json -> what the core's encoder takes. Accepted is byte-level BPE as Hugging Face writes it: no normalizer, text cut by one
 * regular expression, added tokens that match anywhere. Truncation, padding and the post-processor are not applied: the chat template
 * writes every control token itself.
 */
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import { asM2Error, type EncoderOptions } from '../native'
import { array, broken, type Fields, fields, supported, unsupported } from './tokenizer-fields'

/** A token that is found in text as a whole, before the text is cut into pieces. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  /** A control token: hidden when ids are decoded with `special: false`. */
  readonly special: boolean
}

export interface TokenizerFile {
  path: string
  encoder: EncoderOptions
  addedTokens: AddedToken[]
  /** Highest id + 1. */
  vocabSize: number
  /** Ids below `vocabSize` without a token, ascending. */
  unusedIds: number[]
}

/** Far above any vocabulary: ids are array positions, so a wild one would ask for all memory. */
const MAX_ID = 1 << 22
const ID = `an id from 0 to ${MAX_ID}`

/** What a byte-level BPE model has switched off. */
const ABSENT_MODEL_FIELDS = ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix', 'byte_fallback']

/** JavaScript's own \s, which @huggingface/tokenizers cuts by when tokenizer.json names GPT-2's pattern without spelling it out. */
const JS_SPACE = '\\t-\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff'
const GPT2_PATTERN =
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${JS_SPACE}\\p{L}\\p{N}]+` +
  `|[${JS_SPACE}]+(?![^${JS_SPACE}])|[${JS_SPACE}]+`

/**
 * Reads and checks `dir`/tokenizer.json.
 * @throws M2Error MODEL_NOT_FOUND when there is no such file, BAD_CHECKPOINT when it is broken, UNSUPPORTED_MODEL when it is another kind of tokenizer.
 */
export async function readTokenizerFile(dir: string): Promise<TokenizerFile> {
  const file = path.join(dir, 'tokenizer.json')
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    const absent = cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
    throw new M2Error(
      absent ? 'MODEL_NOT_FOUND' : 'BAD_CHECKPOINT',
      `${file}: ${absent ? 'no such file' : cause.message}`,
      { cause },
    )
  })
  return inFile(file, () => parse(file, text))
}

/** Runs `work` and puts the file's path in front of its errors. */
export function inFile<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    const { code, message } = asM2Error(cause)
    throw new M2Error(code, `${file}: ${message}`, { cause })
  }
}

function parse(file: string, text: string): TokenizerFile {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new M2Error('BAD_CHECKPOINT', `not valid JSON: ${(cause as Error).message.replace(/\s+/g, ' ')}`, { cause })
  }
  const root = fields(json, 'the file')
  const model = fields(root.model, 'model')
  supported(model.type === 'BPE', 'model.type', model.type, '"BPE"')
  for (const name of ABSENT_MODEL_FIELDS) supported(!model[name], `model.${name}`, model[name], 'null')
  supported(root.normalizer == null, 'normalizer', root.normalizer, 'null')
  const decoder = root.decoder as Fields | null | undefined
  supported(decoder?.type === 'ByteLevel', 'decoder', decoder, 'a ByteLevel decoder')

  const vocab = fields(model.vocab, 'model.vocab')
  const addedTokens = array(root.added_tokens ?? [], 'added_tokens').map(addedToken)
  const tokens = tokensById(vocab, addedTokens)
  const unusedIds = tokens.flatMap((token, id) => (token === undefined ? [id] : []))
  const isAdded = new Set(addedTokens.map(({ id }) => id))
  return {
    path: file,
    addedTokens,
    vocabSize: tokens.length,
    unusedIds: unusedIds.filter((id) => !isAdded.has(id)),
    encoder: {
      tokens: lines(tokens),
      merges: lines(array(model.merges, 'model.merges').map(mergeLine)),
      addedIds: Int32Array.from(addedTokens, ({ id }) => id),
      addedContents: addedTokens.map(({ content }) => content),
      ignoreMerges: model.ignore_merges === true,
      ...splitOf(root.pre_tokenizer),
    },
  }
}

/** model.vocab turned round; undefined where an id has no token there. Its length counts added tokens too. */
function tokensById(vocab: Fields, addedTokens: AddedToken[]): (string | undefined)[] {
  const tokens: (string | undefined)[] = []
  const put = (id: number, token: string | undefined) => {
    while (tokens.length <= id) tokens.push(undefined)
    tokens[id] = token
  }
  for (const token in vocab) {
    const id = vocab[token]
    if (!isId(id)) throw broken(`model.vocab[${JSON.stringify(token)}]`, id, ID)
    if (tokens[id] !== undefined) throw clash(`model.vocab[${JSON.stringify(token)}]`, id, tokens[id])
    if (token.includes('\0')) throw broken('a token of model.vocab', token, 'text without NUL')
    put(id, token)
  }
  const isKnown = new Set<number | string>()
  for (const [i, { id, content }] of addedTokens.entries()) {
    const name = `added_tokens[${i}]`
    if (isKnown.has(id) || isKnown.has(content)) throw clash(name, id, content)
    isKnown.add(id).add(content)
    const inVocab = Object.hasOwn(vocab, content)
    if (inVocab && vocab[content] !== id)
      throw broken(`${name}.id of ${JSON.stringify(content)}`, id, `${vocab[content]}, as in model.vocab`)
    if (!inVocab && tokens[id] !== undefined) throw clash(name, id, tokens[id])
    put(id, tokens[id])
  }
  return tokens
}

function addedToken(value: unknown, i: number): AddedToken {
  const name = `added_tokens[${i}]`
  const token = fields(value, name)
  const { content } = token
  if (typeof content !== 'string' || content === '')
    throw broken(`${name}.content`, content, 'a text that is not empty')
  for (const flag of ['single_word', 'lstrip', 'rstrip']) {
    supported(!token[flag], `${name}.${flag} of ${JSON.stringify(content)}`, token[flag], 'false')
  }
  if (!isId(token.id)) throw broken(`${name}.id`, token.id, ID)
  return { id: token.id, content, special: token.special === true }
}

/** Both spellings: "left right", and since 2024 ["left", "right"]. */
function mergeLine(merge: unknown, i: number): string {
  if (typeof merge === 'string') return merge
  if (Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string'))
    return `${merge[0]} ${merge[1]}`
  throw broken(`model.merges[${i}]`, merge, '"left right" or ["left", "right"]')
}

/** Which regular expression cuts the text: GPT-2's by a lone ByteLevel, else that of a Split before a ByteLevel that does not cut. */
function splitOf(value: unknown): Pick<EncoderOptions, 'pattern' | 'keepUnmatched'> {
  const name = 'pre_tokenizer'
  const whole = fields(value, name)
  const steps = whole.type === 'Sequence' ? array(whole.pretokenizers, `${name}.pretokenizers`) : [whole]
  const byteLevel = fields(steps.at(-1), name)
  const known = byteLevel.type === 'ByteLevel' && !byteLevel.add_prefix_space
  const cuts = byteLevel.use_regex ?? true
  if (known && cuts && steps.length === 1) return { pattern: GPT2_PATTERN, keepUnmatched: true }
  supported(
    known && !cuts && steps.length === 2,
    name,
    value,
    'ByteLevel, or Split and then ByteLevel with use_regex false, without add_prefix_space',
  )

  const first = `${name}.pretokenizers[0]`
  const split = fields(steps[0], first)
  const pattern = (split.pattern as Fields | undefined)?.Regex
  const isolated = split.behavior === 'Isolated' && !split.invert
  const removed = split.behavior === 'Removed' && split.invert === true
  if (split.type !== 'Split' || typeof pattern !== 'string') throw unsupported(first, split, 'a Split by a Regex')
  supported(isolated || removed, `${first}.behavior`, split.behavior, '"Isolated", or "Removed" with invert')
  return { pattern, keepUnmatched: isolated }
}

/** One string for the door: every item with a NUL after it. */
function lines(items: readonly (string | undefined)[]): string {
  return items.length === 0 ? '' : `${items.join('\0')}\0`
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_ID
}

function clash(name: string, id: number, other: string): M2Error {
  return new M2Error('BAD_CHECKPOINT', `${name} repeats what another token has: id ${id}, ${JSON.stringify(other)}`)
}
