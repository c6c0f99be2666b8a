/** A shell in memory and an engine that says what it is told, to test the command line without a model. */

import type { Shell } from '../../lib/cli/shell'
import type { Device } from '../../lib/devices'
import { diagnoseWith, type Trials } from '../../lib/diagnosis'
import { EMBEDDED_MODEL } from '../../lib/embedded-model'
import { checkEngineOptions } from '../../lib/engine-settings'
import type { Chunk, Engine, EngineOptions, Generation, Result } from '../../lib/index'
import { reportModel } from '../../lib/model-report'
import { quantizeModel } from '../../lib/quantize/quantize'

export const RESULT: Result = {
  text: '85',
  reasoning: '47 + 38 = 85',
  toolCalls: [],
  tokenIds: [7, 8, 9],
  promptTokenIds: [1, 2],
  finishReason: 'stop',
  usage: { promptTokens: 2, cachedTokens: 0, completionTokens: 3, reasoningTokens: 2 },
  timing: { queueMs: 0, prefillMs: 4, firstTokenMs: 4, decodeMs: 20 },
}

export const CHUNKS: Chunk[] = [
  { text: '', reasoning: '47 + 38', tokenIds: [7], index: 0 },
  { text: '', reasoning: ' = 85', tokenIds: [8], index: 0 },
  { text: '85', tokenIds: [9], index: 0 },
]

export interface FakeOptions {
  chunks?: Chunk[]
  result?: Result
  /** Thrown by `Engine.load`. */
  loadError?: Error
  /** Thrown by the generation, after its chunks. */
  error?: Error
  stdin?: string
  /** The model has no tokenizer. */
  idsOnly?: boolean
  terminal?: boolean
  env?: Record<string, string>
  /** What this machine has. */
  devices?: Device[]
  trials?: Trials
  /** Ctrl-C comes after so many chunks. */
  interruptAfter?: number
}

export interface Call {
  kind: 'chat' | 'generate'
  prompt: unknown
  options: Record<string, unknown>
}

/** The shell, and what a run left behind in it. */
export function fakeShell(fake: FakeOptions = {}) {
  const seen = { stdout: '', stderr: '', loads: [] as unknown[], calls: [] as Call[], closed: 0 }
  let interrupt: (() => void) | undefined

  const generation = (): Generation => {
    let aborted = false
    return {
      promptTokens: RESULT.usage.promptTokens,
      async *[Symbol.asyncIterator]() {
        for (const [i, chunk] of (fake.chunks ?? CHUNKS).entries()) {
          if (i === fake.interruptAfter) interrupt?.()
          if (aborted) return
          yield chunk
        }
        if (fake.error) throw fake.error
      },
      async result() {
        if (fake.error) throw fake.error
        if (fake.interruptAfter !== undefined && !aborted) interrupt?.()
        const result = fake.result ?? RESULT
        return aborted ? { ...result, finishReason: 'abort' as const } : result
      },
      abort() {
        aborted = true
      },
    }
  }
  const record = (kind: Call['kind']) => (prompt: unknown, options: object) => {
    seen.calls.push({
      kind,
      prompt,
      options: Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)),
    })
    return generation()
  }
  const engine = {
    model: { directory: 'somewhere' },
    device: 'cpu',
    tokenizer: fake.idsOnly ? null : { decode: (ids: ArrayLike<number>) => `<${ids[0]}>` },
    chat: record('chat'),
    generate: record('generate'),
    close: async () => {
      seen.closed++
    },
  }
  const shell: Shell = {
    stdin: (async function* () {
      yield Buffer.from(fake.stdin ?? '')
    })(),
    stdout: { write: (text) => (seen.stdout += text), isTTY: fake.terminal },
    stderr: { write: (text) => (seen.stderr += text), isTTY: fake.terminal },
    env: fake.env ?? {},
    onInterrupt: (handler) => {
      interrupt = handler
    },
    onTerminate: () => {},
    load: async (dir?: string, options?: EngineOptions) => {
      const { onProgress: _, ...given } = options ?? {}
      seen.loads.push([dir, given])
      options?.onProgress?.({ phase: 'weights', done: 1, total: 2 })
      if (fake.loadError) throw fake.loadError
      return engine as unknown as Engine
    },
    diagnose: () => diagnoseWith(fake.trials!),
    quantize: quantizeModel,
    inspect: (dir = EMBEDDED_MODEL, options) =>
      reportModel(dir, checkEngineOptions(options), async () => fake.devices ?? []),
  }
  return { shell, seen }
}
