/** From a model folder to a model that runs: its files read and checked, its memory planned, its weights in the core. */
import { createHash } from 'node:crypto'
import path from 'node:path'
import { AnswerGrammars } from './answer-grammars'
import { memoryOf } from './devices'
import type { EngineSettings } from './engine-settings'
import { M2Error } from './errors'
import type { ModelFacts } from './generation-settings'
import { Vocabulary } from './grammar'
import { findModel } from './hub/find-model'
import { findKvScales } from './kv-calibration'
import { type Checkpoint, readCheckpoint } from './model/checkpoint'
import { loadConfig, type ModelConfig } from './model/config'
import { fingerprintModel } from './model/fingerprint'
import { fitMemory, fitRequest } from './model/fit'
import { holdWeights } from './model/held-weights'
import { countParameters } from './model/parameters'
import { contextPerToken } from './model/step-tokens'
import { planWeights } from './model/weights'
import { asM2Error, type KvDtype, type ModelOptions, type NativeModel, native, type WeightFormat } from './native'
import { packageVersion } from './package-version'
import type { PageFormat } from './prefixes/file-format'
import type { RunnerLimits } from './runner'
import { TURN_END } from './text/markup'
import { type ChatTemplate, loadChatTemplate } from './text/template'
import { Tokenizer } from './text/tokenizer'

/** What is loaded. */
export interface ModelInfo {
  /** Absolute path of the model's folder. */
  directory: string
  /** What the model's config.json and generation_config.json say. */
  config: ModelConfig
  /** Parameters in all, and those used for one token. */
  parameters: { total: number; active: number }
  /** `stored`: of the tensors in the files. `weights`: of the matrices as they are held (norms and router are f32). `kv`: of the KV cache. */
  dtypes: { stored: string[]; weights: WeightFormat; kv: KvDtype }
  /** Memory that the weights take. */
  bytes: number
  /** Memory that the KV cache takes. */
  kvBytes: number
  /** Tokens of a sequence, prompt included. */
  context: number
  /** Tensors in the files that are no part of the model. */
  skippedTensors: string[]
}

export interface LoadedModel {
  core: NativeModel
  /** Null: the folder has no tokenizer.json, so there is no text. */
  tokenizer: Tokenizer | null
  template: ChatTemplate | null
  grammars: AnswerGrammars | null
  info: ModelInfo
  facts: ModelFacts
  limits: RunnerLimits
  /** What cached pages of this model mean, for others that might take them in. Reads samples of the weights when it is first asked for. */
  pageFormat(): Promise<PageFormat>
}

/** Further tokens of the M2 vocabulary that end a turn. */
const OTHER_ENDS = ['<fim_pad>', '<reponame>']

/** @throws {M2Error} when the folder, its files, the memory or the device will not do. */
export async function loadModel(model: string, settings: EngineSettings): Promise<LoadedModel> {
  const directory = await findModel(model, process.env)
  settings.onProgress({ phase: 'files', done: 0, total: 0 })
  const config = await loadConfig(directory)
  const checkpoint = await readCheckpoint(directory)
  const { table, stored, skipped } = planWeights(config, checkpoint)
  const { tokenizer, template } = await loadText(directory, config.vocabSize)

  const eosTokenIds = endsOfTurn(config, tokenizer)
  const device = await chooseDevice(settings.device)
  const weights = holdWeights(config, stored, device, settings)
  const request = fitRequest(config, { ...(await memoryOf(device)), weights: weights.bytes }, settings)
  const fit = fitMemory(request)
  const { maxSequences: rows, stepTokens } = request
  const vocabulary = tokenizer && Vocabulary.make(tokenizer, config.vocabSize) // while the weights are read
  const core = await loadCore(device, settings, {
    geometry: config,
    weights: { ...table, held: weights.held },
    pages: fit.pages,
    maxContext: fit.maxContext,
    maxSequences: rows,
    maxStepTokens: stepTokens,
    bannedIds: Int32Array.from(idsWithoutToken(tokenizer, config.vocabSize)),
  })
  const grammars = tokenizer && new AnswerGrammars(tokenizer, (await vocabulary)!, eosTokenIds)
  let fingerprint: Promise<string> | undefined
  const modelFingerprint = () => {
    fingerprint ??= fingerprintModel(config, table)
    return fingerprint
  }
  const scales = await setScales(core, settings, async () =>
    findKvScales({
      ...{ core, directory, tokenizer, geometry: config, model: await modelFingerprint() },
      ...{ context: fit.maxContext, onProgress: settings.onProgress },
    }),
  )
  return {
    core,
    tokenizer,
    template,
    grammars,
    info: {
      directory,
      config,
      parameters: countParameters(config),
      dtypes: { stored: dtypesOf(checkpoint), weights: weights.format, kv: settings.kvDtype },
      bytes: core.weightBytes,
      kvBytes: core.kvBytes,
      context: fit.maxContext,
      skippedTensors: skipped,
    },
    facts: {
      vocabSize: config.vocabSize,
      context: fit.maxContext,
      rows,
      eosTokenIds,
      generation: config.generation,
      hasTokenizer: tokenizer !== null,
    },
    limits: {
      pages: fit.pages,
      pageSize: settings.pageSize,
      rows,
      stepTokens,
      contextPerToken: contextPerToken(config),
      queue: settings.maxQueue,
      prefixCache: settings.prefixCache,
    },
    pageFormat: async () => {
      const { kvDtype, pageSize, activationDtype } = settings
      const { layers, kvHeads, headDim } = config
      const model = await modelFingerprint()
      const kvScales = scales ? createHash('sha256').update(scales).digest('hex') : 'none'
      // Another version may sum in another order.
      const numerics = `${core.numerics}${weights.quantised ? ', quantised' : ''}${activationDtype === 'fp8' ? ', FP8 rows' : ''}, ${packageVersion()}`
      return { model, kvDtype, kvScales, pageSize, layers, kvHeads, headDim, numerics }
    },
  }
}

/** The scales of an FP8 cache, which the model then has; null for other caches. */
async function setScales(
  core: NativeModel,
  { kvDtype }: EngineSettings,
  find: () => Promise<Float32Array>,
): Promise<Float32Array | null> {
  if (kvDtype !== 'fp8') return null
  try {
    const scales = await find()
    await core.setKvScales(scales)
    return scales
  } catch (error) {
    await core.close()
    throw asM2Error(error)
  }
}

/** What turns text into ids and back; null in a folder without tokenizer.json. @throws {M2Error} for files that are broken. */
export async function loadText(
  directory: string,
  vocabSize: number,
): Promise<Pick<LoadedModel, 'tokenizer' | 'template'>> {
  const tokenizer = await loadTokenizer(directory, vocabSize)
  return { tokenizer, template: tokenizer && (await loadChatTemplate(directory, controlTokens(tokenizer))) }
}

async function loadTokenizer(directory: string, vocabSize: number): Promise<Tokenizer | null> {
  let tokenizer: Tokenizer
  try {
    tokenizer = await Tokenizer.load(directory)
  } catch (error) {
    if (error instanceof M2Error && error.code === 'MODEL_NOT_FOUND') return null // no such file: token ids still work
    throw error
  }
  if (tokenizer.vocabSize <= vocabSize) return tokenizer
  const file = path.join(directory, 'tokenizer.json')
  throw new M2Error(
    'BAD_CHECKPOINT',
    `${file}: expected ids below ${vocabSize}, the model's vocab_size, found ${tokenizer.vocabSize - 1}`,
  )
}

function controlTokens(tokenizer: Tokenizer): string[] {
  return tokenizer.addedTokens.map((token) => token.content)
}

/** "auto": a GPU that this build can use, else the CPU. */
async function chooseDevice(device: string): Promise<string> {
  if (device !== 'auto') return device
  const { devices } = await native().cudaProbe()
  return devices.find(({ usable }) => usable)?.device ?? 'cpu'
}

type Sizes = Pick<
  ModelOptions,
  'geometry' | 'weights' | 'pages' | 'maxContext' | 'maxSequences' | 'maxStepTokens' | 'bannedIds'
>

async function loadCore(device: string, settings: EngineSettings, sizes: Sizes): Promise<NativeModel> {
  const { threads, kvDtype, pageSize, onProgress } = settings
  try {
    return await native(device).loadModel({ ...sizes, device, threads, kvDtype, pageSize }, (done, total) =>
      onProgress({ phase: 'weights', done, total }),
    )
  } catch (error) {
    throw asM2Error(error)
  }
}

/** Rows of the embedding that no token uses: their logits mean nothing. */
function idsWithoutToken(tokenizer: Tokenizer | null, vocabSize: number): number[] {
  if (!tokenizer) return []
  const padding = Array.from({ length: vocabSize - tokenizer.vocabSize }, (_, i) => tokenizer.vocabSize + i)
  return [...tokenizer.unusedIds, ...padding]
}

/** Quantised re-uploads often carry a wrong eos_token_id: where the tokenizer knows better, an id of the files must be a control token. */
function endsOfTurn(config: ModelConfig, tokenizer: Tokenizer | null): number[] {
  const end = tokenizer?.idOf(TURN_END)
  if (!tokenizer || end === undefined) return config.eosTokenIds
  const others = OTHER_ENDS.flatMap((token) => tokenizer.idOf(token) ?? [])
  return [...new Set([end, ...others, ...config.eosTokenIds.filter((id) => tokenizer.isSpecial(id))])]
}

function dtypesOf({ tensors }: Checkpoint): string[] {
  return [...new Set(Array.from(tensors.values(), (tensor) => tensor.dtype))].sort()
}
