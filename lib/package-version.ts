import { readFileSync } from 'node:fs'
import path from 'node:path'

/** The version in package.json, such as "0.1.0". */
export function packageVersion(): string {
  return JSON.parse(readFileSync(path.join(__dirname, '..', 'package.json'), 'utf8')).version
}
