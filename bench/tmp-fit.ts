import { M2 } from '../test/model/folder'
import { holdWeights } from '../lib/model/held-weights'
import { BF16, weightShapes } from '../lib/model/parameters'
import { fitMemory, fitRequest } from '../lib/model/fit'
import { formatBytes } from '../lib/model/byte-size'
const config = { ...M2, maxPositionEmbeddings: 196608 } as never
const gib = 2 ** 30
for (const [name, stored] of [['bf16 others', weightShapes(M2).map(() => BF16)], ['fp8 others', weightShapes(M2).map((_: unknown, i: number) => (i === 0 ? BF16 : { format: 'fp8', group: 0, zeros: false }))]] as const) {
  const held = holdWeights(M2, stored as never, 'cuda:0', 'int4')
  for (const kvDtype of ['fp8', 'bf16'] as const) {
    try {
      const fit = fitMemory(fitRequest(config, { available: 139 * gib, dedicated: true, weights: held.bytes }, { kvDtype, pageSize: 64, kvMemory: undefined, maxContext: undefined, maxSequences: 16, maxStepTokens: 2048 }))
      console.log(name, kvDtype, formatBytes(held.bytes), fit.maxContext, fit.pages * 64, formatBytes(fit.kvBytes))
    } catch (e) { console.log(name, kvDtype, (e as Error).message) }
  }
}
