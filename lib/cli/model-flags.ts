/** Which model runs where: the options of every command that loads one. */
import type { Command } from 'commander'
import type { Engine, EngineOptions } from '../index'
import { Progress } from './progress'
import type { Shell } from './shell'

export interface ModelFlags extends Pick<EngineOptions, 'device' | 'kvDtype' | 'weightDtype' | 'activationDtype'> {
  model?: string
}

export function addModelOptions(command: Command): Command {
  return command
    .option('--model <model>', 'its folder, or owner/name once downloaded (default: the small embedded one)')
    .option('--device <device>', 'auto, cpu, cuda or cuda:N')
    .option('--weight-dtype <type>', 'what weights are held as: auto, bf16, fp8 or int4 (default: as stored)')
    .option('--activation-dtype <type>', 'what products take: auto, or fp8, which is faster on Hopper for some quality')
    .option('--kv-dtype <type>', 'element type of the KV cache: f32, bf16 or fp8 (default: bf16)')
}

/** @param quiet says nothing of how far it is */
export async function loadEngine(
  { model, device, kvDtype, weightDtype, activationDtype }: ModelFlags,
  shell: Shell,
  quiet = false,
  more: EngineOptions = {},
): Promise<Engine> {
  const options = { device, kvDtype, weightDtype, activationDtype, ...more }
  if (quiet) return shell.load(model, options)
  const progress = new Progress(shell.stderr)
  try {
    return await shell.load(model, { ...options, onProgress: progress.report })
  } finally {
    progress.end()
  }
}
