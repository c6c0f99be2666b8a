/**
 * The reference model of these tests, float64 and written from a description, against the implementation that MiniMax-M2 is published with. This half writes
 * random checkpoints with prompts and the reference's logprobs; parity.py, where PyTorch and transformers are, runs transformers' MiniMaxM2ForCausalLM
 * on them and compares.
 *
 *   node -r ./bench/typescript.cjs test/reference/parity/write.ts DIR
 *   python3 test/reference/parity/parity.py DIR
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { readCheckpoint } from '../checkpoint-reader'
import { writeRandomModel } from '../checkpoint-writer'
import { ReferenceModel } from '../model'
import { growPrompt } from '../prompt'

const COMMON = { rotaryDim: 16, ropeTheta: 5e6, rmsNormEps: 1e-6 }
const CASES = [
  {
    name: 'grouped-queries',
    tokens: 60,
    geometry: {
      ...COMMON,
      vocabSize: 300,
      hiddenSize: 64,
      layers: 3,
      heads: 6,
      kvHeads: 2,
      headDim: 32,
      experts: 16,
      expertsPerToken: 4,
      expertHidden: 32,
    },
  },
  {
    name: 'heads-of-128-half-rotated',
    tokens: 40,
    geometry: {
      ...COMMON,
      rotaryDim: 64,
      vocabSize: 500,
      hiddenSize: 96,
      layers: 2,
      heads: 6,
      kvHeads: 1,
      headDim: 128,
      experts: 32,
      expertsPerToken: 8,
      expertHidden: 64,
    },
  },
]
/** Between the scores of a chosen and a refused expert: float32 routers choose the same. */
const MIN_GAP = 1e-3

export function writeParityCases(dir: string): void {
  for (const [i, { name, tokens, geometry }] of CASES.entries()) {
    const model = path.join(dir, name)
    writeRandomModel(model, { geometry, seed: 100 + i, dtype: 'F32' })
    const checkpoint = readCheckpoint(model)
    const prompt = growPrompt(new ReferenceModel(checkpoint), tokens, MIN_GAP, 200 + i)
    const reference = new ReferenceModel(checkpoint)
    const logprobs = prompt.map((id, position) => {
      reference.step(id, position)
      return Array.from(reference.logprobs())
    })
    writeFileSync(path.join(model, 'parity.json'), JSON.stringify({ prompt, logprobs }))
  }
}

if (require.main === module) writeParityCases(process.argv[2] ?? '.')
