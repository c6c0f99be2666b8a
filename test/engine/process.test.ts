/** The package in a process of its own: how it loads, and how processes and threads end beside a running engine. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = path.join(__dirname, '..', '..')
const HELLO = `[{ role: 'user', content: 'Hello!' }]`

/** Runs a script with the built package as \`m2\`; what it printed, and its exit status. */
function run(
  script: string,
  type: 'commonjs' | 'module' = 'commonjs',
): Promise<{ status: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const args = [`--input-type=${type}`, '-e', script]
    execFile(process.execPath, args, { cwd: ROOT, timeout: 30_000 }, (error, out, err) => {
      resolve({ status: error ? Number(error.code ?? -1) : 0, out, err })
    })
  })
}

describe('the package', () => {
  it('works by require and by import', async () => {
    const names = 'Engine, M2Error, OutputParser, renderChat, Tokenizer'
    const print = `console.log([${names}].map((one) => typeof one).join())`
    const required = await run(`const { ${names} } = require('./dist/index.js'); ${print}`)
    const imported = await run(`import { ${names} } from './dist/index.js'; ${print}`, 'module')
    expect([required, imported].map((one) => one.out.trim())).toEqual(
      new Array(2).fill(new Array(5).fill('function').join()),
    )
  })
})

describe('a process', () => {
  // A long context, so that a generation without an end outlasts the tests.
  const load = `const { Engine } = require('./dist/index.js'); Engine.load(undefined, { maxContext: 8192 }).then(async (engine) => {`

  it('ends by itself beside an idle engine that nobody closed', async () => {
    const { status, out } = await run(`${load} console.log((await engine.chat(${HELLO}).result()).finishReason) })`)
    expect([status, out.trim()]).toEqual([0, 'stop'])
  })

  it('stays until a generation that nobody awaits has ended', async () => {
    const { status, out } = await run(`${load}
      const generation = engine.chat(${HELLO}, { maxTokens: 20 })
      process.on('exit', () => console.log(engine.stats().generatedTokens))
    })`)
    expect([status, out.trim()]).toEqual([0, '20'])
  })

  it('can exit in mid-step', async () => {
    const { status, err } = await run(
      `${load} engine.chat(${HELLO}, { ignoreEos: true }); setTimeout(() => process.exit(7), 5) })`,
    )
    expect([status, err]).toEqual([7, ''])
  })

  it('can terminate a worker thread in mid-step', async () => {
    const worker = `${load} engine.chat(${HELLO}, { ignoreEos: true }); require('node:worker_threads').parentPort.postMessage('') })`
    const { status, out, err } = await run(`
      const { Worker } = require('node:worker_threads')
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true })
      worker.on('message', () => setTimeout(async () => console.log('ended', await worker.terminate()), 5))
    `)
    expect([status, out.trim(), err]).toEqual([0, 'ended 1', ''])
  })

  it('can close in mid-step, more than once', async () => {
    const { status, out, err } = await run(`${load}
      const generation = engine.chat(${HELLO}, { ignoreEos: true })
      setTimeout(() => Promise.all([engine.close(), engine.close()]), 5)
      console.log((await generation.result()).finishReason)
    })`)
    expect([status, out.trim(), err]).toEqual([0, 'abort', ''])
  })

  it('may drop engines without closing them', async () => {
    const { status, err } = await run(`
      require('node:v8').setFlagsFromString('--expose-gc')
      const collect = require('node:vm').runInNewContext('gc')
      const { Engine } = require('./dist/index.js')
      async function main() {
        for (let i = 0; i < 6; i++) {
          await (await Engine.load()).chat(${HELLO}, { maxTokens: 2 }).result()
          collect()
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      }
      main()`)
    expect([status, err]).toEqual([0, ''])
  })

  it('hears of an error in its own progress listener', async () => {
    const { status, out, err } = await run(`
      const onProgress = () => { throw new Error('the listener broke') }
      require('./dist/index.js').Engine.load(undefined, { onProgress }).catch((error) => console.log(error.message))`)
    expect([status, out.trim(), err]).toEqual([0, 'the listener broke', ''])
  })

  it('is not ended by an error that nobody looks at', async () => {
    const { status, out } = await run(`${load} engine.generate(''); setTimeout(() => console.log('alive'), 20) })`)
    expect([status, out.trim()]).toEqual([0, 'alive'])
  })
})
