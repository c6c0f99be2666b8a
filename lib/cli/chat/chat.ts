import { homedir } from 'node:os'
import { type ChatMessage, type Generation, M2Error, type Result } from '../../index'
import { errorLine } from '../error-line'
import { INTERRUPTED, TERMINATED } from '../exit-status'
import { dim, isPlain, Printer, visible } from '../printer'
import type { Shell } from '../shell'
import { type CommandName, helpText, readEntry } from './commands'
import { type Lines, readMessage } from './lines'
import { readChat, saveChat } from './saved-chat'
import type { Session, Turn } from './session'
import { changed, settingsText } from './settings'
import { statsText } from './stats'

/** After these nothing works any more. */
const FATAL: readonly unknown[] = ['DEVICE_ERROR', 'CLOSED']

/** Milliseconds without an answer, after which it is said what takes so long. */
const LONG_WAIT = 500

/** What the model is and how long a conversation with it may be. */
export interface ModelLabel {
  name: string
  /** Tokens. */
  context: number
}

/** The talk of a person, or a script, and a model: lines in, answers on stdout, everything else on stderr. */
export class Chat {
  private showsThinking = true
  private running: Generation | undefined
  private isInterrupted = false
  private isTerminated = false
  private readonly isPlain: boolean
  private readonly turn: Turn = {
    watch: (generation) => this.watch(generation),
    resultsOf: (calls) => this.askResults(calls),
  }

  constructor(
    private readonly shell: Shell,
    private readonly lines: Lines,
    private readonly session: Session,
    private readonly model: ModelLabel,
  ) {
    this.isPlain = isPlain(shell.env)
  }

  /** Until someone leaves or the input ends; returns the exit status. */
  async run(): Promise<number> {
    this.shell.onTerminate(() => {
      this.isTerminated = true
      this.running?.abort()
      this.lines.close()
    })
    const status = await this.talk()
    if (this.isTerminated) return TERMINATED
    return this.isInterrupted && !this.lines.isTerminal ? INTERRUPTED : status
  }

  private async talk(): Promise<number> {
    let mayLeave = false
    for (;;) {
      const read = await readMessage(this.lines)
      if (read === 'end' || (read === 'interrupt' && mayLeave)) return 0
      mayLeave = read === 'interrupt'
      if (read === 'interrupt') this.note('Ctrl-C again leaves')
      else if (read.text.trim() !== '') {
        const status = await this.take(read.text)
        if (status !== undefined) return status
      }
    }
  }

  /** @returns the exit status where this was the last */
  private async take(text: string): Promise<number | undefined> {
    try {
      const entry = readEntry(text)
      if ('message' in entry) await this.session.ask(entry.message, this.turn)
      else if (entry.command === 'exit') return 0
      else await this.commands[entry.command](entry.argument)
      return undefined
    } catch (error) {
      if (!(error instanceof M2Error)) throw error
      const hint = error.code === 'CONTEXT_LENGTH_EXCEEDED' ? '; /undo or /reset makes room' : ''
      this.shell.stderr.write(errorLine(error.message + hint))
      return FATAL.includes(error.code) ? 1 : undefined
    }
  }

  private readonly commands: Record<Exclude<CommandName, 'exit'>, (argument: string) => unknown> = {
    help: () => this.say(helpText()),
    stats: () => this.say(statsText(this.session, this.model.context)),
    thinking: (argument) => {
      this.showsThinking = argument === 'on'
      this.note(`thinking is ${this.showsThinking ? 'shown' : 'hidden'}`)
    },
    set: (argument) => {
      if (argument === '') return this.say(settingsText(this.session.sampling))
      this.session.sampling = changed(this.session.sampling, argument)
      this.note(`${argument} from now on`)
    },
    system: (argument) => this.system(argument),
    undo: () => {
      const dropped = this.session.undo()
      this.note(dropped === undefined ? 'there is nothing to undo' : `dropped: ${dropped}`)
    },
    retry: () => this.retry(),
    reset: () => {
      this.begin(this.session.system)
      this.note('a new conversation begins')
    },
    save: async (argument) => {
      const { system, messages } = this.session
      const file = homePath(argument)
      await saveChat(file, {
        model: this.model.name,
        system,
        messages: messages.filter(({ role }) => role !== 'system'),
      })
      this.note(`saved in ${file}`)
    },
    load: (argument) => this.load(homePath(argument)),
  }

  private system(argument: string): void {
    if (argument === '') {
      this.say(`${this.session.system || 'there is no system message'}\n`)
      return
    }
    this.begin(argument === '""' ? '' : argument)
    this.note('a new conversation begins: all that was said before was said under another system message')
  }

  private begin(system: string): void {
    this.session.begin(systemMessages(system))
  }

  private async retry(): Promise<void> {
    const before = this.session.last
    if (!(await this.session.retry(this.turn))) this.note('there is nothing to answer again')
    else if (String(before?.tokenIds) === String(this.session.last?.tokenIds)) {
      this.note('the same answer: /set temperature 1 lets chance in')
    }
  }

  /** @throws {M2Error} BAD_INPUT, which changes nothing */
  async load(file: string): Promise<void> {
    const { model, system, messages } = await readChat(file)
    try {
      this.session.begin([...systemMessages(system), ...messages])
    } catch (error) {
      throw error instanceof M2Error ? new M2Error('BAD_INPUT', `${file}: ${error.message}`) : error
    }
    const whose = model === this.model.name ? '' : `, of another model (${model})`
    this.note(`loaded ${messages.length} messages${whose}; /system shows the system message`)
  }

  private async watch(generation: Generation): Promise<Result> {
    const printer = new Printer(this.shell.stdout, { plain: this.isPlain, hideThinking: !this.showsThinking })
    this.running = generation
    this.shell.onInterrupt(() => {
      this.isInterrupted = true
      generation.abort()
      if (!this.lines.isTerminal) this.lines.close()
    })
    const waiting = setTimeout(() => printer.wait(generation.promptTokens), LONG_WAIT)
    try {
      for await (const chunk of generation) {
        clearTimeout(waiting)
        printer.push(chunk)
      }
    } finally {
      clearTimeout(waiting)
      printer.end()
      this.running = undefined
    }
    const result = await generation.result()
    const note = this.endNote(result)
    if (note !== '') this.note(note)
    if (this.shell.stdout.isTTY) this.shell.stdout.write('\n')
    return result
  }

  /** What is to be said where an answer did not come to its own end. */
  private endNote({ finishReason, text }: Result): string {
    if (finishReason === 'abort') return 'stopped; what there is stays'
    if (finishReason === 'stop') return text === '' ? 'an empty answer' : ''
    if (finishReason === 'tool_calls') return ''
    return this.session.sampling.maxTokens === undefined ? 'cut off: the context is full' : 'cut off by max_tokens'
  }

  /** The person is the tools. */
  private async askResults(calls: Result['toolCalls']): Promise<ChatMessage[] | undefined> {
    if (!this.session.offersTools) return undefined // what a model calls that nobody offered is only shown
    const results: ChatMessage[] = []
    for (const { id, name } of calls) {
      const read = await readMessage(this.lines, `${visible(name)} = `)
      if (typeof read === 'string') {
        this.note('the calls stay without results')
        return undefined
      }
      results.push({ role: 'tool', tool_call_id: id, content: read.text || 'error: no result' })
    }
    return results
  }

  private say(text: string): void {
    this.shell.stderr.write(text)
  }

  private note(text: string): void {
    const line = visible(text).replaceAll(/\s+/g, ' ')
    this.say(`${this.shell.stderr.isTTY && !this.isPlain ? dim(line) : line}\n`)
  }
}

export const systemMessages = (system: string): ChatMessage[] =>
  system === '' ? [] : [{ role: 'system', content: system }]

const homePath = (file: string): string => file.replace(/^~(?=\/)/, homedir())
