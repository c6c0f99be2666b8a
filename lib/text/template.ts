/**
 * Which way a model's conversations are rendered. A model's own chat template is compared with our formats on the probe conversations: where
 * one is equal on all, ours renders; else the template itself does.
 */
import { isDeepStrictEqual } from 'node:util'
import {
  checkRenderOptions,
  type NextTurns,
  type RenderOptions,
  type RenderSettings,
  renderNext,
  renderSegments,
} from './chat'
import { type ChatFormat, M2_FORMAT, NANO_FORMAT } from './chat-format'
import { nextByTemplate } from './jinja-next'
import { type JinjaSource, JinjaTemplate } from './jinja-template'
import { ControlTokens, DOCUMENT_START, joinSegments, ROLE_START, type Segment, TURN_END } from './markup'
import { type ChatMessage, checkMessages, type Turn } from './messages'
import { PROBES } from './probes'
import { findTemplateSource } from './template-source'

export interface ChatTemplate {
  /** Whether our code renders, or @huggingface/jinja the model's own template. */
  readonly renderer: 'native' | 'jinja'
  /**
   * @throws M2Error BAD_INPUT naming the message or tool that is not sound, or when the model's template refuses the conversation; BAD_OPTION.
   */
  render(messages: readonly ChatMessage[], options?: Omit<RenderOptions, 'identity'>): Segment[]
  /**
   * Renders only the turns from index `from` on; the one before them is an answer that was sampled (0: there is none). Our code appends always.
   * The model's own template does where it renders everything before as it did: where not, as where it drops thinking, all is rendered anew.
   * @throws as `render`
   */
  renderNext(turns: readonly Turn[], from: number, options?: Omit<RenderOptions, 'identity'>): NextTurns
}

/**
 * The template of a model folder: chat_template.jinja, else the one in tokenizer_config.json, else M2's.
 * @param controlTokens the tokenizer's added tokens: what templates may write and texts of users must not become. Default: those of M2's format.
 * @throws M2Error BAD_CHECKPOINT naming the file that is broken.
 */
export async function loadChatTemplate(modelDir: string, controlTokens?: readonly string[]): Promise<ChatTemplate> {
  return chooseTemplate(await findTemplateSource(modelDir), controlTokens)
}

/** @throws M2Error BAD_CHECKPOINT when the source does not work as a template. */
export function chooseTemplate(source: JinjaSource | undefined, controlTokens?: readonly string[]): ChatTemplate {
  const tokens = new ControlTokens(controlTokens)
  const jinja = source && new JinjaTemplate(source, tokens)
  const format = jinja ? equalFormat(jinja, tokens) : M2_FORMAT
  const renderAll = (turns: readonly Turn[], settings: RenderSettings) =>
    format ? renderSegments(turns, format, settings, tokens) : jinja!.render(turns, settings)
  return {
    renderer: format ? 'native' : 'jinja',
    render(messages, options = {}) {
      return renderAll(checkMessages(messages), checkRenderOptions(options))
    },
    renderNext(turns, from, options = {}) {
      const settings = checkRenderOptions(options)
      if (from === 0) return { segments: renderAll(turns, settings), earlier: 'replaced' }
      return format ? renderNext(turns, from, format, settings, tokens) : nextByTemplate(jinja!, turns, from, settings)
    },
  }
}

/** The known format, with the template's own identity, that renders every probe as the template does. */
function equalFormat(jinja: JinjaTemplate, tokens: ControlTokens): ChatFormat | undefined {
  if (jinja.source.text.includes('strftime_now')) return undefined // what it renders today, it may not tomorrow
  try {
    const probes = PROBES.map(({ messages, options = {} }) => {
      const [turns, settings] = [checkMessages(messages), checkRenderOptions(options)]
      return { turns, settings, segments: jinja.render(turns, settings) }
    })
    const identity = identityIn(joinSegments(probes[0]!.segments))
    return [M2_FORMAT, NANO_FORMAT]
      .map((format) => ({ ...format, identity }))
      .find((format) =>
        probes.every(({ turns, settings, segments }) =>
          isDeepStrictEqual(renderSegments(turns, format, settings, tokens), segments),
        ),
      )
  } catch {
    return undefined // a template that refuses a probe is not equal to ours
  }
}

/** The system text of a conversation that brings none. */
function identityIn(rendered: string): string {
  const start = `${DOCUMENT_START}${ROLE_START}system\n`
  const end = rendered.indexOf(TURN_END)
  return rendered.startsWith(start) && end >= 0 ? rendered.slice(start.length, end) : ''
}
