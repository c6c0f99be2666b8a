/** What a person is told of an error: one line. */
export const errorLine = (message: string): string => `m2: ${message.trim().replace(/\s*\n\s*/g, ' ')}\n`
