import { AnswerGrammars } from '../../lib/answer-grammars'
import { Engine } from '../../lib/engine'
import { Vocabulary } from '../../lib/grammar'
import type { LoadedModel } from '../../lib/loaded-model'
import type { ChatTemplate } from '../../lib/text/template'
import type { Tokenizer } from '../../lib/text/tokenizer'
import { FakeModel, nextId } from './fake-model'

export interface FakeEngineOptions {
  pages?: number
  pageSize?: number
  rows?: number
  stepTokens?: number
  vocabSize?: number
  context?: number
  eosTokenIds?: number[]
  queue?: number
  prefixCache?: boolean
  tokenizer?: Tokenizer | null
  template?: ChatTemplate | null
}

/** An engine over a model of invented ids, without a tokenizer unless one is given. */
export function fakeEngine(options: FakeEngineOptions = {}) {
  const { pages = 64, pageSize = 4, rows = 8, stepTokens = 16, vocabSize = 500, eosTokenIds = [] } = options
  const { context = 200, queue = 1000, prefixCache = true, tokenizer = null, template = null } = options
  const model = new FakeModel({ pages, pageSize, rows, stepTokens, vocabSize })
  const generation = { temperature: 0, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1 }
  const engine = new Engine({
    core: model,
    tokenizer,
    template,
    grammars: tokenizer && new AnswerGrammars(tokenizer, Vocabulary.of(tokenizer, vocabSize), eosTokenIds),
    info: { directory: 'nowhere' } as LoadedModel['info'],
    facts: { vocabSize, context, rows, eosTokenIds, generation, hasTokenizer: tokenizer !== null },
    pageFormat: async () => {
      const shape = { pageSize, layers: 1, kvHeads: 1, headDim: 1 }
      return { model: 'fake', kvDtype: 'f32', kvScales: 'none', ...shape, numerics: model.numerics }
    },
    limits: { pages, pageSize, rows, stepTokens, contextPerToken: Infinity, queue, prefixCache },
  })
  /** The ids that the model continues a prompt with, greedily. */
  const expected = (prompt: readonly number[], count: number): number[] => {
    const tokens = [...prompt]
    for (let i = 0; i < count; i++) {
      tokens.push(nextId(tokens, vocabSize, { temperature: 0, seedLow: 0, sampleIndex: 0 }))
    }
    return tokens.slice(prompt.length)
  }
  return { engine, model, expected }
}
