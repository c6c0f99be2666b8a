/**
 * The MiniMax-M2 forward pass in float64, one token at a time, written from the description of the architecture alone:
 *
 *   x = embed[id]; per layer: x += o(attention(rope(norm(q h)), rope(norm(k h)), v h)), h = norm(x); x += experts(norm(x))
 *   logits = head norm(x)
 *
 * The same maths in naive bf16 (weights, and every value that an operation puts out, rounded to bf16; router and logits not)
 * gives the size of error that low precision makes here, the yardstick for the engine's own.
 */
import type { ReferenceCheckpoint } from './checkpoint-reader'
import { roundToBf16 } from './number-formats'

/** What becomes of each value that an operation puts out. */
type Rounding = (values: Float64Array) => void

const exact: Rounding = () => {}

/** What becomes of the K (which 0) or V (1) of a token in a layer, [Hk D], on the way into the cache. */
export type Keeping = (values: Float64Array, layer: number, which: number) => void

interface Layer {
  index: number
  inputNorm: Float64Array
  q: Float64Array
  k: Float64Array
  v: Float64Array
  o: Float64Array
  qNorm: Float64Array
  kNorm: Float64Array
  postNorm: Float64Array
  gate: Float64Array
  bias: Float64Array
  experts: { w1: Float64Array; w2: Float64Array; w3: Float64Array }[]
  keys: Float64Array[] // per position [Hk D]
  values: Float64Array[]
}

export class ReferenceModel {
  readonly vocabSize: number
  /** Of the last step: the experts of each layer, best first. */
  routes: number[][] = []
  readonly #config: ReferenceCheckpoint['config']
  readonly #round: Rounding
  readonly #embed: Float64Array
  readonly #layers: Layer[]
  readonly #finalNorm: Float64Array
  readonly #head: Float64Array
  #state = new Float64Array()

  readonly #keep: Keeping

  constructor(
    { config, tensors }: ReferenceCheckpoint,
    numbers: 'float64' | 'naive bf16' = 'float64',
    keep: Keeping = () => {},
  ) {
    this.#keep = keep
    const round = numbers === 'float64' ? exact : roundToBf16
    const raw = (name: string) => tensors.get(name) ?? fail(name)
    const weight = (name: string) => {
      const values = raw(name)
      if (round === exact) return values
      const rounded = values.slice()
      round(rounded)
      return rounded
    }
    this.#config = config
    this.#round = round
    this.vocabSize = config.vocab_size!
    this.#embed = weight('model.embed_tokens.weight')
    this.#finalNorm = weight('model.norm.weight')
    this.#head = config.tie_word_embeddings ? this.#embed : weight('lm_head.weight')
    this.#layers = Array.from({ length: config.num_hidden_layers! }, (_, layer) => {
      const prefix = `model.layers.${layer}`
      const attention = `${prefix}.self_attn`
      const moe = `${prefix}.block_sparse_moe`
      return {
        index: layer,
        inputNorm: weight(`${prefix}.input_layernorm.weight`),
        q: weight(`${attention}.q_proj.weight`),
        k: weight(`${attention}.k_proj.weight`),
        v: weight(`${attention}.v_proj.weight`),
        o: weight(`${attention}.o_proj.weight`),
        qNorm: weight(`${attention}.q_norm.weight`),
        kNorm: weight(`${attention}.k_norm.weight`),
        postNorm: weight(`${prefix}.post_attention_layernorm.weight`),
        gate: raw(`${moe}.gate.weight`),
        bias: raw(`${moe}.e_score_correction_bias`),
        experts: Array.from({ length: config.num_local_experts! }, (_, expert) => ({
          w1: weight(`${moe}.experts.${expert}.w1.weight`),
          w2: weight(`${moe}.experts.${expert}.w2.weight`),
          w3: weight(`${moe}.experts.${expert}.w3.weight`),
        })),
        keys: [],
        values: [],
      }
    })
  }

  /**
   * Computes one token at its position (all before it must have been given; a position may be given again) and returns
   * the smallest gap, over the layers, between the last chosen and the first refused expert's biased score. Stops early,
   * with nothing usable, when a gap is below `minGap`.
   */
  step(id: number, position: number, minGap = 0): number {
    const { hidden_size: C, rms_norm_eps: eps } = this.#config as Record<string, number>
    const x = this.#embed.slice(id * C!, (id + 1) * C!)
    let smallestGap = Number.POSITIVE_INFINITY
    this.routes = []
    for (const layer of this.#layers) {
      add(x, this.#attention(layer, this.#norm(x, layer.inputNorm, eps!), position))
      this.#round(x)
      const h = this.#norm(x, layer.postNorm, eps!)
      const { experts, weights, gap } = this.#route(layer, h)
      smallestGap = Math.min(smallestGap, gap)
      if (gap < minGap) return gap
      this.routes.push(experts)
      add(x, this.#experts(layer, h, experts, weights))
      this.#round(x)
    }
    this.#state = x
    return smallestGap
  }

  /** Log-probabilities [V] of the token after the last step. */
  logprobs(): Float64Array {
    const h = this.#norm(this.#state, this.#finalNorm, this.#config.rms_norm_eps!)
    return logSoftmax(product(this.#head, h))
  }

  #norm(x: Float64Array, weight: Float64Array, eps: number): Float64Array {
    let squares = 0
    for (let i = 0; i < x.length; i++) squares += x[i]! * x[i]!
    const scale = 1 / Math.sqrt(squares / x.length + eps)
    const out = new Float64Array(x.length)
    for (let i = 0; i < x.length; i++) out[i] = x[i]! * scale * weight[i]!
    this.#round(out)
    return out
  }

  #linear(weight: Float64Array, x: Float64Array): Float64Array {
    const out = product(weight, x)
    this.#round(out)
    return out
  }

  /** Pairs (i, i + R/2) of the first R dims of each head turn by position * theta^(-2i/R). */
  #rope(x: Float64Array, position: number): Float64Array {
    const { head_dim: D, rotary_dim: R, rope_theta: theta } = this.#config as { [name: string]: number }
    for (let i = 0; i < R! / 2; i++) {
      const angle = position * theta! ** ((-2 * i) / R!)
      const turn = Float64Array.of(Math.cos(angle), Math.sin(angle))
      this.#round(turn)
      for (let a = i; a < x.length; a += D!) {
        const b = a + R! / 2
        const [first, second] = [x[a]!, x[b]!]
        x[a] = first * turn[0]! - second * turn[1]!
        x[b] = second * turn[0]! + first * turn[1]!
      }
    }
    this.#round(x)
    return x
  }

  #attention(layer: Layer, h: Float64Array, position: number): Float64Array {
    const { head_dim, num_attention_heads: Hq, num_key_value_heads: Hk, rms_norm_eps: eps } = this.#config
    const D = head_dim!
    const q = this.#rope(this.#norm(this.#linear(layer.q, h), layer.qNorm, eps!), position)
    layer.keys[position] = this.#rope(this.#norm(this.#linear(layer.k, h), layer.kNorm, eps!), position)
    layer.values[position] = this.#linear(layer.v, h)
    this.#keep(layer.keys[position]!, layer.index, 0)
    this.#keep(layer.values[position]!, layer.index, 1)

    const out = new Float64Array(Hq! * D)
    const scores = new Float64Array(position + 1)
    for (let head = 0; head < Hq!; head++) {
      const start = head * D
      const kvStart = Math.floor(head / (Hq! / Hk!)) * D
      for (let t = 0; t <= position; t++) {
        const key = layer.keys[t]!
        let dot = 0
        for (let d = 0; d < D; d++) dot += q[start + d]! * key[kvStart + d]!
        scores[t] = dot / Math.sqrt(D)
      }
      this.#round(scores)
      const probabilities = logSoftmax(scores).map(Math.exp)
      this.#round(probabilities)
      for (let t = 0; t <= position; t++) {
        const value = layer.values[t]!
        const p = probabilities[t]!
        for (let d = 0; d < D; d++) out[start + d]! += p * value[kvStart + d]!
      }
    }
    this.#round(out)
    return this.#linear(layer.o, out)
  }

  #route(layer: Layer, h: Float64Array): { experts: number[]; weights: number[]; gap: number } {
    const A = this.#config.num_experts_per_tok!
    const scores = product(layer.gate, h).map((logit) => 1 / (1 + Math.exp(-logit)))
    const biased = scores.map((score, e) => score + layer.bias[e]!)
    const ranked = [...biased.keys()].sort((a, b) => biased[b]! - biased[a]! || a - b)
    const experts = ranked.slice(0, A)
    const sum = experts.reduce((total, e) => total + scores[e]!, 0)
    const gap = A < ranked.length ? biased[ranked[A - 1]!]! - biased[ranked[A]!]! : Number.POSITIVE_INFINITY
    return { experts, weights: experts.map((e) => scores[e]! / sum), gap }
  }

  #experts(layer: Layer, h: Float64Array, experts: number[], weights: number[]): Float64Array {
    const out = new Float64Array(h.length)
    for (const [i, e] of experts.entries()) {
      const { w1, w2, w3 } = layer.experts[e]!
      const gated = this.#linear(w1, h).map((gate) => gate / (1 + Math.exp(-gate)))
      this.#round(gated)
      const up = this.#linear(w3, h)
      const y = this.#linear(w2, this.#rounded(gated.map((gate, f) => gate * up[f]!)))
      add(out, this.#rounded(y.map((value) => weights[i]! * value)))
      this.#round(out)
    }
    return out
  }

  #rounded(values: Float64Array): Float64Array {
    this.#round(values)
    return values
  }
}

/** weight [N, K] times x [K]; four sums that V8 keeps in registers. */
function product(weight: Float64Array, x: Float64Array): Float64Array {
  const K = x.length
  const out = new Float64Array(weight.length / K)
  for (let n = 0, w = 0; n < out.length; n++) {
    let [a, b, c, d] = [0, 0, 0, 0]
    for (let k = 0; k < K; k += 4, w += 4) {
      a += weight[w]! * x[k]!
      b += weight[w + 1]! * x[k + 1]!
      c += weight[w + 2]! * x[k + 2]!
      d += weight[w + 3]! * x[k + 3]!
    }
    out[n] = a + b + c + d
  }
  return out
}

function add(x: Float64Array, y: Float64Array): void {
  for (let i = 0; i < x.length; i++) x[i]! += y[i]!
}

function logSoftmax(x: Float64Array): Float64Array {
  const max = x.reduce((a, b) => Math.max(a, b))
  const sum = x.reduce((total, value) => total + Math.exp(value - max), 0)
  const norm = max + Math.log(sum)
  return x.map((value) => value - norm)
}

function fail(name: string): never {
  throw new Error(`the checkpoint has no ${name}`)
}
