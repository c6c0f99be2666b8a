/** MiniMax-M2 models inside Node.js: the package's public face. */
export type { Conversation } from './conversation'
export { type CudaState, type Diagnosis, diagnose, type EmbeddedAnswer, type Gpu } from './diagnosis'
export { Engine, type EngineStats } from './engine'
export { M2Error, type M2ErrorCode } from './errors'
export type { Chunk, FinishReason, Generation, Result, TokenLogprob } from './generation'
export type { ModelInfo } from './loaded-model'
export type { ModelConfig } from './model/config'
export type { FitReport, KvRoom } from './model/fit-report'
export type { Quantization } from './model/quantization'
export {
  type DeviceReport,
  type InspectOptions,
  inspectModel,
  type ModelReport,
  type StoredTensors,
} from './model-report'
export type {
  ChatOptions,
  ConversationOptions,
  EngineOptions,
  GenerateOptions,
  LoadProgress,
  ScoreOptions,
  SendOptions,
} from './options'
export type { PrefixCounts } from './prefixes/prefixes'
export type { LayerLoss } from './quantize/losses'
export { type QuantizedModel, type QuantizeOptions, quantizeModel } from './quantize/quantize'
export {
  type RunnableTool,
  type RunToolsOptions,
  runTools,
  type ToolResult,
  type ToolRun,
  type ToolStep,
} from './run-tools'
export type { RequestLog, ServerOptions } from './server/options'
export { createServer } from './server/server'
export { type KeepReasoning, type RenderOptions, renderChat } from './text/chat'
export type { ChatMessage, ChatToolCall, ReasoningDetail, TextPart, ThinkingPart } from './text/messages'
export {
  type Delta,
  OutputParser,
  type OutputParserOptions,
  type ParsedOutput,
  type ToolCall,
  type ToolCallDelta,
} from './text/output-parser'
export { Tokenizer } from './text/tokenizer'
export type { FunctionDefinition, ToolDefinition } from './text/tools'
