/**
 * JSON as Python's json.dumps(value, ensure_ascii=False) writes it, which is how chat templates print tools and arguments, so what the model
 * was trained on: `, ` and `: ` between items, keys in the given order, floats in Python's repr.
 *
 * JavaScript has one number type: a whole number prints as an integer (Python would print 1.0 for a float), and integers beyond 2^53 print
 * as JavaScript prints them.
 */

/** Python goes to exponents below 1e-4 and writes them with two digits at least; from 1e21 on both languages agree. */
function numberText(value: number): string {
  if (Object.is(value, -0)) return '-0.0'
  if (value === 0 || Math.abs(value) >= 1e-4) return String(value)
  return value.toExponential().replace(/e-(\d)$/, 'e-0$1')
}

/** `value` is plain JSON data, as `checkJson` makes sure; keys whose value is undefined are left out. */
export function pythonJson(value: unknown): string {
  if (typeof value === 'number') return numberText(value)
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined)
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}: ${pythonJson(item)}`).join(', ')}}`
  }
  return JSON.stringify(value)
}
