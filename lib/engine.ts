/// <reference lib="esnext.disposable" preserve="true" />
import path from 'node:path'
import { Conversation } from './conversation'
import { checkEngineOptions } from './engine-settings'
import { M2Error } from './errors'
import { type Generation, LiveGeneration, type Result } from './generation'
import { type LoadedModel, loadModel, type ModelInfo } from './loaded-model'
import type { ChatOptions, ConversationOptions, EngineOptions, GenerateOptions } from './options'
import { type Prepared, prepareChat, prepareGenerate } from './requests'
import { type Request, Runner } from './runner'
import { Sample } from './sample'
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

const EMBEDDED_MODEL = path.join(__dirname, '..', 'models', 'nano')

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
  private arrivals = 0

  /**
   * Loads a model.
   * @param modelDir a folder in Hugging Face's layout. Default: the embedded model.
   * @throws {M2Error} MODEL_NOT_FOUND, BAD_CHECKPOINT, UNSUPPORTED_MODEL, BAD_OPTION, OUT_OF_MEMORY, DEVICE_UNAVAILABLE
   */
  static async load(modelDir: string = EMBEDDED_MODEL, options: EngineOptions = {}): Promise<Engine> {
    const settings = checkEngineOptions(options)
    if (typeof modelDir !== 'string' || modelDir === '') {
      throw new M2Error('BAD_OPTION', `modelDir: expected the path of a folder, found ${JSON.stringify(modelDir)}`)
    }
    return new Engine(await loadModel(modelDir, settings))
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
    return this.start(() => prepareGenerate(this.loaded, prompt, options))
  }

  /** Answers a conversation: rendered by the model's template, parsed into reasoning, text and tool calls. Errors are thrown by the generation, not here. */
  chat(messages: readonly ChatMessage[], options: ChatOptions = {}): Generation {
    return this.start(() => prepareChat(this.loaded, messages, options))
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

  stats(): EngineStats {
    return { ...this.runner.counts, cachedTokens: 0 } // prefixes are not shared between requests yet
  }

  /** Frees everything. Idempotent; running generations end with finishReason "abort", later calls with the error CLOSED. */
  close(): Promise<void> {
    return this.runner.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  private start(prepare: (generation: LiveGeneration) => Prepared): Generation {
    const calledAt = performance.now()
    const generation = new LiveGeneration()
    try {
      this.runner.checkOpen()
      this.submit(generation, prepare(generation), calledAt)
    } catch (error) {
      generation.fail(error)
    }
    return generation
  }

  private submit(generation: LiveGeneration, prepared: Prepared, calledAt: number): void {
    const { signal } = prepared.settings
    const samples = this.samplesOf(generation, prepared, calledAt)
    const abort = () => this.runner.abort(request)
    const release = () => {
      if (signal) this.signals.unfollow(signal, abort)
      generation.onAbort = () => {}
    }
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
    generation.onAbort = abort
    if (signal) this.signals.follow(signal, abort)
  }

  private samplesOf(generation: LiveGeneration, prepared: Prepared, calledAt: number): Sample[] {
    const { prompt, settings, newText, prefill, forced } = prepared
    const { sampling, priority, n } = settings
    const arrival = this.arrivals++
    const maxLength = Math.min(this.loaded.facts.context, prompt.length + settings.maxTokens)
    const deadline = calledAt + settings.deadlineMs
    return Array.from({ length: n }, (_, sampleIndex) => {
      return new Sample({
        sequence: new Sequence({ arrival, sampleIndex, prompt, maxLength, priority, deadline, sampling }),
        calledAt,
        stopTokenIds: settings.stopTokenIds,
        text: newText(),
        prefill,
        forced,
        onChunk: (chunk) => generation.push(chunk),
      })
    })
  }
}

function resultOf(samples: readonly Sample[], prompt: Int32Array): Result {
  const promptTokenIds = Array.from(prompt)
  const results = samples.map((sample) => sample.result(promptTokenIds))
  return results.length > 1 ? { ...results[0]!, samples: results } : results[0]!
}
