/** config.json and generation_config.json of a checkpoint folder, read and checked: Hugging Face names in, ours out. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { M2Error } from '../errors'
import type { ModelGeometry } from '../native'
import { checkArchitecture } from './architecture'
import { type GenerationDefaults, readGenerationDefaults } from './generation-config'
import { JsonFields } from './json-fields'
import { type Packing, readPacking } from './quantization'

/** What decides which tensors a model has and of which shape. */
export interface ModelShape extends ModelGeometry {
  /** The output head is the embedding. */
  tieWordEmbeddings: boolean
  /** The router adds a bias to the scores it ranks by. */
  useRoutingBias: boolean
  /** Of the matrices that are packed in 4 bits; absent: none is. */
  packing?: Packing
}

export interface ModelConfig extends ModelShape {
  /** Tokens of context that the model was made for. */
  maxPositionEmbeddings: number
  /** Ids that the files call the end of a turn: generation_config.json's where it names any, else config.json's. May be empty. */
  eosTokenIds: number[]
  bosTokenId: number | null
  generation: GenerationDefaults
}

/** The two files, parsed as JSON only. */
export interface ConfigFiles {
  config: JsonFields
  generation: JsonFields | null
}

/**
 * Reads the configuration of a checkpoint folder that is to be loaded.
 * @throws {M2Error} MODEL_NOT_FOUND without the folder or its config.json; BAD_CHECKPOINT for broken JSON and impossible
 * values; UNSUPPORTED_MODEL for a sound model of another kind, or with weights that cannot be loaded.
 */
export async function loadConfig(dir: string): Promise<ModelConfig> {
  const files = await readConfigFiles(dir)
  const config = parseConfig(files)
  const packing = readPacking(files.config)
  return packing ? { ...config, packing } : config
}

/** @throws {M2Error} MODEL_NOT_FOUND, or BAD_CHECKPOINT for broken JSON. */
export async function readConfigFiles(dir: string): Promise<ConfigFiles> {
  await checkFolder(dir)
  const fields = await JsonFields.readFile(path.join(dir, 'config.json'))
  if (!fields) throw new M2Error('MODEL_NOT_FOUND', `${dir}: expected a model folder, found no config.json in it`)
  return { config: fields, generation: await JsonFields.readFile(path.join(dir, 'generation_config.json')) }
}

/** Also of checkpoints whose weights cannot be loaded. @throws {M2Error} BAD_CHECKPOINT, UNSUPPORTED_MODEL. */
export function parseConfig({ config: fields, generation }: ConfigFiles): ModelConfig {
  checkArchitecture(fields)
  const eosTokenIds = generation?.tokenIds('eos_token_id') ?? []
  return {
    ...readGeometry(fields),
    maxPositionEmbeddings: fields.requiredCount('max_position_embeddings'),
    tieWordEmbeddings: fields.boolean('tie_word_embeddings') ?? false,
    useRoutingBias: fields.boolean('use_routing_bias') ?? true,
    eosTokenIds: eosTokenIds.length > 0 ? eosTokenIds : fields.tokenIds('eos_token_id'),
    bosTokenId: generation?.tokenIds('bos_token_id')[0] ?? fields.tokenIds('bos_token_id')[0] ?? null,
    generation: readGenerationDefaults(generation),
  }
}

async function checkFolder(dir: string): Promise<void> {
  let isFolder: boolean
  try {
    isFolder = (await stat(dir)).isDirectory()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const found = code === 'ENOENT' ? 'no such folder' : (code ?? (cause as Error).message)
    throw new M2Error('MODEL_NOT_FOUND', `${dir}: expected a model folder, found ${found}`, { cause })
  }
  if (!isFolder) throw new M2Error('MODEL_NOT_FOUND', `${dir}: expected a model folder, found a file`)
}

function readGeometry(fields: JsonFields): ModelGeometry {
  const layers = fields.requiredCount('num_hidden_layers')
  const heads = fields.requiredCount('num_attention_heads')
  const kvHeads = fields.requiredCount('num_key_value_heads')
  const headDim = fields.requiredCount('head_dim')
  const hiddenSize = fields.requiredCount('hidden_size')
  const experts = fields.requiredCount('num_local_experts')
  const expertsPerToken = fields.requiredCount('num_experts_per_tok')
  const expertHidden = fields.requiredCount('intermediate_size')
  if (heads % kvHeads !== 0) {
    fields.fail('BAD_CHECKPOINT', 'num_key_value_heads', `a divisor of num_attention_heads (${heads})`)
  }
  if (expertsPerToken > experts) {
    fields.fail('BAD_CHECKPOINT', 'num_experts_per_tok', `at most num_local_experts (${experts})`)
  }
  if ((fields.array('attn_type_list')?.length ?? layers) !== layers) {
    fields.fail('BAD_CHECKPOINT', 'attn_type_list', `one entry for each of ${layers} layers`)
  }
  if (headDim > 256 || headDim % 32 !== 0) {
    fields.fail('UNSUPPORTED_MODEL', 'head_dim', '32 to 256 in steps of 32')
  }
  if (hiddenSize % 32 !== 0) fields.fail('UNSUPPORTED_MODEL', 'hidden_size', 'a multiple of 32')
  if (expertHidden % 32 !== 0) fields.fail('UNSUPPORTED_MODEL', 'intermediate_size', 'a multiple of 32')
  return {
    vocabSize: fields.requiredCount('vocab_size'),
    hiddenSize,
    layers,
    heads,
    kvHeads,
    headDim,
    ...readRope(fields, headDim),
    experts,
    expertsPerToken,
    expertHidden,
    rmsNormEps: fields.positive('rms_norm_eps') ?? fields.fail('BAD_CHECKPOINT', 'rms_norm_eps', 'a number above 0'),
  }
}

/** Rotary settings stand at the top, in rope_parameters (newer files), or in both; what is said twice must agree. */
function readRope(fields: JsonFields, headDim: number): { rotaryDim: number; ropeTheta: number } {
  for (const name of ['rope_parameters', 'rope_scaling']) {
    const rope = fields.object(name)
    const type = rope?.string('rope_type') ?? rope?.string('type') ?? 'default'
    if (type !== 'default') fields.fail('UNSUPPORTED_MODEL', name, 'rotary positions without scaling')
  }
  const nested = fields.object('rope_parameters')
  const places = nested ? [fields, nested] : [fields]

  const thetas = places.map((place) => place.positive('rope_theta'))
  const ropeTheta = theOne(fields, 'rope_theta', thetas, 'a number above 0')

  const dims = places.flatMap((place) => {
    const share = place.positive('partial_rotary_factor')
    return [place.count('rotary_dim'), share === undefined ? undefined : share * headDim]
  })
  const expected = `an even number from 2 to head_dim (${headDim})`
  const rotaryDim = theOne(fields, 'rotary_dim', dims, expected)
  if (rotaryDim % 2 !== 0 || rotaryDim > headDim) fields.fail('BAD_CHECKPOINT', 'rotary_dim', expected, `${rotaryDim}`)
  return { rotaryDim, ropeTheta }
}

function theOne(fields: JsonFields, name: string, values: (number | undefined)[], expected: string): number {
  const distinct = [...new Set(values.filter((value) => value !== undefined))]
  const [first] = distinct
  if (first === undefined) return fields.fail('BAD_CHECKPOINT', name, expected)
  if (distinct.length > 1) fields.fail('BAD_CHECKPOINT', name, 'one value', distinct.join(' and '))
  return first
}
