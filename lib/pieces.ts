/** Work that yields after each small piece, so that it can be done while other things go on. */

/** Milliseconds of work after which the event loop has its turn. */
const PIECE_MS = 2

export async function inPieces<T>(work: Generator<void, T>): Promise<T> {
  let until = performance.now() + PIECE_MS
  for (let step = work.next(); ; step = work.next()) {
    if (step.done) return step.value
    if (performance.now() < until) continue
    await new Promise((resolve) => setImmediate(resolve))
    until = performance.now() + PIECE_MS
  }
}

export function atOnce<T>(work: Generator<void, T>): T {
  for (let step = work.next(); ; step = work.next()) if (step.done) return step.value
}
