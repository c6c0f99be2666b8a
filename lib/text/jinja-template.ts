/**
 * A model's own chat template, rendered by @huggingface/jinja, to segments.
 *
 * A template gives one string, in which its control tokens and the same characters written by a user look alike. So it is rendered twice: with
 * the texts as they are, and with marks (private-use characters) for the first and last characters of control tokens in every text that is
 * not the template's. Control tokens of the marked rendering are the template's own. With the marks taken back it must equal the first one
 * or, where the template looks into texts, at least have the same control tokens; else a text has reached for them, and is refused.
 */
import { Template } from '@huggingface/jinja'
import { M2Error } from '../errors'
import type { RenderSettings } from './chat'
import { reasonOf } from './input'
import { jinjaMessages, jinjaTools, type MapText, type ThinkingPlace } from './jinja-messages'
import { type ControlTokens, joinSegments, type Segment, THINKING_CLOSE, THINKING_OPEN } from './markup'
import type { Turn } from './messages'
import { TextMarks } from './text-marks'

export interface JinjaSource {
  text: string
  /** The file it is from, for messages. */
  file: string
  /** What the template may use besides the messages, such as bos_token. */
  variables: Record<string, string>
}

const PLAIN: RenderSettings = { tools: [], addGenerationPrompt: true, keepReasoning: 'model' }
const unchanged: MapText = (text) => text

export class JinjaTemplate {
  private readonly template: Template
  private allThinking: ThinkingPlace | undefined

  /** @throws M2Error BAD_CHECKPOINT for a template that cannot be parsed, or cannot render a plain conversation. */
  constructor(
    readonly source: JinjaSource,
    private readonly tokens: ControlTokens,
  ) {
    try {
      this.template = new Template(source.text)
      this.run([{ role: 'user', content: 'Hello' }], PLAIN, 'field', unchanged)
    } catch (cause) {
      throw new M2Error(
        'BAD_CHECKPOINT',
        `${source.file}: expected a chat template that works, found: ${reasonOf(cause)}`,
        { cause },
      )
    }
  }

  /**
   * @throws M2Error BAD_INPUT when the template refuses the messages, or a text among them reaches for control tokens; BAD_OPTION when all
   * thinking is to be kept and the template will not have it.
   */
  render(turns: readonly Turn[], settings: RenderSettings): Segment[] {
    const thinking = this.thinkingPlace(settings)
    const marks = new TextMarks(this.tokens, JSON.stringify([turns, settings.tools]))
    let plain: string
    let marked: string
    try {
      plain = this.run(turns, settings, thinking, unchanged)
      marked = this.run(turns, settings, thinking, marks.put)
    } catch (cause) {
      throw new M2Error('BAD_INPUT', `messages: the model's ${this.source.file} refuses them: ${reasonOf(cause)}`, {
        cause,
      })
    }
    const own = this.tokens.split(marked)
    if (marks.remove(marked) === plain) return own.map(({ text, special }) => ({ text: marks.remove(text), special }))
    const found = this.tokens.split(plain)
    if (controlText(found) === controlText(own)) return found
    throw new M2Error(
      'BAD_INPUT',
      `messages: expected texts without control tokens that the model's ${this.source.file} acts on, found some of ${controlText(found)}`,
    )
  }

  private thinkingPlace({ keepReasoning }: RenderSettings): ThinkingPlace {
    if (keepReasoning === 'model') return 'field'
    if (keepReasoning === 'never') return 'nowhere'
    this.allThinking ??= this.findAllThinking()
    if (this.allThinking !== 'nowhere') return this.allThinking
    throw new M2Error(
      'BAD_OPTION',
      `keepReasoning: expected "model" or "never", found "always": the model's ${this.source.file} drops thinking`,
    )
  }

  /** Where thinking before the last user message must stand for the template to render it. */
  private findAllThinking(): ThinkingPlace {
    const turns: Turn[] = [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'answer', reasoning: 'thought', toolCalls: [] },
      { role: 'user', content: 'Bye' },
    ]
    const rendered = (place: ThinkingPlace) => this.run(turns, PLAIN, place, unchanged)
    if (rendered('field').includes('thought')) return 'field'
    return rendered('content').includes(`${THINKING_OPEN}thought${THINKING_CLOSE}answer`) ? 'content' : 'nowhere'
  }

  private run(turns: readonly Turn[], settings: RenderSettings, thinking: ThinkingPlace, text: MapText): string {
    return this.template.render({
      ...this.source.variables,
      messages: jinjaMessages(turns, thinking, text),
      tools: jinjaTools(settings.tools, text),
      add_generation_prompt: settings.addGenerationPrompt,
    })
  }
}

const controlText = (segments: readonly Segment[]): string =>
  joinSegments(segments.filter((segment) => segment.special))
