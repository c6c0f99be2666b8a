/** Tool calls while they are written: from parameters to fragments of JSON. */
import { randomUUID } from 'node:crypto'
import { argumentValue, isPlainString } from './tool-arguments'
import type { FunctionDefinition } from './tools'

/** A part of a tool call: `id` and `name` once, when the call begins, then fragments that join to the JSON of its arguments. */
export interface ToolCallDelta {
  /** Which of the output's calls, from 0. */
  index: number
  id?: string
  name?: string
  /** May be empty. */
  arguments: string
}

/** A call the model made. Its name may be one that was not offered. */
export interface ToolCall {
  id: string
  name: string
  arguments: object
}

/** Moves deltas behind others; those of one call become one. */
export function joinToolCalls(into: ToolCallDelta[], added: readonly ToolCallDelta[]): void {
  for (const delta of added) {
    const last = into.at(-1)
    if (last?.index === delta.index) last.arguments += delta.arguments
    else into.push(delta)
  }
}

/**
 * One call. A parameter that can only be a string is given out as it arrives, all others when they are complete. Of parameters of one name
 * the first counts, as it has been given out when another comes.
 */
export class CallWriter {
  readonly call: ToolCall
  private readonly given = new Map<string, unknown>()
  private name = '' // of the parameter that is open
  private text = ''
  private state: 'none' | 'whole' | 'streamed' | 'ignored' = 'none'
  private half = '' // the first half of a character

  constructor(
    name: string,
    private readonly fn: FunctionDefinition | undefined,
    private readonly emit: (json: string) => void,
  ) {
    this.call = { id: `call_${randomUUID().replaceAll('-', '')}`, name, arguments: {} }
  }

  parameter(name: string): void {
    this.name = name
    this.text = ''
    this.state = this.given.has(name) ? 'ignored' : isPlainString(this.fn, name) ? 'streamed' : 'whole'
    if (this.state === 'streamed') this.emit(`${this.key()}"`)
  }

  value(text: string): void {
    this.text += text
    if (this.state === 'streamed') this.stream(text)
  }

  parameterEnd(): void {
    if (this.state === 'streamed') this.endString()
    if (this.state === 'whole') {
      const json = JSON.stringify(argumentValue(this.fn, this.name, this.text))
      this.emit(this.key() + json)
      this.given.set(this.name, JSON.parse(json)) // what a reader of the fragments gets
    }
    this.state = 'none'
  }

  /** The call ends. Of a parameter that is still open a string counts, as far as it came. */
  end(): void {
    if (this.state === 'streamed') this.endString()
    this.emit(this.given.size > 0 ? '}' : '{}')
    this.call.arguments = Object.fromEntries(this.given) // defines __proto__ as any other key
  }

  private key(): string {
    return `${this.given.size > 0 ? ',' : '{'}${JSON.stringify(this.name)}:`
  }

  private stream(text: string): void {
    const all = this.half + text
    const whole = /[\ud800-\udbff]$/.test(all) ? all.length - 1 : all.length
    this.half = all.slice(whole)
    if (whole > 0) this.emit(JSON.stringify(all.slice(0, whole)).slice(1, -1))
  }

  private endString(): void {
    this.emit(JSON.stringify(this.half).slice(1))
    this.half = ''
    this.given.set(this.name, this.text)
  }
}
