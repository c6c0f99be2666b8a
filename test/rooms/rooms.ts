/**
 * The rooms of the house and who may enter which: a pure check over source text. ARCHITECTURE.md says why; the two tables here say what exactly.
 * A file's room is the longest name that its path starts with. What is not listed may not be imported.
 */
import ts from 'typescript'

export interface Source {
  /** From the root of the repository, with forward slashes. */
  path: string
  text: string
}

interface CoreRoom {
  /** Prefixes of the headers under csrc/ that may be included. */
  own: string[]
  /** Headers in angle brackets beyond the C++ standard library. */
  system?: RegExp
}

const POSIX = /^(sys\/(mman|stat|types|resource|sysinfo)|fcntl|unistd|sched|pthread|errno)\.h$/
const SIMD = /^(immintrin|cpuid|arm_neon|arm_bf16|sys\/auxv|asm\/hwcap)\.h$/

const CORE_ROOMS: Record<string, CoreRoom> = {
  'csrc/core/': { own: ['core/'] },
  'csrc/core/backends.cc': { own: ['core/', 'cpu/', 'cuda/'] }, // the factory, the one place that knows all backends
  'csrc/model/': { own: ['core/', 'model/'], system: POSIX },
  'csrc/cpu/': { own: ['core/', 'cpu/'], system: new RegExp(`${POSIX.source}|${SIMD.source}`) },
  'csrc/cuda/': { own: ['core/', 'cuda/'], system: /^cuda/ },
  'csrc/cuda/ptx/': { own: ['cuda/', 'emulator/'], system: /^cuda/ },
  'csrc/emulator/': {
    own: ['emulator/'],
    system: new RegExp(`${POSIX.source}|${SIMD.source}|^(cuda|sanitizer/|(signal|ucontext|dlfcn|link)\\.h)`),
  },
  'csrc/text/': { own: ['core/error.h', 'text/'] },
  'csrc/napi/': { own: ['core/', 'model/', 'text/', 'napi/'], system: /^napi\.h$/ },
  // The door to this machine's measured ceilings is the only one that names a backend.
  'csrc/napi/ceilings': { own: ['core/', 'cpu/', 'napi/'], system: /^napi\.h$/ },
}

interface LibRoom {
  /** Modules under lib/ that may be imported; `cache/*` is a folder, `*` is every module right under lib/. */
  own: string[]
  /** Names that may be imported from lib/native, types or not. */
  native?: string[]
  packages?: string[]
}

const LIB_ROOMS: Record<string, LibRoom> = {
  'lib/native': { own: ['errors', '/build/emulated/addon.node'], packages: ['node-gyp-build'] },
  'lib/errors': { own: [] },
  'lib/known-keys': { own: ['errors'] },
  'lib/pieces': { own: [] },
  'lib/scheduler': { own: ['errors', 'ranked-list', 'sequence', 'step-cost', 'cache/*'] },
  'lib/step-cost': { own: [] },
  'lib/ranked-list': { own: ['sequence'] },
  'lib/sequence': { own: ['errors', 'cache/*'] },
  'lib/cache/': { own: ['errors', 'cache/*'] },
  'lib/text/': {
    own: ['errors', 'known-keys', 'text/*'],
    native: ['native', 'asM2Error', 'EncoderOptions', 'NativeEncoder'],
    packages: ['@huggingface/jinja'],
  },
  // Pure: it knows tokens as bytes and tools as schemas, and nothing of the engine.
  'lib/grammar/': {
    own: [
      'errors',
      'pieces',
      'text/input',
      'text/markup',
      'text/schema-types',
      'text/tokenizer',
      'text/tools',
      'grammar/*',
    ],
  },
  'lib/model/': {
    own: ['errors', 'model/*'],
    native: [
      'DTYPES',
      'FORMS',
      'Form',
      'KV_DTYPES',
      'KvDtype',
      'ModelGeometry',
      'PARTS',
      'TENSOR_KINDS',
      'TensorDType',
      'TensorKind',
      'TensorTable',
      'WEIGHT_FORMATS',
      'WeightFormat',
    ],
  },
  'lib/prefixes/': { own: ['errors', 'option-values', 'cache/*', 'model/*', 'prefixes/*'] },
  'lib/hub/': {
    own: ['errors', 'package-version', 'model/byte-size', 'model/checkpoint', 'model/json-fields', 'hub/*'],
  },
  'lib/quantize/': {
    own: ['errors', 'option-values', 'package-version', 'hub/find-model', 'model/*', 'quantize/*'],
    native: ['FORMS', 'SHARD_ACTIONS', 'Shard', 'ShardAction', 'TENSOR_KINDS', 'TensorTable', 'asM2Error', 'native'],
  },
  'lib/cli/': {
    own: ['index', 'known-keys', 'package-version', 'model/byte-size', 'hub/download', 'cli/*'],
    packages: ['commander'],
  },
  'lib/server/': {
    own: [
      'engine',
      'errors',
      'generation',
      'option-values',
      'options',
      'pieces',
      'text/input',
      'text/messages',
      'text/output-parser',
      'text/tokenizer',
      'text/tools',
      'server/*',
    ],
    packages: ['prom-client'],
  },
  // The public face alone enters the server's.
  'lib/index': { own: ['*', 'hub/*', 'text/*', 'model/*', 'prefixes/*', 'quantize/*', 'server/*'] },
  // The engine: it enters every room but those of the faces in front of it.
  'lib/': { own: ['*', 'cache/*', 'grammar/*', 'hub/*', 'text/*', 'model/*', 'prefixes/*', 'quantize/*'] },
}

/** One line for each import that its room does not allow. */
export function violations(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, text }) => (path.startsWith('csrc/') ? inCore(path, text) : inLib(path, text)))
}

function inCore(path: string, text: string): string[] {
  const room = roomOf(path, CORE_ROOMS)
  if (!room) return [`${path}: no room is known for this folder`]
  return [...text.matchAll(/^\s*#\s*include\s*([<"])([^>"]+)/gm)]
    .filter(([, bracket, header = '']) =>
      bracket === '"'
        ? !room.own.some((prefix) => header.startsWith(prefix))
        : !/^[a-z_0-9]+$/.test(header) && !room.system?.test(header),
    )
    .map(([, , header]) => `${path} includes ${header}`)
}

function inLib(path: string, text: string): string[] {
  const room = roomOf(path, LIB_ROOMS)
  if (!room) return [`${path}: no room is known for this folder`]
  return imports(text)
    .filter(({ from, names }) => !isAllowed(path, from, names, room))
    .map(({ from, names }) => `${path} imports ${names.length > 0 ? `${names.join(', ')} of ` : ''}${from}`)
}

function isAllowed(path: string, from: string, names: string[], room: LibRoom): boolean {
  if (!from.startsWith('.')) return from.startsWith('node:') || !!room.packages?.includes(from)
  const target = new URL(from, `file:///${path}`).pathname.replace(/^\/lib\//, '')
  if (target === 'native' && room.native) return names.length > 0 && names.every((name) => room.native?.includes(name))
  const folder = target.includes('/') ? `${target.split('/')[0]}/*` : '*'
  return room.own.includes(target) || room.own.includes(folder)
}

/** Every module that a TypeScript text imports, re-exports or requires, with the names it takes where it lists them. */
function imports(text: string): { from: string; names: string[] }[] {
  const found: { from: string; names: string[] }[] = []
  const visit = (node: ts.Node): void => {
    if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
      const list = ts.isImportDeclaration(node) ? node.importClause?.namedBindings : node.exportClause
      const elements = list && (ts.isNamedImports(list) || ts.isNamedExports(list)) ? list.elements : []
      found.push({
        from: (node.moduleSpecifier as ts.StringLiteral).text,
        names: elements.map((element) => (element.propertyName ?? element.name).text),
      })
    } else if (ts.isCallExpression(node) && /^(import|require)$/.test(node.expression.getText())) {
      const [argument] = node.arguments
      found.push({ from: argument && ts.isStringLiteral(argument) ? argument.text : '(a computed path)', names: [] })
    } else if (ts.isImportTypeNode(node)) {
      found.push({ from: node.argument.getText().slice(1, -1), names: [] })
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile('module.ts', text, ts.ScriptTarget.Latest, true))
  return found
}

function roomOf<T>(path: string, rooms: Record<string, T>): T | undefined {
  const names = Object.keys(rooms).filter((name) => path.startsWith(name))
  return rooms[names.sort((a, b) => b.length - a.length)[0] ?? '']
}
