/** Prompts for random models whose answer does not hang on rounding. */
import type { ReferenceModel } from './model'
import { Random } from './random'

/**
 * Grows a prompt token by token: a random id whose routing is a near tie in any layer is drawn anew, so an engine with
 * rounding errors picks the same experts for every token, and what is compared is arithmetic alone.
 *
 * @param minGap smallest gap allowed between the last chosen and the first refused expert's biased score
 */
export function growPrompt(model: ReferenceModel, length: number, minGap: number, seed: number): number[] {
  const random = new Random(seed)
  const prompt: number[] = []
  for (let draws = 0; prompt.length < length; draws++) {
    if (draws > 100 * length) throw new Error(`no prompt of ${length} tokens with gaps of ${minGap}`)
    const id = random.integer(model.vocabSize)
    if (model.step(id, prompt.length, minGap) >= minGap) prompt.push(id)
  }
  return prompt
}
