import { badInput, checkJson, isObject, type JsonObject, nonEmptyString, object, optionalString } from './input'

/** A function the model may call. Keys beyond these are shown to the model as they are. */
export interface FunctionDefinition {
  name: string
  description?: string
  /** JSON schema of the arguments object. */
  parameters?: object
}

/** A tool in OpenAI's shape, or the bare function. */
export type ToolDefinition = { type: 'function'; function: FunctionDefinition } | FunctionDefinition

/** The function objects of `tools`. @throws M2Error BAD_INPUT naming the tool that is not sound. */
export function checkTools(tools: unknown): FunctionDefinition[] {
  if (tools === undefined || tools === null) return []
  if (!Array.isArray(tools)) throw badInput('tools', 'an array', tools)
  return tools.map((tool, i) => checkTool(tool, `tools[${i}]`))
}

export function checkTool(tool: unknown, where: string): FunctionDefinition {
  const given = object(tool, where, 'a function tool')
  if (given.type !== undefined && given.type !== 'function') throw badInput(`${where}.type`, '"function"', given.type)
  const wrapped = given.function !== undefined
  const at = wrapped ? `${where}.function` : where
  const definition: JsonObject = wrapped ? object(given.function, at) : given
  nonEmptyString(definition.name, `${at}.name`)
  optionalString(definition.description, `${at}.description`)
  if (definition.parameters !== undefined && definition.parameters !== null && !isObject(definition.parameters)) {
    throw badInput(`${at}.parameters`, 'a JSON schema object', definition.parameters)
  }
  checkJson(definition, at)
  return definition as unknown as FunctionDefinition
}
