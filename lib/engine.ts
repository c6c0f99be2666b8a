/// <reference lib="esnext.disposable" preserve="true" />
import { Conversation } from './conversation'
import { EMBEDDED_MODEL } from './embedded-model'
import { checkEngineOptions } from './engine-settings'
import { M2Error } from './errors'
import { type Generation, LiveGeneration, type Result } from './generation'
import { checkScoreOptions } from './generation-settings'
import { type LoadedModel, loadModel, type ModelInfo } from './loaded-model'
import type { ChatOptions, ConversationOptions, EngineOptions, GenerateOptions, ScoreOptions } from './options'
import { loadPrefixes, type PrefixCounts, savePrefixes } from './prefixes/prefixes'
import { idsToScore } from './prompt'
import { type Prepared, prepareChat, prepareGenerate } from './requests'
import { type Request, Runner } from './runner'
import { Sample, type SampleSoFar } from './sample'
import { runScore } from './score'
import { Sequence } from './sequence'
import { SignalHub } from './signal-hub'
import type { ChatMessage } from './text/messages'
import type { Tokenizer } from './text/tokenizer'

/** Counters of an engine. */
export interface EngineStats {
  /** Of the KV cache; free + cached + private === total. */
  pages: { total: number; free: number; cached: number; private: number }
  sequences: { running: number; waiting: number }
  /** Since the engine was loaded, as are the tokens. */
  steps: number
  promptTokens: number
  /** Prompt tokens whose KV pages were reused. */
  cachedTokens: number
  generatedTokens: number
}

/** Makes a checked request. */
type Prepare = (options: GenerateOptions) => Prepared

/** Where a generation that can be forked comes from. */
interface Lineage {
  options: GenerateOptions
  prepare: Prepare
  /** The samples that draw from the same random numbers, each with its own index. */
  family: { members: number }
  /** What a fork goes on from. */
  soFar?: SampleSoFar
}

/**
 * A loaded model and everything that runs on it.
 *
 * @example
 * await using engine = await Engine.load()
 * const { text } = await engine.chat([{ role: 'user', content: 'What is 47 + 38?' }]).result()
 */
export class Engine implements AsyncDisposable {
  readonly model: ModelInfo
  /** "cpu", "cuda:0" or "emulated". */
  readonly device: string
  /** Null when the folder has no tokenizer.json: token ids still work. */
  readonly tokenizer: Tokenizer | null
  private readonly loaded: LoadedModel
  private readonly runner: Runner
  private readonly signals = new SignalHub()
  /** What forks need of the generations that callers still hold. */
  private readonly origins = new WeakMap<Generation, Lineage & { samples: readonly Sample[] }>()
  private arrivals = 0

  /**
   * Loads a model. Nothing is fetched from a network.
   * @param model a folder in Hugging Face's layout, or, where there is no such folder, the "owner/name" of a model that `m2 download` has put into
   * Hugging Face's cache. Default: the embedded model.
   * @throws {M2Error} MODEL_NOT_FOUND, BAD_CHECKPOINT, UNSUPPORTED_MODEL, BAD_OPTION, OUT_OF_MEMORY, DEVICE_UNAVAILABLE
   */
  static async load(model: string = EMBEDDED_MODEL, options: EngineOptions = {}): Promise<Engine> {
    const settings = checkEngineOptions(options)
    return new Engine(await loadModel(model, settings))
  }

  /** @internal Use `Engine.load`. */
  constructor(loaded: LoadedModel) {
    this.loaded = loaded
    this.model = loaded.info
    this.device = loaded.core.device
    this.tokenizer = loaded.tokenizer
    this.runner = new Runner(loaded.core, loaded.limits)
  }

  /**
   * Continues raw text or token ids, without the chat template. Control tokens in the text are recognised, so that of `renderChat` works too.
   * Errors are thrown by the generation, not here.
   */
  generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}): Generation {
    return this.startForkable(options, (own) => prepareGenerate(this.loaded, prompt, own))
  }

  /** Answers a conversation: rendered by the model's template, parsed into reasoning, text and tool calls. Errors are thrown by the generation, not here. */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    return this.startForkable(options, (own) => prepareChat(this.loaded, messages, own))
  }

  /** The prompt of `chat` for these arguments. @throws {M2Error} as its generation would. */
  encodeChat(messages: readonly ChatMessage[], options: ChatOptions = {}): Int32Array {
    this.runner.checkOpen()
    return prepareChat(this.loaded, messages, options).prompt
  }

  /** How many tokens the prompt of `chat` has for these arguments. @throws {M2Error} as its generation would. */
  countTokens(messages: readonly ChatMessage[], options: ChatOptions = {}): number {
    return this.encodeChat(messages, options).length
  }

  /**
   * A second generation that goes on from what the first has so far, beside it. The pages of both are the same up to there, so next to
   * nothing is computed twice; the stream and the result begin with what there was. It draws otherwise than the first, also with the
   * same seed. Errors are thrown by the generation: BAD_INPUT where there is nothing to go on from.
   * @param generation of `generate` or `chat` of this engine, with one sample, not ended by a stop. A conversation has its own `fork`.
   * @param options in the place of those that the first was called with
   */
  fork(generation: Generation, options: Omit<GenerateOptions, 'n'> = {}): Generation {
    const origin = this.origins.get(generation)
    if (!origin) return failed('expected a generation of generate or chat that this engine has accepted, found another')
    const { samples, prepare, family } = origin
    if (samples.length > 1) return failed(`expected a generation of one sample, found ${samples.length}`)
    if (samples[0]!.hasStopped) return failed('expected a generation that can go on, found one that has stopped')
    const own = { ...origin.options, ...options }
    return this.start(() => prepare(own), { options: own, prepare, family, soFar: samples[0]!.soFar })
  }

  /**
   * Keeps all cached pages in a file (safetensors), for `loadPrefixes` of a later engine. What runs goes on; the file that was there stays until
   * the new one is whole.
   * @returns what is in the file
   * @throws {M2Error} BAD_INPUT when the file cannot be written; CLOSED
   */
  async savePrefixes(file: string): Promise<PrefixCounts> {
    this.runner.checkOpen()
    return savePrefixes(file, await this.loaded.pageFormat(), this.runner.prefixes, this.runner)
  }

  /**
   * Takes pages that `savePrefixes` kept into the cache, the most recently used first, as long as pages are free: nothing is evicted for them.
   * @returns what was taken in: without pages that were cached already
   * @throws {M2Error} BAD_INPUT where there is no such file, or it is of another model, KV type, page size, instruction set or version; BAD_CHECKPOINT
   * when it is damaged: pages that were taken in before are sound and stay; CLOSED
   */
  async loadPrefixes(file: string): Promise<PrefixCounts> {
    this.runner.checkOpen()
    const format = await this.loaded.pageFormat()
    return loadPrefixes(file, format, this.loaded.facts.vocabSize, this.runner.prefixes, this.runner)
  }

  /**
   * A conversation that goes on turn by turn. Each prompt is the one before, the ids sampled for it and the new turns, so that the model reads
   * its own words as it wrote them. Errors of the turns are thrown by their generations.
   * @throws {M2Error} BAD_OPTION, BAD_INPUT for these options.
   * @example
   * const conversation = engine.conversation({ messages: [{ role: 'system', content: 'Be brief.' }] })
   * const { text } = await conversation.send({ role: 'user', content: 'What is 47 + 38?' }).result()
   */
  conversation(options: ConversationOptions = {}): Conversation {
    return Conversation.begin(this.loaded, options, (prepare) => this.start(prepare))
  }

  /** What calls are answered with once the engine is closed, or its device has failed; undefined while it takes them. */
  get refusal(): M2Error | undefined {
    return this.runner.refusal
  }

  /**
   * How probable the model finds text that is given: of each id the log probability behind those before it, from the raw logits, with the bits that
   * `logprobs` of a generation have. Every token is computed, cached or not, beside whatever else runs; what is computed is cached for others.
   * @param ids at most as many as the context
   * @returns one for each of `ids`; the first is NaN, as nothing comes before it: skip it in a sum
   * @throws {M2Error} BAD_INPUT, BAD_OPTION, CONTEXT_LENGTH_EXCEEDED, QUEUE_FULL, DEVICE_ERROR, CLOSED; the signal's reason when it fires
   * @example
   * const { promptTokenIds, tokenIds } = await engine.chat(messages).result()
   * const logprobs = (await engine.score([...promptTokenIds, ...tokenIds])).subarray(promptTokenIds.length)
   */
  async score(ids: ArrayLike<number>, options: ScoreOptions = {}): Promise<Float32Array> {
    this.runner.checkOpen()
    const settings = checkScoreOptions(options)
    const checked = idsToScore(ids, this.loaded.facts)
    return runScore(this.arrivals++, checked, settings, this.runner, this.signals)
  }

  stats(): EngineStats {
    return this.runner.counts
  }

  /** Frees everything. Idempotent; running generations end with finishReason "abort", later calls with the error CLOSED. */
  close(): Promise<void> {
    return this.runner.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private startForkable(options: GenerateOptions, prepare: Prepare): Generation {
    return this.start(() => prepare(options), { options, prepare, family: { members: 0 } })
  }

  private start(prepare: (generation: LiveGeneration) => Prepared, lineage?: Lineage): Generation {
    const calledAt = performance.now()
    const generation = new LiveGeneration()
    try {
      this.runner.checkOpen()
      this.submit(generation, prepare(generation), calledAt, lineage)
    } catch (error) {
      generation.fail(error)
    }
    return generation
  }

  private submit(generation: LiveGeneration, prepared: Prepared, calledAt: number, lineage?: Lineage): void {
    const { signal } = prepared.settings
    const samples = this.samplesOf(generation, prepared, calledAt, lineage)
    const abort = () => this.runner.abort(request)
    const release = () => signal && this.signals.unfollow(signal, abort)
    const request: Request = {
      samples,
      complete: () => {
        release()
        generation.complete(resultOf(samples, prepared.prompt))
      },
      fail: (error) => {
        release()
        generation.fail(error)
      },
    }
    this.runner.submit(request)
    if (lineage) this.origins.set(generation, { ...lineage, samples })
    generation.start(prepared.prompt.length, {
      abort,
      halt: (index) => this.runner.park(samples[index]!.sequence),
      resume: (index) => this.runner.resume(samples[index]!.sequence),
    })
    if (signal) this.signals.follow(signal, abort)
  }

  private samplesOf(
    generation: LiveGeneration,
    prepared: Prepared,
    calledAt: number,
    { family, soFar }: Pick<Lineage, 'family' | 'soFar'> = { family: { members: 0 } },
  ): Sample[] {
    const { prompt, settings, newText, prefill, forced, newConstraint } = prepared
    const { sampling, priority, n, cacheSalt } = settings
    const arrival = this.arrivals++
    const maxLength = Math.min(this.loaded.facts.context, prompt.length + settings.maxTokens)
    if (soFar && prompt.length + soFar.tokenIds.length >= maxLength) {
      throw new M2Error(
        'BAD_INPUT',
        `fork: expected room for more than the ${soFar.tokenIds.length} tokens so far, found none`,
      )
    }
    const deadline = calledAt + settings.deadlineMs
    return Array.from({ length: n }, (_, index) => {
      const sampleIndex = family.members++
      const constraint = newConstraint?.()
      const limits = { maxLength, priority, deadline }
      return new Sample({
        index,
        sequence: new Sequence({ arrival, sampleIndex, prompt, ...limits, sampling, cacheSalt, constraint }),
        soFar,
        calledAt,
        stopTokenIds: settings.stopTokenIds,
        text: newText(),
        prefill,
        forced,
        constraint,
        onChunk: (chunk) => generation.push(chunk),
      })
    })
  }
}

function failed(message: string): Generation {
  const generation = new LiveGeneration()
  generation.fail(new M2Error('BAD_INPUT', `fork: ${message}`))
  return generation
}

function resultOf(samples: readonly Sample[], prompt: Int32Array): Result {
  const promptTokenIds = Array.from(prompt)
  const results = samples.map((sample) => sample.result(promptTokenIds))
  return results.length > 1 ? { ...results[0]!, samples: results } : results[0]!
}
