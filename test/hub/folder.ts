import { readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'

/** All files under a folder, links followed: relative path to content, as text since that is compared fast. */
export function contents(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return Object.fromEntries(
    names
      .filter((name) => statSync(path.join(folder, name)).isFile())
      .sort()
      .map((name) => [name, readFileSync(path.join(folder, name), 'latin1')]),
  )
}
