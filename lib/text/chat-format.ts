/** What differs between the chat templates of the M2 family, as data. */
export interface ChatFormat {
  /** System text when the conversation brings none. */
  identity: string
  /** The system message's date and location become lines of the system block. */
  systemFacts: boolean
  /** Parameters shown in the example call at the end of the tools block. */
  exampleParameters: 1 | 2
  /** Whose thinking the template itself renders. */
  keepsReasoning: 'afterLastUser' | 'always'
  /** A tool result with several text parts is several responses, or one. */
  toolParts: 'separate' | 'joined'
}

/** M2 as published. M2.1, M2.5 and M2.7 differ by the identity alone. */
export const M2_FORMAT: ChatFormat = {
  identity: 'You are MiniMax-M2, a helpful AI assistant built by MiniMax. Knowledge cutoff: 2025-06.',
  systemFacts: true,
  exampleParameters: 2,
  keepsReasoning: 'afterLastUser',
  toolParts: 'separate',
}

/** The embedded model. */
export const NANO_FORMAT: ChatFormat = {
  identity: 'You are a helpful assistant. Your name is MiniMax-M2 nano and was built for tests.',
  systemFacts: false,
  exampleParameters: 1,
  keepsReasoning: 'always',
  toolParts: 'joined',
}
