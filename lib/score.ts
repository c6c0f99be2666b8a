/** Log probabilities of text that is there already: its tokens go through the steps as a prompt's do, and nothing is sampled. */
import { M2Error } from './errors'
import type { SharedSettings } from './generation-settings'
import type { Request, Runner, SequenceOwner } from './runner'
import { type Sampling, Sequence } from './sequence'
import type { SignalHub } from './signal-hub'

const NOT_SAMPLED: Sampling = {
  ...{ temperature: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, topK: 0 },
  ...{ logprobs: -1, seedLow: 0, seedHigh: 0, biasIds: new Int32Array(0), biasValues: new Float32Array(0) },
}

/** The scores of checked ids. @throws {M2Error} CLOSED, QUEUE_FULL, DEVICE_ERROR; the signal's reason when it fires. */
export async function runScore(
  arrival: number,
  ids: Int32Array,
  { priority, cacheSalt, signal }: SharedSettings,
  runner: Runner,
  signals: SignalHub,
): Promise<Float32Array> {
  if (signal?.aborted) throw signal.reason
  if (ids.length === 1) return Float32Array.of(Number.NaN)
  const sequence = new Sequence({
    ...{ arrival, sampleIndex: 0, prompt: ids, maxLength: ids.length, priority, deadline: Infinity, cacheSalt },
    ...{ sampling: NOT_SAMPLED, isScored: true },
  })
  return new Promise((resolve, reject) => {
    let isCut = false
    const owner: SequenceOwner = {
      sequence,
      accept: () => false, // nothing is sampled
      end(reason) {
        isCut = reason === 'abort'
      },
    }
    const abort = () => runner.abort(request)
    const release = () => signal && signals.unfollow(signal, abort)
    const request: Request = {
      samples: [owner],
      complete() {
        release()
        if (!isCut) resolve(sequence.scores!)
        else reject(signal?.aborted ? signal.reason : new M2Error('CLOSED', 'score: the engine was closed meanwhile'))
      },
      fail(error) {
        release()
        reject(error)
      },
    }
    runner.submit(request)
    if (signal) signals.follow(signal, abort)
  })
}
