import type { Grammar } from './grammar'
import { stringOf, stringOfLength } from './json-string'
import type { TextGraph } from './text-graph'

/** How strings are written: quoted, or raw as the text of a tool's parameter. All other values are JSON in both. */
export interface Writing {
  /** Any string of `min` to `max` code points. */
  ofLength(min: number, max: number, where: string): Grammar
  /** The strings whose texts are in the graph. */
  of(texts: TextGraph, where: string): Grammar
  /** One string; undefined when it cannot be written. */
  one(text: string): string | undefined
}

export const JSON_WRITING: Writing = {
  ofLength: stringOfLength,
  of: stringOf,
  one: (text) => JSON.stringify(text),
}
