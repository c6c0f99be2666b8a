/** New turns of a conversation whose answers were sampled, rendered by a model's own template: found as the difference of two renderings. */
import { isDeepStrictEqual } from 'node:util'
import type { NextTurns, RenderSettings } from './chat'
import type { JinjaTemplate } from './jinja-template'
import { type Segment, TURN_END } from './markup'
import type { AssistantTurn, Turn } from './messages'

/**
 * The turns from index `from` on are what a rendering of all turns has behind a rendering of those before, if the template renders the latter
 * as it did: the turns before the last answer still as before it, and that answer with its thinking and an end of its own. Where not,
 * only a rendering of all turns is sound.
 */
export function nextByTemplate(
  template: Pick<JinjaTemplate, 'render'>,
  turns: readonly Turn[],
  from: number,
  settings: RenderSettings,
): NextTurns {
  const last = turns[from - 1] as AssistantTurn
  const asked = turns.slice(0, from - 1)
  const added = turns.slice(from)
  const past = (answer: Turn[]) => template.render([...asked, ...answer], { ...settings, addGenerationPrompt: false })
  // An answer without thinking would not show whether the template keeps it: its ids have the tags all the same.
  const thoughtful = { ...last, reasoning: last.reasoning || 'thought' }
  const before = past([])
  const answered = past([thoughtful])
  const all = template.render([...asked, thoughtful, ...added], settings)

  const end = endOfTurns(answered)
  const isKept =
    end > endOfTurns(before) &&
    startsWith(answered, before.slice(0, endOfTurns(before) + 1)) &&
    startsWith(all, answered.slice(0, end + 1)) &&
    !isDeepStrictEqual(answered, past([{ ...last, reasoning: '' }]))
  if (isKept) return { segments: all.slice(end), earlier: 'kept' }
  return { segments: template.render(turns, settings), earlier: 'replaced' }
}

/** Index of the last end-of-turn token; -1 where there is none. */
function endOfTurns(segments: readonly Segment[]): number {
  return segments.findLastIndex(({ text, special }) => special && text === TURN_END)
}

function startsWith(segments: readonly Segment[], start: readonly Segment[]): boolean {
  return isDeepStrictEqual(segments.slice(0, start.length), start)
}
