// An ES module that uses the package as its users do. Prints the answer as it streams.
import { Engine } from 'm2-engine'

const engine = await Engine.load()
for await (const chunk of engine.chat([{ role: 'user', content: 'What is 47 + 38?' }])) process.stdout.write(chunk.text)
await engine.close()
