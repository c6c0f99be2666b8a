/** How answers are drawn: the options that `m2 generate` and `m2 chat` share, and that a chat sets as it goes on. */
import type { Command } from 'commander'
import type { GenerateOptions } from '../index'
import { decimal, whole } from './values'

export type Sampling = Pick<GenerateOptions, 'maxTokens' | 'temperature' | 'topP' | 'topK' | 'minP' | 'seed'>

interface Setting {
  /** "--top-p <p>" */
  flag: string
  help: string
  /** @throws InvalidArgumentError for what is no number of its range */
  read: (text: string) => number
}

export const SAMPLING: Record<keyof Sampling, Setting> = {
  maxTokens: {
    flag: '--max-tokens <n>',
    help: 'most tokens to generate (default: what is left of the context)',
    read: whole({ least: 1 }),
  },
  temperature: {
    flag: '--temperature <t>',
    help: "0 takes the most probable token (default: the model's own)",
    read: decimal({ least: 0 }),
  },
  topP: {
    flag: '--top-p <p>',
    help: 'smallest set of tokens whose probabilities reach p',
    read: decimal({ least: 0, most: 1, above: true }),
  },
  topK: { flag: '--top-k <k>', help: 'the k most probable tokens; 0: all', read: whole({ least: 0 }) },
  minP: {
    flag: '--min-p <p>',
    help: 'tokens at least p times as probable as the most probable',
    read: decimal({ least: 0, most: 1 }),
  },
  seed: { flag: '--seed <n>', help: 'the same seed and prompt give the same tokens', read: whole() },
}

export function addSamplingOptions(command: Command): Command {
  for (const { flag, help, read } of Object.values(SAMPLING)) command.option(flag, help, read)
  return command
}

/** Those of a command's flags that say how to draw. */
export function samplingOf({ maxTokens, temperature, topP, topK, minP, seed }: Sampling): Sampling {
  return { maxTokens, temperature, topP, topK, minP, seed }
}
