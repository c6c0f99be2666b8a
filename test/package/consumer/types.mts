// What a user's compiler must accept, and what it must refuse.
import { type ChatMessage, createServer, Engine, type GenerateOptions, M2Error, type Result } from 'm2-engine'

export async function ask(question: string): Promise<Result> {
  const engine: Engine = await Engine.load(undefined, { device: 'cpu', onProgress: ({ done, total }) => done / total })
  const messages: ChatMessage[] = [{ role: 'user', content: question }]
  const options: GenerateOptions = { maxTokens: 16, temperature: 0, stop: ['\n'], signal: new AbortController().signal }
  try {
    for await (const chunk of engine.chat(messages, options)) console.log(chunk.text.length, chunk.index)
    return await engine.generate([1, 2, 3], options).result()
  } catch (error) {
    if (error instanceof M2Error && error.code === 'BAD_INPUT') throw error
    // @ts-expect-error: no such code
    if (error instanceof M2Error && error.code === 'NO_SUCH_CODE') throw error
    throw error
  } finally {
    await engine.close()
  }
}

// @ts-expect-error: a device is a name
await Engine.load(undefined, { device: 7 })

createServer(await Engine.load(), {
  apiKey: 'key',
  onRequest: ({ route, status }) => console.log(route, status),
}).listen(0)
// @ts-expect-error: no such option
createServer(Engine.load(), { apikey: 'key' })
