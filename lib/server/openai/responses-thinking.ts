/** Thinking as `encrypted_content`, which clients keep where they do not keep the text. Nothing is secret in it. */

/** Tells ours from that of other servers, which nobody here can read. */
const MARK = 'm2.'

export function sealThinking(text: string): string {
  return MARK + Buffer.from(text).toString('base64url')
}

/** Undefined where it is not ours. */
export function openThinking(sealed: string | undefined): string | undefined {
  if (!sealed?.startsWith(MARK)) return undefined
  return Buffer.from(sealed.slice(MARK.length), 'base64url').toString()
}
