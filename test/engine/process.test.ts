/** The package in a process of its own: how it loads, and how processes and threads end beside a running engine. */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = path.join(__dirname, '..', '..')
const HELLO = `[{ role: 'user', content: 'Hello!' }]`

/** Runs a script in a process of its own; what it printed, its exit status, or the signal that ended it. */
function run(
  script: string,
  type: 'commonjs' | 'module' = 'commonjs',
): Promise<{ status: number; signal: NodeJS.Signals | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const args = [`--input-type=${type}`, '-e', script]
    execFile(process.execPath, args, { cwd: ROOT, timeout: 30_000, killSignal: 'SIGKILL' }, (error, out, err) => {
      resolve({ status: error ? Number(error.code ?? -1) : 0, signal: error?.signal ?? null, out, err })
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

  /** Sixteen sequences without an end: two steps are in flight all the time. */
  const busy = `for (let i = 0; i < 16; i++) engine.generate([100 + i], { ignoreEos: true })`

  it('can exit with two steps in flight, whatever the moment', async () => {
    for (const ms of [0, 1, 3, 8, 20]) {
      const ended = await run(`${load} ${busy}; setTimeout(() => process.exit(7), ${ms}) })`)
      expect(ended, `after ${ms} ms`).toEqual({ status: 7, signal: null, out: '', err: '' })
    }
  })

  it('can exit while the model is loaded, and while it is closed', async () => {
    const loading = await run(`require('./dist/index.js').Engine.load(); setTimeout(() => process.exit(7), 60)`)
    expect(loading).toEqual({ status: 7, signal: null, out: '', err: '' })
    const closing = await run(`${load} ${busy}; setTimeout(() => { engine.close(); process.exit(7) }, 3) })`)
    expect(closing).toEqual({ status: 7, signal: null, out: '', err: '' })
  })

  it('ends by an uncaught exception in mid-step, and says only that', async () => {
    const { status, err } = await run(`${load} ${busy}; setTimeout(() => { throw new Error('mine') }, 3) })`)
    expect(status).toBe(1)
    expect(err.match(/Error/g)).toHaveLength(2) // the line that threw, and the message
    expect(err).toContain('Error: mine')
  })

  it.each(['SIGTERM', 'SIGINT'] as const)('is ended by %s in mid-step', async (signal) => {
    const ended = await run(`${load} ${busy}; setTimeout(() => process.kill(process.pid, '${signal}'), 3) })`)
    expect(ended).toEqual({ status: -1, signal, out: '', err: '' })
  })

  it('can terminate worker threads with two steps in flight, again and again, several at once', async () => {
    const worker = `${load} ${busy}; require('node:worker_threads').parentPort.postMessage('') })`
    const ended = await run(`
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      async function cycle(ms) {
        const worker = new Worker(${JSON.stringify(worker)}, { eval: true })
        await once(worker, 'message')
        await new Promise((resolve) => setTimeout(resolve, ms))
        return worker.terminate()
      }
      async function main() {
        const codes = []
        for (let i = 0; i < 12; i += 2) codes.push(...(await Promise.all([cycle(i), cycle(i + 1)])))
        console.log(codes.join(''))
      }
      main()`)
    expect(ended).toEqual({ status: 0, signal: null, out: '111111111111\n', err: '' })
  })

  it('can terminate a worker thread in the midst of a native call', async () => {
    const encode = `for (;;) engine.tokenizer.encode('The list says: apple')`
    const worker = `${load} require('node:worker_threads').parentPort.postMessage(''); ${encode} })`
    const ended = await run(`
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      async function main() {
        for (let i = 0; i < 4; i++) {
          const worker = new Worker(${JSON.stringify(worker)}, { eval: true })
          await once(worker, 'message')
          await new Promise((resolve) => setTimeout(resolve, 2))
          await worker.terminate()
        }
        console.log('alive')
      }
      main()`)
    expect(ended).toEqual({ status: 0, signal: null, out: 'alive\n', err: '' })
  })

  it('hears of an uncaught exception in a worker thread in mid-step, and goes on', async () => {
    const worker = `${load} ${busy}; setTimeout(() => { throw new Error('mine') }, 3) })`
    const ended = await run(`${load}
      const { Worker } = require('node:worker_threads')
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true })
      const beside = engine.generate([100], { ignoreEos: true, maxTokens: 500 }).result()
      worker.on('error', (error) => console.log(error.message))
      worker.on('exit', async (code) => console.log(code, (await beside).tokenIds.length))
    })`)
    expect(ended).toEqual({ status: 0, signal: null, out: 'mine\n1 500\n', err: '' })
  })

  it('may have several engines, in workers too, that give the same and end on their own', async () => {
    const answer = `(await Promise.all([1, 2, 3].map((i) => engine.generate([100 + i], { maxTokens: 40, temperature: 0 }).result()))).map((one) => one.tokenIds).join()`
    const worker = `${load} require('node:worker_threads').parentPort.postMessage(${answer}) })`
    const ended = await run(`
      const { Engine } = require('./dist/index.js')
      const { Worker } = require('node:worker_threads')
      const inWorker = () => new Promise((resolve, reject) => {
        let answer
        new Worker(${JSON.stringify(worker)}, { eval: true }).on('message', (text) => (answer = text)).on('error', reject)
          .on('exit', (code) => resolve(code + answer))
      })
      const here = async () => { const engine = await Engine.load(); return '0' + ${answer} }
      Promise.all([here(), inWorker(), here(), inWorker(), inWorker()]).then((all) => console.log(new Set(all).size, all[0].split(',').length))`)
    expect(ended).toEqual({ status: 0, signal: null, out: '1 120\n', err: '' })
  })

  it('is not kept by a generation whose reader has stopped, nor by its deadline', async () => {
    const ended = await run(`${load}
      const iterator = engine.generate([100], { ignoreEos: true, deadlineMs: 1e6 })[Symbol.asyncIterator]()
      await iterator.next()
      process.on('exit', () => console.log(engine.stats().sequences.waiting, engine.stats().pages.private))
    })`)
    expect(ended).toEqual({ status: 0, signal: null, out: '1 0\n', err: '' })
  })

  it('sees the deadline of such a generation pass while it lives', async () => {
    const ended = await run(`${load}
      const generation = engine.generate([100], { ignoreEos: true, deadlineMs: 600 })
      await generation[Symbol.asyncIterator]().next()
      const tick = setInterval(() => {
        if (engine.stats().sequences.waiting + engine.stats().sequences.running > 0) return
        clearInterval(tick)
        generation.result().then((result) => console.log(result.finishReason))
      }, 10)
    })`)
    expect(ended).toEqual({ status: 0, signal: null, out: 'abort\n', err: '' })
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
