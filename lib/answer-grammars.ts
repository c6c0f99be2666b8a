/** What options of a chat ask of an answer's form, as a grammar. */
import { M2Error } from './errors'
import {
  CompiledGrammar,
  choice,
  type Grammar,
  jsonObject,
  jsonSchema,
  literal,
  regex,
  sequence,
  token,
  toolCalls,
  type Vocabulary,
} from './grammar'
import type { ChatOptions } from './options'
import { CALLS, CALLS_END } from './text/markup'
import type { Tokenizer } from './text/tokenizer'
import { checkTools, type FunctionDefinition } from './text/tools'

/** The options that decide it. */
export type AnswerForm = Pick<ChatOptions, 'responseFormat' | 'tools' | 'toolChoice' | 'parallelToolCalls'>

/** Compiled grammars that stay at hand: a client asks with the same one again and again. */
const MOST_KEPT = 64

/** The grammars of one model's answers. */
export class AnswerGrammars {
  /** The least recently used first. */
  private readonly kept = new Map<string, CompiledGrammar>()

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly vocabulary: Vocabulary,
    private readonly endIds: readonly number[],
  ) {}

  /**
   * undefined: the answer may have any form.
   * @param before what stands before the answer within the grammar
   * @throws {M2Error} BAD_INPUT naming what of a schema is not supported; BAD_OPTION
   */
  of(form: AnswerForm, before: string): CompiledGrammar | undefined {
    const { responseFormat, toolChoice = 'auto', tools } = form
    if (!responseFormat && (toolChoice === 'auto' || toolChoice === 'none')) return undefined
    const key = JSON.stringify([before, responseFormat, toolChoice, form.parallelToolCalls, tools])
    const compiled = this.kept.get(key) ?? this.compile(sequence(literal(before), this.answer(form)))
    this.kept.delete(key)
    this.kept.set(key, compiled)
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= MOST_KEPT) break
      this.kept.delete(oldest)
    }
    return compiled
  }

  private compile(grammar: Grammar): CompiledGrammar {
    const compiled = new CompiledGrammar(grammar, this.vocabulary, this.endIds)
    // While the prompt is computed and the model thinks. What goes wrong there does so again where it matters.
    compiled.prepare().catch(() => {})
    return compiled
  }

  private answer({ responseFormat, toolChoice = 'auto', parallelToolCalls = true, tools }: AnswerForm): Grammar {
    const functions = checkTools(tools)
    const text = responseFormat && textGrammar(responseFormat)
    if (toolChoice === 'none' || (toolChoice === 'auto' && functions.length === 0)) return text!
    const named = typeof toolChoice === 'object'
    const calls = this.calls(chosen(functions, toolChoice), parallelToolCalls && !named)
    return text && toolChoice === 'auto' ? choice(text, calls) : calls
  }

  /** A block of calls as the template renders it behind an empty text. */
  private calls(functions: readonly FunctionDefinition[], parallel: boolean): Grammar {
    const tags = { open: this.tag(CALLS), close: this.tag(CALLS_END) }
    return sequence(literal('\n'), toolCalls(functions, tags, { parallel }))
  }

  private tag(text: string): Grammar {
    const id = this.tokenizer.idOf(text)
    return id === undefined ? literal(text) : token(id)
  }
}

function textGrammar(format: NonNullable<ChatOptions['responseFormat']>): Grammar {
  switch (format.type) {
    case 'json_object':
      return jsonObject()
    case 'json_schema':
      return jsonSchema(format.schema, 'responseFormat.schema')
    case 'regex':
      return regex(format.pattern, 'responseFormat.pattern')
  }
}

function chosen(functions: FunctionDefinition[], toolChoice: 'auto' | 'required' | { name: string }) {
  if (functions.length === 0) throw new M2Error('BAD_OPTION', 'toolChoice: expected tools to choose from, found none')
  if (typeof toolChoice === 'string') return functions
  const found = functions.filter((fn) => fn.name === toolChoice.name)
  if (found.length > 0) return found
  const names = functions.map((fn) => fn.name).join(', ')
  throw new M2Error('BAD_OPTION', `toolChoice: expected the name of a tool (${names}), found "${toolChoice.name}"`)
}
