// A CommonJS program that uses the package as its users do. Prints the answer, and that its server is well.
const { once } = require('node:events')
const { createServer, Engine, M2Error } = require('m2-engine')

async function main() {
  const engine = await Engine.load()
  const result = await engine.chat([{ role: 'user', content: 'What is 47 + 38?' }]).result()
  console.log(result.text)
  const server = createServer(engine).listen(0)
  await once(server, 'listening')
  const health = await fetch(`http://localhost:${server.address().port}/health`)
  console.log(health.status, await health.text())
  server.close()
  await engine.close()
  await Engine.load('no/such/folder').catch((error) => console.log(error instanceof M2Error, error.code))
}

main()
