/** The program as it is installed, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import path from 'node:path'

export const ROOT = path.join(__dirname, '..', '..')
const MAIN = path.join(ROOT, 'dist', 'cli', 'main.js')

export interface Ended {
  status: number | null
  signal: string | null
  stdout: string
  stderr: string
}

interface Started {
  child: ChildProcess
  ended: Promise<Ended>
}

export function start(args: string[], stdin?: string, main?: string): Started {
  const started = startOpen(args, main)
  started.child.stdin?.end(stdin)
  return started
}

/** Leaves its stdin open. */
export function startOpen(args: string[], main = MAIN): Started {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const ended = new Promise<Ended>((resolve) =>
    child.on('close', (status, signal) => resolve({ status, signal, stdout, stderr })),
  )
  return { child, ended }
}

export const m2 = (args: string[], stdin?: string, main?: string): Promise<Ended> => start(args, stdin, main).ended
