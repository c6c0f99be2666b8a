/** PyTorch in a process of its own, asked for one op at a time, so that both sides take turns on the same device. */
import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface, type Interface } from 'node:readline'

/** Microseconds by the name of the way that PyTorch took. */
export type TorchTimes = Record<string, number>

export class Torch {
  /** Its version, or why it is not there. */
  readonly facts: string
  readonly #child: ChildProcess | undefined
  readonly #lines: AsyncIterator<string> | undefined

  private constructor(facts: string, child?: ChildProcess, lines?: AsyncIterator<string>) {
    this.facts = facts
    this.#child = child
    this.#lines = lines
  }

  static async start(): Promise<Torch> {
    const child = spawn('python3', [path.join(__dirname, 'torch_ops.py')], { stdio: ['pipe', 'pipe', 'pipe'] })
    let complaint = ''
    child.stderr!.on('data', (text) => {
      complaint += text
    })
    child.stdin!.on('error', () => {}) // it has ended: its next answer says so
    child.on('error', (error) => {
      complaint += error.message
    })
    const reader: Interface = createInterface({ input: child.stdout! })
    const lines = reader[Symbol.asyncIterator]()
    const first = await lines.next()
    if (first.done) return new Torch(`not there: ${complaint.trim().split('\n').at(-1)}`)
    return new Torch(`PyTorch ${JSON.parse(first.value).torch}`, child, lines)
  }

  /** Nothing where PyTorch is not there or cannot run the op. */
  async time(spec: object): Promise<TorchTimes> {
    if (!this.#child || !this.#lines) return {}
    this.#child.stdin!.write(`${JSON.stringify(spec)}\n`)
    const answer = await this.#lines.next()
    if (answer.done) return {}
    const { error, ...times } = JSON.parse(answer.value)
    if (error) console.error(`PyTorch: ${error}`)
    return times
  }

  stop(): void {
    this.#child?.kill()
  }
}
