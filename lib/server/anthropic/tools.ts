import { M2Error } from '../../errors'
import type { ChatOptions } from '../../options'
import { checkJson } from '../../text/input'
import type { FunctionDefinition } from '../../text/tools'
import type { Fields } from '../fields'

const CHOICES = ['auto', 'any', 'tool', 'none'] as const

/** Of the fields `tools` and `tool_choice`. @throws {M2Error} BAD_INPUT naming the field. */
export function readTools(body: Fields): Pick<ChatOptions, 'tools' | 'toolChoice' | 'parallelToolCalls'> {
  const tools = body.fieldsList('tools').map(readTool)
  const choice = body.fields('tool_choice')
  return {
    ...(tools.length > 0 && { tools }),
    ...(choice && { toolChoice: readChoice(choice, tools) }),
    ...(choice?.boolean('disable_parallel_tool_use') && { parallelToolCalls: false }),
  }
}

function readTool(tool: Fields): FunctionDefinition {
  const type = tool.value('type')
  if (type !== undefined && type !== 'custom') throw tool.unexpected('type', '"custom" (no other tools run here)')
  const parameters = tool.object('input_schema')
  if (!parameters) throw tool.unexpected('input_schema', 'a JSON schema object')
  checkJson(parameters, tool.where('input_schema'))
  const description = tool.string('description')
  return { name: tool.name('name'), ...(description !== undefined && { description }), parameters }
}

function readChoice(choice: Fields, tools: readonly FunctionDefinition[]): NonNullable<ChatOptions['toolChoice']> {
  const type = choice.choice('type', CHOICES)
  switch (type) {
    case 'auto':
    case 'none':
      return type
    case 'any':
      if (tools.length > 0) return 'required'
      throw new M2Error('BAD_INPUT', `${choice.where('type')}: expected tools to choose from, found none`)
    case 'tool': {
      const name = choice.name('name')
      if (tools.some((tool) => tool.name === name)) return { name }
      throw choice.unexpected('name', 'the name of one of the tools')
    }
    default:
      throw choice.unexpected('type', '"auto", "any", "tool" or "none"')
  }
}
