/** A name and what is said about it, in one or more lines. */
export type Row = [name: string, ...lines: string[]]

/** Rows for people: the names on the left, the lines in one column beside them. */
export function table(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([name]) => name.length)) + 2
  return rows
    .flatMap(([name, ...lines]) => lines.map((line, i) => `${(i === 0 ? name : '').padEnd(width)}${line}\n`))
    .join('')
}

/** "196,608", whatever the language of the machine. */
export const count = (n: number): string => n.toLocaleString('en-US')
