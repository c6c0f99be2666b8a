/** Structured output: languages of tokens, and which tokens they allow next. */
export { choice, type Grammar, literal, sequence, token } from './grammar'
export { jsonSchema } from './json-schema'
export { jsonObject } from './json-value'
export { CompiledGrammar, type Matcher } from './matcher'
export { regex } from './regex'
export { toolCalls } from './tool-calls'
export { Vocabulary } from './vocabulary'
