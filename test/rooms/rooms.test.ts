import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { type Source, violations } from './rooms'

const ROOT = path.join(__dirname, '..', '..')

function tree(folder: string, extensions: RegExp): Source[] {
  return readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => extensions.test(name))
    .map((name) => path.posix.join(folder, ...name.split(path.sep)))
    .map((name) => ({ path: name, text: readFileSync(path.join(ROOT, name), 'utf8') }))
}

describe('the rooms', () => {
  it('are kept by csrc', () => {
    const sources = tree('csrc', /\.(h|cc|cu|cuh)$/)
    expect(sources.map((source) => source.path)).toContain('csrc/napi/addon.cc')
    expect(violations(sources)).toEqual([])
  })

  it('are kept by lib', () => {
    const sources = tree('lib', /\.ts$/)
    expect(sources.map((source) => source.path)).toContain('lib/cli/main.ts')
    expect(violations(sources)).toEqual([])
  })
})

describe('the check', () => {
  const broken: [path: string, text: string][] = [
    ['csrc/core/ops.cc', '#include "cpu/pool.h"'],
    ['csrc/core/ops.cc', '#include <napi.h>'],
    ['csrc/core/ops.cc', '#include <sys/mman.h>'],
    ['csrc/model/weights.cc', '#include <napi.h>'],
    ['csrc/model/m2.cc', '  #  include "cpu/backend.h"'],
    ['csrc/model/m2.cc', '#include <cuda_runtime.h>'],
    ['csrc/cpu/gemm.cc', '#include "model/config.h"'],
    ['csrc/cuda/gemm.cu', '#include "cpu/gemm.h"'],
    ['csrc/text/bpe.cc', '#include "core/ops.h"'],
    ['csrc/napi/model.cc', '#include "cpu/backend.h"'],
    ['csrc/napi/ceilings.cc', '#include "model/weights.h"'],
    ['csrc/elsewhere/a.cc', ''],
    ['lib/engine.ts', "import load from 'node-gyp-build'"],
    ['lib/engine.ts', "import { run } from './cli/program'"],
    ['lib/errors.ts', "import { native } from './native'"],
    ['lib/scheduler.ts', "import { native } from './native'"],
    ['lib/scheduler.ts', "import type { StepResult } from './native'"],
    ['lib/sequence.ts', "import { Engine } from './engine'"],
    ['lib/cache/pages.ts', "import { Sequence } from '../sequence'"],
    ['lib/cache/pages.ts', "export * from '../native'"],
    ['lib/text/chat.ts', "import { Engine } from '../engine'"],
    ['lib/text/chat.ts', "import { loadConfig } from '../model/config'"],
    ['lib/text/bpe.ts', "import { native, type NativeModel } from '../native'"],
    ['lib/text/bpe.ts', "import * as everything from '../native'"],
    ['lib/model/plan.ts', "import { native } from '../native'"],
    ['lib/model/plan.ts', "import { Tokenizer } from '../text/tokenizer'"],
    ['lib/cache/prefix-store.ts', "import type { PrefixCounts } from '../prefixes/prefixes'"],
    ['lib/prefixes/prefixes.ts', "import type { NativeModel } from '../native'"],
    ['lib/hub/client.ts', "import { Engine } from '../engine'"],
    ['lib/hub/download.ts', "import { native } from '../native'"],
    ['lib/model/config.ts', "import { findModel } from '../hub/find-model'"],
    ['lib/cli/download.ts', "import { HubClient } from '../hub/client'"],
    ['lib/cli/generate.ts', "import { Engine } from '../engine'"],
    ['lib/cli/generate.ts', "export { native } from '../native'"],
    ['lib/cli/generate.ts', "const engine = await import('../engine')"],
    ['lib/cli/generate.ts', "const engine = require('../engine')"],
    ['lib/cli/generate.ts', 'let engine: import("../engine").Engine'],
    ['lib/cli/generate.ts', "import chalk from 'chalk'"],
  ]
  it.each(broken)('finds in %s: %s', (path, text) => {
    expect(violations([{ path, text }])).toHaveLength(1)
  })

  const sound: [path: string, text: string][] = [
    ['csrc/core/ops.h', '#include <memory>\n#include "core/view.h"\n// #include <napi.h>'],
    ['csrc/napi/ceilings.cc', '#include <napi.h>\n#include "cpu/ceilings.h"'],
    [
      'lib/engine.ts',
      "import { native } from './native'\nimport { Pages } from './cache/pages'\nimport fs from 'node:fs'",
    ],
    ['lib/text/bpe.ts', "import { native } from '../native'\nimport { M2Error } from '../errors'"],
    ['lib/model/plan.ts', "import { DTYPES, type TensorTable } from '../native'"],
    ['lib/cli/main.ts', "import { Engine } from '../index' // not from '../engine'"],
  ]
  it.each(sound)('lets pass in %s: %s', (path, text) => {
    expect(violations([{ path, text }])).toEqual([])
  })
})
