import { randomUUID } from 'node:crypto'
import { M2Error } from '../errors'
import { checkKnownKeys } from '../known-keys'
import { badOption } from './input'
import { THINKING_CLOSE, THINKING_OPEN } from './markup'
import { OutputScanner } from './output-scanner'
import { argumentValue } from './tool-arguments'
import { checkTools, type FunctionDefinition, type ToolDefinition } from './tools'

/** A part of a tool call: `id` and `name` once, then fragments of the arguments' JSON. */
export interface ToolCallDelta {
  /** Which of the output's calls, from 0. */
  index: number
  id?: string
  name?: string
  arguments: string
}

/** A call the model made. Its name may be one that was not offered. */
export interface ToolCall {
  id: string
  name: string
  arguments: object
}

/** What is new; a key is there only when it has something. */
export interface Delta {
  reasoning?: string
  text?: string
  toolCalls?: ToolCallDelta[]
}

export interface ParsedOutput {
  reasoning: string
  text: string
  toolCalls: ToolCall[]
}

export interface OutputParserOptions {
  /** Their schemas give arguments their types. Default: none. */
  tools?: readonly ToolDefinition[]
  /**
   * "split" (default): thinking is in `reasoning`. "inline": it stays in `text`, as the template renders it,
   * `<think>\n{reasoning}\n</think>\n\n{text}`, and `reasoning` is empty. Where nothing was thought there is no such block; where the output
   * ends inside, it stays open.
   */
  reasoning?: 'split' | 'inline'
  /** Where the output begins: after the `<think>` of the prompt (default), or in text, where a leading `<think>` opens the thinking. */
  startsIn?: 'reasoning' | 'text'
}

/**
 * The model's output -> reasoning, content and tool calls, while it arrives. The newlines that rendering puts around tags belong to the markup,
 * all others to the content. Any chunking of an output gives the same sum.
 * @example
 * const parser = new OutputParser({ tools })
 * for await (const piece of pieces) show(parser.push(piece))
 * show(parser.flush())
 * const { reasoning, text, toolCalls } = parser.end()
 */
export class OutputParser {
  private readonly functions: Map<string, FunctionDefinition>
  private readonly inline: boolean
  private readonly scanner: OutputScanner
  private readonly output: ParsedOutput = { reasoning: '', text: '', toolCalls: [] }
  private delta: Delta = {}
  private thinkingOpen = false // inline: the opening tag is out, the closing one is not
  private ended = false

  /** @throws M2Error BAD_OPTION for options, BAD_INPUT for tools. */
  constructor(options: OutputParserOptions = {}) {
    checkKnownKeys(options, ['tools', 'reasoning', 'startsIn'], 'OutputParser')
    const { tools, reasoning = 'split', startsIn = 'reasoning' } = options
    if (reasoning !== 'split' && reasoning !== 'inline') throw badOption('reasoning', '"split" or "inline"', reasoning)
    if (startsIn !== 'reasoning' && startsIn !== 'text') throw badOption('startsIn', '"reasoning" or "text"', startsIn)
    this.functions = new Map(checkTools(tools).map((fn) => [fn.name, fn]))
    this.inline = reasoning === 'inline'
    this.scanner = new OutputScanner(
      {
        reasoning: (text) => (this.inline ? this.addInlineThinking(text) : this.add('reasoning', text)),
        text: (text) => this.addText(text),
        call: (name, parameters) => this.addCall(name, parameters),
      },
      startsIn,
    )
  }

  /**
   * Where the output stands after what was pushed. A generated token is one of reasoning if this is still "reasoning" after its push: the
   * tag that ends the thinking is not counted.
   */
  get state(): 'reasoning' | 'text' | 'tool' {
    return this.scanner.place
  }

  /**
   * Takes the next piece of output and gives what is certain now. A tool call comes as one delta, when it is complete.
   * @param _tokenIds the ids the piece was decoded from; tags are recognised by their text.
   * @throws M2Error CLOSED after `flush` or `end`.
   */
  push(text: string, _tokenIds?: ArrayLike<number>): Delta {
    if (this.ended) throw new M2Error('CLOSED', 'OutputParser: nothing can be pushed after flush() or end()')
    this.scanner.push(text)
    return this.takeDelta()
  }

  /**
   * Says that the output ends here, and gives what was held back because it might have become a tag, and a call cut off by the end with its
   * complete parameters. The deltas of the pushes and this one add up to `end()`.
   */
  flush(): Delta {
    if (!this.ended) this.scanner.finish()
    this.ended = true
    return this.takeDelta()
  }

  /** All of the output, what `flush` gives included. */
  end(): ParsedOutput {
    if (!this.ended) this.flush()
    return this.output
  }

  private takeDelta(): Delta {
    if (this.scanner.place !== 'reasoning') this.closeInlineThinking()
    const delta = this.delta
    this.delta = {}
    return delta
  }

  private add(channel: 'reasoning' | 'text', text: string): void {
    this.output[channel] += text
    this.delta[channel] = (this.delta[channel] ?? '') + text
  }

  private addInlineThinking(text: string): void {
    if (!this.thinkingOpen) this.add('text', THINKING_OPEN)
    this.thinkingOpen = true
    this.add('text', text)
  }

  private closeInlineThinking(): void {
    if (this.thinkingOpen) this.add('text', THINKING_CLOSE)
    this.thinkingOpen = false
  }

  private addText(text: string): void {
    this.closeInlineThinking()
    this.add('text', text)
  }

  private addCall(name: string, parameters: [name: string, text: string][]): void {
    this.closeInlineThinking()
    const fn = this.functions.get(name)
    const values = parameters.map(([key, text]) => [key, argumentValue(fn, key, text)])
    const call: ToolCall = {
      id: `call_${randomUUID().replaceAll('-', '')}`,
      name,
      arguments: Object.fromEntries(values),
    }
    const index = this.output.toolCalls.push(call) - 1
    this.delta.toolCalls ??= []
    this.delta.toolCalls.push({ index, id: call.id, name, arguments: JSON.stringify(call.arguments) })
  }
}
