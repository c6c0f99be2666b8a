/**
 * Looks for stop strings in streamed text. Text that may still become a stop string is held back, so that no part of one is ever given out.
 * The string that is complete first ends the text; of those that are complete at once, the longest. The result does not depend on how the
 * text is chunked. Each string has a Knuth-Morris-Pratt automaton, whose state is how much of the string the text ends with.
 */
export class StopMatcher {
  readonly #stops: readonly { text: string; fallback: Int32Array }[]
  readonly #matched: Int32Array // per stop string: how many of its units the text ends with
  #held = ''
  #stopped: string | undefined

  /** @param stops none of them empty */
  constructor(stops: readonly string[]) {
    this.#stops = stops.toSorted((a, b) => b.length - a.length).map((text) => ({ text, fallback: fallbacks(text) }))
    this.#matched = new Int32Array(stops.length)
  }

  /** What of the text so far can be given out, and the stop string when one is complete: nothing comes after that. */
  push(text: string): { text: string; stopped?: string } {
    if (this.#stopped !== undefined) return { text: '', stopped: this.#stopped }
    const all = this.#held + text
    for (let at = this.#held.length; at < all.length; at++) {
      const stop = this.#advance(all[at]!)
      if (stop === undefined) continue
      this.#stopped = stop
      this.#held = ''
      return { text: all.slice(0, at + 1 - stop.length), stopped: stop }
    }
    const safe = all.length - Math.max(0, ...this.#matched)
    this.#held = all.slice(safe)
    return { text: all.slice(0, safe) }
  }

  /** What was held back and is no stop string after all. */
  end(): string {
    const rest = this.#held
    this.#held = ''
    this.#matched.fill(0)
    return rest
  }

  /** The longest stop string that `unit` completes. */
  #advance(unit: string): string | undefined {
    let complete: string | undefined
    for (const [i, { text, fallback }] of this.#stops.entries()) {
      let matched = this.#matched[i]!
      while (matched > 0 && text[matched] !== unit) matched = fallback[matched - 1]!
      if (text[matched] === unit) matched++
      this.#matched[i] = matched
      if (matched === text.length) complete ??= text
    }
    return complete
  }
}

/** [i] length of the longest proper beginning of `text` that text[0..i] ends with. */
function fallbacks(text: string): Int32Array {
  const table = new Int32Array(text.length)
  for (let i = 1, matched = 0; i < text.length; i++) {
    while (matched > 0 && text[matched] !== text[i]) matched = table[matched - 1]!
    if (text[matched] === text[i]) matched++
    table[i] = matched
  }
  return table
}
