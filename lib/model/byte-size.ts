/** Sizes of memory as people write them and read them. */
import { M2Error } from '../errors'

const UNITS = new Map([
  ...['B', 'KB', 'MB', 'GB', 'TB'].map((unit, i) => [unit, 1000 ** i] as const),
  ...['KiB', 'MiB', 'GiB', 'TiB'].map((unit, i) => [unit, 1024 ** (i + 1)] as const),
])
const FORMS = 'bytes as a number above 0, or a string such as "2GiB" or "500 MB"'

/**
 * Bytes of an option that takes a number or a string with a unit.
 * @throws {M2Error} BAD_OPTION naming the option.
 */
export function parseByteSize(option: string, value: number | string): number {
  const bytes = typeof value === 'string' ? parseText(value) : value
  if (typeof bytes === 'number' && bytes >= 1 && bytes <= Number.MAX_SAFE_INTEGER) return Math.floor(bytes)
  throw new M2Error(
    'BAD_OPTION',
    `${option}: expected ${FORMS}, found ${typeof value === 'string' ? JSON.stringify(value) : value}`,
  )
}

function parseText(text: string): number {
  const [, digits, unit] = /^\s*(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?\s*$/.exec(text) ?? []
  return Number(digits) * (UNITS.get(unit ?? 'B') ?? Number.NaN)
}

/** "1.5 GiB": the largest unit that leaves at least 1, with at most one decimal. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 'bytes'
  for (const next of ['KiB', 'MiB', 'GiB', 'TiB']) {
    if (value < 1024) break
    value /= 1024
    unit = next
  }
  return `${Number(value.toFixed(1))} ${unit}`
}
