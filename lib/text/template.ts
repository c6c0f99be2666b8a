/**
 * Which way a model's conversations are rendered. A model's own chat template is compared with our formats on the probe conversations: where
 * one is equal on all, ours renders; else the template itself does.
 */
import { checkRenderOptions, type RenderOptions, type RenderSettings, renderSegments } from './chat'
import { type ChatFormat, M2_FORMAT, NANO_FORMAT } from './chat-format'
import { type JinjaSource, JinjaTemplate } from './jinja-template'
import {
  CONTROL_TOKENS,
  ControlTokens,
  DOCUMENT_START,
  joinSegments,
  ROLE_START,
  type Segment,
  TURN_END,
} from './markup'
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
}

/**
 * The template of a model folder: chat_template.jinja, else the one in tokenizer_config.json, else M2's.
 * @param controlTokens the tokenizer's added tokens, which texts of users must not become.
 * @throws M2Error BAD_CHECKPOINT naming the file that is broken.
 */
export async function loadChatTemplate(modelDir: string, controlTokens?: readonly string[]): Promise<ChatTemplate> {
  return chooseTemplate(await findTemplateSource(modelDir), controlTokens)
}

/** @throws M2Error BAD_CHECKPOINT when the source does not work as a template. */
export function chooseTemplate(
  source: JinjaSource | undefined,
  controlTokens: readonly string[] = CONTROL_TOKENS,
): ChatTemplate {
  if (!source) return chatTemplate('native', (turns, settings) => renderSegments(turns, M2_FORMAT, settings))
  const jinja = new JinjaTemplate(source, new ControlTokens(controlTokens))
  const format = equalFormat(jinja, source)
  if (!format) return chatTemplate('jinja', (turns, settings) => jinja.render(turns, settings))
  return chatTemplate('native', (turns, settings) => renderSegments(turns, format, settings))
}

function chatTemplate(
  renderer: ChatTemplate['renderer'],
  render: (turns: readonly Turn[], settings: RenderSettings) => Segment[],
): ChatTemplate {
  return { renderer, render: (messages, options = {}) => render(checkMessages(messages), checkRenderOptions(options)) }
}

/** The known format, with the template's own identity, that renders every probe as the template does. */
function equalFormat(jinja: JinjaTemplate, source: JinjaSource): ChatFormat | undefined {
  if (source.text.includes('strftime_now')) return undefined // what it renders today, it may not tomorrow
  try {
    const rendered = PROBES.map(({ messages, options = {} }) => {
      const [turns, settings] = [checkMessages(messages), checkRenderOptions(options)]
      return { turns, settings, text: joinSegments(jinja.render(turns, settings)) }
    })
    const identity = identityIn(rendered[0]!.text)
    const formats = [M2_FORMAT, NANO_FORMAT].map((format) => ({ ...format, identity }))
    return formats.find((format) =>
      rendered.every(({ turns, settings, text }) => joinSegments(renderSegments(turns, format, settings)) === text),
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
