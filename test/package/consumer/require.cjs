// A CommonJS program that uses the package as its users do. Prints the answer.
const { Engine, M2Error } = require('m2-engine')

async function main() {
  const engine = await Engine.load()
  const result = await engine.chat([{ role: 'user', content: 'What is 47 + 38?' }]).result()
  console.log(result.text)
  await engine.close()
  await Engine.load('no/such/folder').catch((error) => console.log(error instanceof M2Error, error.code))
}

main()
