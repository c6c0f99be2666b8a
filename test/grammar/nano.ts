import path from 'node:path'
import { type CompiledGrammar, Vocabulary } from '../../lib/grammar'
import { Tokenizer } from '../../lib/text/tokenizer'

export type Nano = Awaited<ReturnType<typeof nano>>

/** The embedded model's tokenizer, as grammars see it. */
export async function nano() {
  const tokenizer = await Tokenizer.load(path.join(__dirname, '..', '..', 'models', 'nano'))
  const vocabulary = Vocabulary.of(tokenizer)
  const byteIds = Array.from({ length: 256 }, (_, byte) => {
    const ids = Array.from({ length: vocabulary.size }, (_, id) => id)
    return ids.find((id) => vocabulary.bytesOf(id).length === 1 && vocabulary.bytesOf(id)[0] === byte)!
  })
  const allows = (grammar: CompiledGrammar, text: string) => {
    const matcher = grammar.start()
    return [...Buffer.from(text)].every((byte) => matcher.accept(byteIds[byte]!)) && matcher.canEnd
  }
  return { tokenizer, vocabulary, endId: tokenizer.idOf('[e~[')!, byteIds, allows }
}
