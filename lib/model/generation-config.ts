/** The sampling defaults of generation_config.json. */
import type { JsonFields } from './json-fields'

export interface GenerationDefaults {
  /** 0 is greedy: what the file means by do_sample false. */
  temperature: number
  topP: number
  /** 0: off */
  topK: number
  minP: number
  repetitionPenalty: number
}

/** A missing file or field gives the neutral value: temperature 1, nothing truncated, no penalty. */
export function readGenerationDefaults(fields: JsonFields | null): GenerationDefaults {
  const share = (name: string) => fields?.number(name, 'a number from 0 to 1', (value) => value >= 0 && value <= 1)
  const temperature = fields?.number('temperature', 'a number of at least 0', (value) => value >= 0)
  const topK = fields?.number('top_k', 'an integer of at least -1', (value) => Number.isInteger(value) && value >= -1)
  return {
    temperature: fields?.boolean('do_sample') === false ? 0 : (temperature ?? 1),
    topP: share('top_p') ?? 1,
    topK: Math.max(0, topK ?? 0), // -1 is how some files write "off"
    minP: share('min_p') ?? 0,
    repetitionPenalty: fields?.positive('repetition_penalty') ?? 1,
  }
}
