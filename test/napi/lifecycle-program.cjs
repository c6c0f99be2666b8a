// What a host may do to a running engine, one per argument. The test looks at how this process ends.
const { once } = require('node:events')
const { Worker, parentPort } = require('node:worker_threads')
const { Engine } = require('../..')

async function busyEngine() {
  const engine = await Engine.load()
  const generate = () => engine.generate('Once', { ignoreEos: true, temperature: 1 })
  const first = generate()
  await first[Symbol.asyncIterator]().next()
  const forever = async () => {
    for (;;) await generate().result()
  }
  return { engine, first, forever }
}

const programs = {
  async 'is idle and not closed'() {
    const engine = await Engine.load()
    await engine.generate('Once', { maxTokens: 2 }).result()
  },
  async 'exits in mid-step'() {
    const { forever } = await busyEngine()
    setTimeout(() => process.exit(7), 50)
    await forever()
  },
  async 'closes in mid-step'() {
    const { engine, first } = await busyEngine()
    await Promise.all([engine.close(), engine.close()])
    console.log((await first.result()).finishReason)
  },
  async 'terminates a worker in mid-step'() {
    const worker = new Worker(__filename, { argv: ['works in a thread'] })
    await once(worker, 'message')
    console.log(await worker.terminate())
  },
  async 'works in a thread'() {
    const { forever } = await busyEngine()
    parentPort.postMessage('busy')
    await forever()
  },
  async 'drops engines without closing them'() {
    for (let i = 0; i < 8; i++) {
      await (await Engine.load()).generate('Once', { maxTokens: 2 }).result()
      global.gc()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  },
  async 'throws while it hears of progress'() {
    const onProgress = () => {
      throw new Error('the listener broke')
    }
    await Engine.load(undefined, { onProgress }).catch((error) => console.log(error.message))
  },
}

programs[process.argv[2]]()
