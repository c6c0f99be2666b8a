/** What quantising lost, by layer. */
import { TENSOR_KINDS, type TensorTable } from '../native'

/** Of one tensor, or of several together. */
export interface Loss {
  squaredError: number
  squaredWeights: number
  groups: number
  /** Groups with a weight that lies outside of what the codes reach. */
  clipped: number
}

/** Of the experts of one layer. Errors are relative: the root of the squared errors over the squared weights. */
export interface LayerLoss {
  layer: number
  /** Of the gate, up and down matrices of all experts. */
  w1: number
  w3: number
  w2: number
  /** Share of the groups of which weights were clipped. */
  clipped: number
  /** The matrix that lost most. */
  worst: { expert: number; matrix: string; error: number }
}

export const relativeError = ({ squaredError, squaredWeights }: Loss): number =>
  squaredWeights > 0 ? Math.sqrt(squaredError / squaredWeights) : 0

const NONE: Loss = { squaredError: 0, squaredWeights: 0, groups: 0, clipped: 0 }

export const sumOf = (losses: Iterable<Loss>): Loss => {
  const sum = { ...NONE }
  for (const loss of losses) {
    sum.squaredError += loss.squaredError
    sum.squaredWeights += loss.squaredWeights
    sum.groups += loss.groups
    sum.clipped += loss.clipped
  }
  return sum
}

/** Gathers the losses of tensors; a layer is told when all of its experts are there. */
export class Losses {
  readonly layers: LayerLoss[] = []
  private readonly byLayer = new Map<number, { expert: number; matrix: string; loss: Loss }[]>()
  private readonly perLayer: number

  constructor(
    private readonly table: TensorTable,
    private readonly onLayer: (layer: LayerLoss) => void,
  ) {
    this.perLayer = 3 * (1 + table.expert.reduce((most, expert) => Math.max(most, expert), -1))
  }

  add(tensor: number, loss: Loss): void {
    const layer = this.table.layer[tensor]!
    const known = this.byLayer.get(layer) ?? []
    this.byLayer.set(layer, known)
    known.push({ expert: this.table.expert[tensor]!, matrix: TENSOR_KINDS[this.table.kind[tensor]!]!, loss })
    if (known.length < this.perLayer) return
    const of = (matrix: string) =>
      relativeError(sumOf(known.filter((one) => one.matrix === matrix).map(({ loss }) => loss)))
    const { groups, clipped } = sumOf(known.map(({ loss }) => loss))
    const [worst] = known.sort((a, b) => relativeError(b.loss) - relativeError(a.loss))
    const { expert, matrix } = worst!
    const report = {
      ...{ layer, w1: of('w1'), w3: of('w3'), w2: of('w2'), clipped: clipped / groups },
      worst: { expert, matrix, error: relativeError(worst!.loss) },
    }
    this.layers.push(report)
    this.byLayer.delete(layer)
    this.onLayer(report)
  }
}
