// Writes unicode_categories.inc, the general category of every code point, from the \p{..} of this Node's regular expressions.
// Run it as `node csrc/text/unicode_categories.mjs`; test/text/tokenizer-unicode.test.ts holds the table to Node's own answer.
import { writeFileSync } from 'node:fs'

const NAMES = 'Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn'.split(' ')
const TESTS = NAMES.map((name) => new RegExp(`^\\p{${name}}$`, 'u'))

const runs = []
let current = ''
for (let code = 0; code <= 0x10ffff; code++) {
  const character = String.fromCodePoint(code)
  const name = NAMES[TESTS.findIndex((test) => test.test(character))]
  if (name !== current) runs.push(`{0x${code.toString(16)},"${name}"}`)
  current = name
}

const lines = [
  `// Unicode ${process.versions.unicode}, written by unicode_categories.mjs: where each run of one general category begins.`,
]
for (let i = 0; i < runs.length; i += 9) lines.push(`${runs.slice(i, i + 9).join(',')},`)
writeFileSync(new URL('unicode_categories.inc', import.meta.url), `${lines.join('\n')}\n`)
