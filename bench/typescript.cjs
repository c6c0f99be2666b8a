// Node 20 does not read TypeScript. `node -r ./bench/typescript.cjs bench/run.ts` runs the sources as they stand, lib included.
const { readFileSync } = require('node:fs')
const ts = require('typescript')

const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS, esModuleInterop: true }

require.extensions['.ts'] = (module, file) => {
  module._compile(ts.transpileModule(readFileSync(file, 'utf8'), { compilerOptions }).outputText, file)
}
