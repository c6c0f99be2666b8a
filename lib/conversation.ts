import { M2Error } from './errors'
import type { Generation, LiveGeneration, Result } from './generation'
import { checkConversationOptions, checkSendOptions } from './generation-settings'
import type { ConversationOptions, SendOptions } from './options'
import { type ChatModel, chatModel, type Prepared, prepareAnswer, type TextModel } from './requests'
import type { JsonObject } from './text/input'
import { THINKING_CLOSE, THINKING_OPEN } from './text/markup'
import { type AssistantTurn, type ChatMessage, checkMessages, type Turn } from './text/messages'
import { OutputParser } from './text/output-parser'
import type { Tokenizer } from './text/tokenizer'
import { checkTools } from './text/tools'
import { Transcript } from './text/transcript'

/** How an engine starts what `prepare` returns, or fails the generation with what it throws. */
type Start = (prepare: (generation: LiveGeneration) => Prepared) => Generation

/** A conversation between two turns; never changes, so forks share it. */
interface State {
  /** One for each of `turns`. */
  messages: readonly ChatMessage[]
  turns: readonly Turn[]
  transcript: Transcript
}

/**
 * A conversation with the model, turn by turn. It is append-only: what was sampled is never rendered again from its text, only new messages are
 * rendered and appended, so each prompt begins with the ids of the turn before and the engine finds their prefix in its cache. What the
 * option `keepReasoning` drops is cut out of the ids, and the others stay.
 *
 * Models whose chat template is one that our code does not know are rendered by it anew where it renders earlier turns differently in the light of
 * the new ones, as where it drops thinking.
 *
 * @example
 * const conversation = engine.conversation({ tools })
 * const { toolCalls } = await conversation.send({ role: 'user', content: 'Look up the lamp.' }).result()
 * const answers = toolCalls.map(({ id, arguments: key }) => ({ role: 'tool' as const, tool_call_id: id, content: lookUp(key) }))
 * const { text } = await conversation.send(answers).result()
 */
export class Conversation {
  private isRunning = false

  private constructor(
    private readonly model: ChatModel,
    private readonly options: ConversationOptions,
    private readonly start: Start,
    private state: State,
  ) {}

  /** @internal Use `engine.conversation`. @throws {M2Error} BAD_OPTION, BAD_INPUT */
  static begin(textModel: TextModel, options: ConversationOptions, start: Start): Conversation {
    const model = chatModel(textModel)
    checkConversationOptions(options, model.facts)
    checkTools(options.tools)
    const { messages = [] } = options
    const turns = Array.isArray(messages) && messages.length === 0 ? [] : checkMessages(messages)
    const state = { messages: messages.map(copied), turns, transcript: Transcript.empty(model.tokenizer) }
    return new Conversation(model, { ...options }, start, state)
  }

  /** What was given and what the model answered so far, an answer that was cut short included. Without a turn that is running. */
  get messages(): ChatMessage[] {
    return this.state.messages.map(copied)
  }

  /**
   * All ids so far, up to the last one sampled; empty before the first turn. The next prompt begins with these, but for the thinking that
   * `keepReasoning` drops.
   */
  get tokenIds(): number[] {
    return Array.from(this.state.transcript.ids)
  }

  /**
   * The next turn: what is new, which the model answers. A user message, or the results of the tools it called; several messages are taken as
   * they are, and none at all is right where the last one was not answered yet.
   *
   * A turn that ends early, by `abort` or a limit, is part of the conversation with what there is. One that fails leaves the conversation
   * as it was. One turn at a time: until it has ended the next one fails. Errors are thrown by the generation, not here.
   */
  send(messages: ChatMessage | readonly ChatMessage[], options: SendOptions = {}): Generation {
    return this.start((generation) => {
      if (this.isRunning) {
        throw new M2Error('BAD_INPUT', 'conversation: expected the turn before to have ended, found it running')
      }
      const { prepared, after } = this.prepare(messages, options)
      this.isRunning = true
      const end = (state: State) => {
        this.isRunning = false
        this.state = state
      }
      generation.settled.then(
        (result) => end(after(result)),
        () => end(this.state),
      )
      return prepared
    })
  }

  /** Another conversation with the same options and the same past, without a turn that is running. */
  fork(): Conversation {
    return new Conversation(this.model, this.options, this.start, this.state)
  }

  private prepare(given: ChatMessage | readonly ChatMessage[], options: SendOptions): NextTurn {
    const { model, state } = this
    const settings = checkSendOptions(options, this.options, model.facts)
    const { tools, keepReasoning } = settings
    const added = [given].flat()
    const turns = [...state.turns, ...checkMessages(added, state.turns)]
    const messages = [...state.messages, ...added.map(copied)]

    const answered = state.transcript.ids.length > 0 ? state.turns.length : 0
    const next = model.template.renderNext(turns, answered, { tools, keepReasoning })
    const past = state.transcript.before(next)
    return {
      prepared: prepareAnswer(model, past.ids, past.missing(next.segments), settings),
      after(result) {
        const turn = answerOf(result, settings.reasoning, model.tokenizer)
        return {
          messages: [...messages, messageOf(turn)],
          turns: [...turns, turn],
          transcript: past.answered(result.promptTokenIds, result.tokenIds),
        }
      },
    }
  }
}

interface NextTurn {
  prepared: Prepared
  /** The conversation with this turn and its answer. */
  after(result: Result): State
}

function answerOf(result: Result, shown: 'split' | 'inline', tokenizer: Tokenizer): AssistantTurn {
  const { text, reasoning, toolCalls } = result
  const thought = shown === 'inline' ? splitInline(result, tokenizer) : { reasoning, content: text }
  const calls = toolCalls.map((call) => ({ ...call, arguments: call.arguments as JsonObject }))
  return { role: 'assistant', ...thought, toolCalls: calls }
}

/** Takes apart what the output parser has put together. The ids say where thinking ends: its text may look as if it did before. */
function splitInline(result: Result, tokenizer: Tokenizer): { reasoning: string; content: string } {
  const { text, promptTokenIds, tokenIds } = result
  const isOpen = tokenizer.decode(promptTokenIds.slice(-2)) === THINKING_OPEN
  const parser = new OutputParser({ tokenizer, startsIn: isOpen ? 'reasoning' : 'text' })
  parser.push('', tokenIds)
  const { reasoning } = parser.end()
  if (reasoning === '' || !text.startsWith(THINKING_OPEN)) return { reasoning: '', content: text }
  const block = THINKING_OPEN + reasoning + THINKING_CLOSE
  if (text.startsWith(block)) return { reasoning, content: text.slice(block.length) }
  return { reasoning: text.slice(THINKING_OPEN.length), content: '' } // a stop string or the end came first
}

function messageOf({ content, reasoning, toolCalls }: AssistantTurn): ChatMessage {
  const calls = toolCalls.map(({ id, name, arguments: given }) => {
    return { id, type: 'function' as const, function: { name, arguments: given } }
  })
  return { role: 'assistant', content, reasoning_content: reasoning, ...(calls.length > 0 && { tool_calls: calls }) }
}

const copied = (message: ChatMessage): ChatMessage => ({ ...message })
