import type { ConversationOptions } from '../../lib/options'
import type { ChatTemplate } from '../../lib/text/template'
import type { Tokenizer } from '../../lib/text/tokenizer'
import { fakeEngine } from './fake-engine'

const TURN_END = 3

/** An engine whose model says what it is told, for one prompt after the other. The tokenizer is that of the embedded model. */
export function toldEngine(tokenizer: Tokenizer, template: ChatTemplate, context = 2000) {
  const sizes = { vocabSize: 1536, context, pages: 2000, stepTokens: 512, eosTokenIds: [TURN_END] }
  const { engine, model } = fakeEngine({ ...sizes, tokenizer, template })
  let script: number[] = []
  let start = -1
  model.nextId = (tokens) => {
    if (start < 0) start = tokens.length
    return script[tokens.length - start]
  }
  /** What the model says next: a text, or its ids. */
  const say = (said: string | readonly number[]) => {
    script = typeof said === 'string' ? [...tokenizer.encode(said)] : [...said]
    start = -1
  }
  const begin = (options: ConversationOptions = {}) => engine.conversation({ temperature: 0, ...options })
  return { engine, model, say, begin }
}
