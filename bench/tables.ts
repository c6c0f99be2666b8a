/** Tables in Markdown, so that what is printed can be kept as it is. */
export interface Table {
  title: string
  /** What the figures mean, below the title. */
  note?: string
  columns: string[]
  rows: string[][]
}

export function markdown({ title, note, columns, rows }: Table): string {
  const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return [`## ${title}`, '', ...(note ? [note, ''] : []), line(columns), rule, ...rows.map(line), ''].join('\n')
}

/** Three significant digits. */
export const digits = (value: number): string => {
  if (!Number.isFinite(value)) return '-'
  return value >= 1000 ? Math.round(value).toString() : Number(value.toPrecision(3)).toString()
}

export const percent = (value: number, decimals = 0): string => `${(100 * value).toFixed(decimals)} %`
