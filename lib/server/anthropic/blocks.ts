import type { Fields } from '../fields'

/** The content blocks of a field; a string is short for one of text. Undefined where it is absent. @throws {M2Error} BAD_INPUT naming the field. */
export function contentBlocks(fields: Fields, name: string): Fields[] | undefined {
  const value = fields.value(name)
  if (value === undefined) return undefined
  if (typeof value === 'string') return [fields.with(name, { type: 'text', text: value })]
  if (!Array.isArray(value)) throw fields.unexpected(name, 'a string or an array of blocks')
  return fields.fieldsList(name)
}

/** @param types what may stand here, for the error. @throws {M2Error} BAD_INPUT naming the block that is not of text. */
export function blockText(block: Fields, types = '"text"'): string {
  if (block.value('type') === 'text') return block.text('text')
  throw block.unexpected('type', `${types} (this model reads nothing else)`)
}

/** Of a field that has text only; '' where it is absent. */
export function contentText(fields: Fields, name: string): string {
  return (contentBlocks(fields, name) ?? []).map((block) => blockText(block)).join('')
}
