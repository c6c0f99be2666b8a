import { M2Error } from '../errors'
import { checkKnownKeys } from '../known-keys'
import { badOption } from './input'
import { THINKING_CLOSE, THINKING_OPEN } from './markup'
import { OutputScanner } from './output-scanner'
import { TokenTags } from './output-tags'
import { StreamDecoder } from './stream-decoder'
import { Tokenizer } from './tokenizer'
import { CallWriter, joinToolCalls, type ToolCall, type ToolCallDelta } from './tool-call'
import { checkTools, type FunctionDefinition, type ToolDefinition } from './tools'

export type { ToolCall, ToolCallDelta }

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
  /** Lets the parser read token ids: tags are then the tokens that mean them, and never the same characters in other tokens. Default: none. */
  tokenizer?: Tokenizer
}

/**
 * The model's output -> reasoning, content and tool calls, while it arrives. The newlines that rendering puts around tags belong to the markup,
 * all others to the content. Any chunking of an output gives the same sum.
 *
 * A tool call begins, with its id and name, when the header of its invoke is complete. Fragments of its arguments follow, which join to their
 * JSON: parameters that can only be strings by their schema as they arrive, all others when they are complete. Of two parameters of one name
 * the first counts. A call cut off by the end of the output has its complete parameters and what there is of a string; its JSON is whole
 * all the same, and only the reason why the output ended tells.
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
  private readonly ids: IdReader | undefined
  private readonly output: ParsedOutput = { reasoning: '', text: '', toolCalls: [] }
  private delta: Delta = {}
  private writer: CallWriter | undefined // of the call that is open
  private thinkingOpen = false // inline: the opening tag is out, the closing one is not
  private endedCalls = 0
  private ended = false

  /** @throws M2Error BAD_OPTION for options, BAD_INPUT for tools. */
  constructor(options: OutputParserOptions = {}) {
    checkKnownKeys(options, ['tools', 'reasoning', 'startsIn', 'tokenizer'], 'OutputParser')
    const { tools, reasoning = 'split', startsIn = 'reasoning', tokenizer } = options
    if (reasoning !== 'split' && reasoning !== 'inline') throw badOption('reasoning', '"split" or "inline"', reasoning)
    if (startsIn !== 'reasoning' && startsIn !== 'text') throw badOption('startsIn', '"reasoning" or "text"', startsIn)
    if (tokenizer !== undefined && !(tokenizer instanceof Tokenizer)) {
      throw badOption('tokenizer', 'a Tokenizer', tokenizer)
    }
    this.functions = new Map(checkTools(tools).map((fn) => [fn.name, fn]))
    this.inline = reasoning === 'inline'
    this.scanner = new OutputScanner(
      {
        reasoning: (text) => (this.inline ? this.addInlineThinking(text) : this.add('reasoning', text)),
        text: (text) => this.addText(text),
        invoke: (name) => this.beginCall(name),
        parameter: (name) => this.writer?.parameter(name),
        value: (text) => this.writer?.value(text),
        parameterEnd: () => this.writer?.parameterEnd(),
        invokeEnd: () => this.endCall(),
      },
      startsIn,
    )
    this.ids = tokenizer && new IdReader(tokenizer, this.scanner)
  }

  /**
   * Where the output stands after what was pushed. A generated token is one of reasoning if this is still "reasoning" after its push: the
   * tag that ends the thinking is not counted.
   */
  get state(): 'reasoning' | 'text' | 'tool' {
    return this.scanner.place
  }

  /** How many calls of tools have ended so far. */
  get completeCalls(): number {
    return this.endedCalls
  }

  /**
   * Takes the next piece of output and gives what is certain now.
   * @param text the piece, in which tags are recognised by their characters. Not looked at where ids count.
   * @param tokenIds its ids. With a `tokenizer` these count: the parser decodes them itself, so that text cut elsewhere than ids, or that is not
   *   at hand (''), does no harm, and tags are recognised as tokens; a tag that the tokenizer does not have as a token is recognised by its
   *   characters. Without a tokenizer they are not looked at.
   * @throws M2Error CLOSED after `flush` or `end`, BAD_INPUT for an id that has no token.
   */
  push(text: string, tokenIds?: ArrayLike<number>): Delta {
    if (this.ended) throw new M2Error('CLOSED', 'OutputParser: nothing can be pushed after flush() or end()')
    if (this.ids && tokenIds) this.ids.push(tokenIds)
    else {
      this.ids?.end()
      this.scanner.push(text)
    }
    return this.takeDelta()
  }

  /**
   * Says that the output ends here, and gives what was held back because it might have become a tag, and the end of a call that was cut off.
   * The deltas of the pushes and this one add up to `end()`.
   */
  flush(): Delta {
    if (!this.ended) {
      this.ids?.end()
      this.scanner.finish()
    }
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

  private beginCall(name: string): void {
    const index = this.output.toolCalls.length
    this.writer = new CallWriter(name, this.functions.get(name), (json) => this.addCall({ index, arguments: json }))
    this.output.toolCalls.push(this.writer.call)
    this.addCall({ index, id: this.writer.call.id, name, arguments: '' })
  }

  private endCall(): void {
    this.writer?.end()
    this.endedCalls++
  }

  private addCall(delta: ToolCallDelta): void {
    this.delta.toolCalls ??= []
    joinToolCalls(this.delta.toolCalls, [delta])
  }
}

/** Ids on their way to the scanner: tags as such, the ids between them as whole characters. */
class IdReader {
  private readonly decoder: StreamDecoder
  private readonly tags: TokenTags

  constructor(
    tokenizer: Tokenizer,
    private readonly scanner: OutputScanner,
  ) {
    this.decoder = new StreamDecoder(tokenizer)
    this.tags = new TokenTags(tokenizer)
  }

  push(ids: ArrayLike<number>): void {
    for (let i = 0; i < ids.length; i++) {
      const tag = this.tags.byId.get(ids[i]!)
      if (tag === undefined) this.read(this.decoder.push([ids[i]!]))
      else {
        this.end()
        this.scanner.control(tag, this.tags.spelled)
      }
    }
  }

  /** No id completes the character that has begun. */
  end(): void {
    this.read(this.decoder.end())
  }

  private read(text: string): void {
    if (text !== '') this.scanner.push(text, this.tags.spelled)
  }
}
