/** An agent: the model is asked, the tools that it calls are run, and their results are what it is asked with next, until it answers. */
import type { Engine } from './engine'
import { M2Error } from './errors'
import type { FinishReason, Result } from './generation'
import { CONVERSATION_KEYS } from './generation-settings'
import { checkKnownKeys } from './known-keys'
import { checkKeys, optionalFunction, optionalInteger } from './option-values'
import type { ConversationOptions } from './options'
import { badInput, object, reasonOf } from './text/input'
import type { ChatMessage } from './text/messages'
import type { ToolCall } from './text/output-parser'
import { checkTool, type FunctionDefinition } from './text/tools'

/** A function that the model may call, and what runs it. */
export interface RunnableTool extends Omit<FunctionDefinition, 'name'> {
  /**
   * Gets the arguments as the model wrote them: typed by `parameters` where they fit, else not, so check what matters.
   * @returns what the model is told, or a promise of it: a string as it is, anything else as JSON, nothing as null. An error that is thrown
   * is told to the model, which may try otherwise.
   */
  // biome-ignore lint/suspicious/noExplicitAny: the arguments' type is the tool's own business
  execute(args: any, context: { signal: AbortSignal }): unknown
}

/** Options of `runTools`. Those of a turn (`maxTokens`, `deadlineMs`, `seed` ..) hold for each step. */
export interface RunToolsOptions extends Omit<ConversationOptions, 'messages' | 'tools'> {
  /** What the model answers; the last is usually a user message. */
  messages: readonly ChatMessage[]
  /** By name. */
  tools: Record<string, RunnableTool>
  /** As in a chat; where the model must call a tool, that is for the first step: it would never answer. */
  toolChoice?: ConversationOptions['toolChoice']
  /** Times that the model is asked, at most. The calls of the last time are not run. Default 20. */
  maxSteps?: number
  /** Ends the run with finishReason "abort" and what there is; each `execute` gets it too. A tool that does not heed it is not waited for. */
  signal?: AbortSignal
  /** Alternatives of each token beside its own log probability, which is always there. Default 0. */
  logprobs?: number
  /** Called when a step has ended, its tools included. What it throws ends the run. */
  onStep?: (step: ToolStep) => void
}

/** What a call came to. */
export interface ToolResult {
  /** Of the call. */
  id: string
  name: string
  /** What the model is told. */
  content: string
  /** The tool threw, does not exist, gave what is not JSON, or was cut off by `signal`; `content` says which. */
  isError: boolean
  /** How long it took. */
  ms: number
}

/** The model was asked once. Plain data, as is all of a run: `JSON.stringify` and `structuredClone` keep it whole. */
export interface ToolStep {
  /** How many ids of the sequence so far stayed: all, unless `keepReasoning` dropped thinking of a step before. */
  keptTokens: number
  /** What was appended to them: the first prompt, or the rendering of the tools' results. */
  promptTokenIds: number[]
  /** What the model sampled then: what training counts. */
  tokenIds: number[]
  /** One for each of `tokenIds`, of the raw logits; 0 for a token that was forced (`maxReasoningTokens`, `prefill`). */
  logprobs: NonNullable<Result['logprobs']>
  toolCalls: ToolCall[]
  /** In the order of the calls; empty where they were not run. */
  results: ToolResult[]
  usage: Result['usage']
  /** Milliseconds. `toolMs`: until all results were there; calls run side by side. */
  timing: Result['timing'] & { toolMs: number }
}

export interface ToolRun {
  /** The given ones, and all that followed. Where the calls of the last step were not run, they are not answered here. */
  messages: ChatMessage[]
  /** Of the last step. */
  text: string
  /** In order. Each sequence of ids is the one before, cut to `keptTokens`, then `promptTokenIds`, then `tokenIds`. */
  steps: ToolStep[]
  /** Of the last step: "tool_calls" where `maxSteps` kept its calls from being run. "length" also where results do not fit the context. */
  finishReason: FinishReason
}

const KEYS: Record<keyof RunToolsOptions | 'n', true> = { ...CONVERSATION_KEYS, maxSteps: true, onStep: true }
const TOOL_KEYS: readonly (keyof RunnableTool)[] = ['description', 'parameters', 'execute']

/**
 * Lets the model work with tools until it answers. All steps are one conversation that only grows, so each computes only what is new.
 * Calls of one step run side by side.
 * @throws {M2Error} BAD_OPTION, BAD_INPUT for the arguments; what a generation throws. `onStep` has seen the steps before.
 * @example
 * const clock = { description: 'The time.', parameters: { type: 'object', properties: {} }, execute: () => new Date().toISOString() }
 * const { text, steps } = await runTools(engine, { messages: [{ role: 'user', content: 'How late is it?' }], tools: { clock } })
 */
export async function runTools(engine: Engine, options: RunToolsOptions): Promise<ToolRun> {
  checkKeys('runTools', options, KEYS)
  const { messages, tools, maxSteps, onStep, toolChoice, ...turn } = options
  const most = optionalInteger('maxSteps', maxSteps, { least: 1 }) ?? 20
  optionalFunction('onStep', onStep)
  const conversation = engine.conversation({
    ...turn,
    toolChoice: toolChoice === 'none' ? 'none' : 'auto',
    messages,
    tools: definitionsOf(tools),
    logprobs: turn.logprobs ?? 0,
  })
  const signal = turn.signal ?? new AbortController().signal

  const steps: ToolStep[] = []
  let answers: ChatMessage[] = []
  const ended = (text: string, finishReason: FinishReason): ToolRun => {
    return { messages: [...conversation.messages, ...answers], text, steps, finishReason }
  }
  let result: Result | undefined
  for (;;) {
    const before = conversation.tokenIds
    try {
      result = await conversation.send(answers, steps.length === 0 ? { toolChoice } : {}).result()
    } catch (error) {
      if (result && isTooLong(error)) return ended(result.text, 'length')
      throw error
    }
    const calledAt = performance.now()
    const runs = result.finishReason === 'tool_calls' && steps.length + 1 < most
    const results = runs ? await answerCalls(result.toolCalls, tools, signal) : []
    const step = stepOf(before, result, results, performance.now() - calledAt)
    steps.push(step)
    answers = results.map(({ id, content }) => ({ role: 'tool', tool_call_id: id, content }))
    onStep?.(step)
    if (!runs) return ended(result.text, result.finishReason)
    if (signal.aborted) return ended(result.text, 'abort')
  }
}

const isTooLong = (error: unknown) => error instanceof M2Error && error.code === 'CONTEXT_LENGTH_EXCEEDED'

/** @throws {M2Error} BAD_INPUT, BAD_OPTION naming the tool. */
function definitionsOf(tools: unknown): FunctionDefinition[] {
  return Object.entries(object(tools, 'tools', 'an object of tools by name')).map(([name, tool]) => {
    const where = `tools.${name}`
    const { execute, ...definition } = object(tool, where, 'a tool')
    if (typeof execute !== 'function') throw badInput(`${where}.execute`, 'a function', execute)
    checkKnownKeys(definition, TOOL_KEYS, where)
    return checkTool({ ...definition, name }, where)
  })
}

function stepOf(before: readonly number[], result: Result, results: ToolResult[], toolMs: number): ToolStep {
  const { promptTokenIds, tokenIds, logprobs = [], toolCalls, usage, timing } = result
  const differs = before.findIndex((id, i) => id !== promptTokenIds[i])
  const keptTokens = differs < 0 ? before.length : differs
  const added = promptTokenIds.slice(keptTokens)
  return {
    keptTokens,
    promptTokenIds: added,
    tokenIds,
    logprobs,
    toolCalls,
    results,
    usage,
    timing: { ...timing, toolMs },
  }
}

/** Runs calls side by side. When the signal fires, those that have not ended are left alone. */
async function answerCalls(
  calls: ToolCall[],
  tools: RunToolsOptions['tools'],
  signal: AbortSignal,
): Promise<ToolResult[]> {
  let stop = () => {}
  const stopped = new Promise<Outcome>((resolve) => {
    stop = () => resolve(failure('the run was aborted'))
  })
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    return await Promise.all(
      calls.map(async ({ id, name, arguments: args }) => {
        const begunAt = performance.now()
        const begun = signal.aborted ? [] : [outcomeOf(name, structuredClone(args), tools, signal)]
        const outcome = await Promise.race([stopped, ...begun])
        return { id, name, ...outcome, ms: performance.now() - begunAt }
      }),
    )
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

type Outcome = Pick<ToolResult, 'content' | 'isError'>

async function outcomeOf(
  name: string,
  args: object,
  tools: RunToolsOptions['tools'],
  signal: AbortSignal,
): Promise<Outcome> {
  if (!Object.hasOwn(tools, name))
    return failure(`there is no tool "${name}"; there are: ${Object.keys(tools).join(', ') || 'none'}`)
  try {
    const given = await tools[name]!.execute(args, { signal })
    const content = typeof given === 'string' ? given : JSON.stringify(given ?? null)
    return content === undefined ? failure('the result is not JSON') : { content, isError: false }
  } catch (error) {
    return failure(reasonOf(error))
  }
}

const failure = (reason: string): Outcome => ({ content: `Error: ${reason}`, isError: true })
