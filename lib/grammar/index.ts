/** Structured output: languages of tokens, and which tokens they allow next. */
export { choice, type Grammar, literal, sequence, token } from './grammar'
export { jsonObject } from './json-value'
export { CompiledGrammar, type Matcher } from './matcher'
export { regex } from './regex'
export { Vocabulary } from './vocabulary'
