/** `m2 info`: what a model is and whether it would run here, before any weight is read. */
import type { Command } from 'commander'
import type { DeviceReport, InspectOptions, ModelConfig, ModelReport, Quantization, StoredTensors } from '../index'
import { formatBytes } from '../model/byte-size'
import type { Shell } from './shell'
import { count, type Row, table } from './table'

interface Flags {
  json?: boolean
  kvDtype?: InspectOptions['kvDtype']
  weightDtype?: InspectOptions['weightDtype']
}

const EXAMPLES = `
Examples:
  m2 info
  m2 info models/MiniMax-M2 --json`

/** Adds the command; `done` receives its exit status. */
export function addInfo(program: Command, shell: Shell, done: (status: number) => void): void {
  program
    .command('info')
    .description('what a model is and whether it fits this machine, from its headers alone')
    .argument('[model]', 'its folder, or owner/name of a downloaded one (default: the small embedded one)')
    .option('--weight-dtype <type>', 'what weights are held as: auto, bf16, fp8 or int4 (default: as stored)')
    .option('--kv-dtype <type>', 'element type of the KV cache: f32, bf16 or fp8 (default: bf16)')
    .option('--json', 'print one JSON object')
    .addHelpText('after', EXAMPLES)
    .action(async (model: string | undefined, { json, ...options }: Flags) => {
      const report = await shell.inspect(model, options)
      shell.stdout.write(json ? `${JSON.stringify(report)}\n` : table(rows(report)))
      done(0)
    })
}

function rows(report: ModelReport): Row[] {
  const { config, parameters, files, kv, quantization, skippedTensors, unsupported } = report
  const skipped =
    skippedTensors.length > 0 ? [`skips ${tensors(skippedTensors.length)}: ${skippedTensors[0]}, ...`] : []
  return [
    ['model', report.directory],
    ['architecture', ...architecture(config)],
    ['parameters', `${millions(parameters.total)}, ${millions(parameters.active)} active per token`],
    ['files', `${count(files.count)} ${files.count === 1 ? 'file' : 'files'}, ${formatBytes(files.bytes)}`],
    ['stored as', ...report.stored.map(storedLine), ...skipped],
    ...(quantization ? [['quantization', quantizationLine(quantization)] as Row] : []),
    ['tokenizer', report.tokenizer ? 'tokenizer.json' : 'none: the model takes and gives token ids'],
    ...(unsupported === null
      ? []
      : [
          [
            'cannot load',
            unsupported,
            'this version can load it once it is converted to bf16, which is what follows',
          ] as Row,
        ]),
    ['KV cache', `${formatBytes(kv.bytesPerToken)} a token (${kv.dtype})`],
    ...report.devices.map(deviceRow),
  ]
}

function architecture(config: ModelConfig): string[] {
  const { layers, hiddenSize, heads, kvHeads, headDim, experts, expertsPerToken, expertHidden } = config
  return [
    `MiniMax-M2: ${layers} layers, hidden size ${hiddenSize}, ${heads} query heads and ${kvHeads} KV heads of ${headDim}`,
    `${experts} experts of ${expertHidden}, ${expertsPerToken} per token`,
    `vocabulary ${count(config.vocabSize)}, context ${count(config.maxPositionEmbeddings)} tokens`,
  ]
}

function storedLine({ dtype, bytes, names, ...group }: StoredTensors): string {
  return `${dtype}: ${formatBytes(bytes)} in ${tensors(group.tensors)}: ${names.map(shortName).join(', ')}`
}

const tensors = (n: number): string => `${count(n)} ${n === 1 ? 'tensor' : 'tensors'}`

/** What tells the tensors of a model apart: "q_proj", "experts.*.w1". */
function shortName(name: string): string {
  return name
    .replace(/^model\./, '')
    .replace(/^layers\.\*\.(self_attn\.|block_sparse_moe\.)?/, '')
    .replace(/\.weight$/, '')
}

function quantizationLine({ method, format, blockSize, bits, group, zeros, exempt }: Quantization): string {
  const name = `${method ?? 'unknown method'}${format && format !== method ? `, ${format}` : ''}`
  const groups = group === null ? '' : group > 0 ? `, groups of ${group}` : ', a scale for each row'
  const parts = [
    bits === null ? name : `int${bits} (${name}${groups}${zeros ? ', zeros' : ''})`,
    ...(blockSize ? [`a scale for each block of ${blockSize.join(' x ')}`] : []),
    ...(exempt.length > 0 ? [`not quantised: ${exempt.join(', ')}`] : []),
  ]
  return parts.join(', ')
}

function deviceRow({ device, name, free, weights, problem, kv, advice }: DeviceReport): Row {
  if (!kv) return [device, `${name} cannot take it: ${problem}`, ...advice]
  return [
    device,
    `${name}: fits, with ${formatBytes(free)} free`,
    `${formatBytes(weights.bytes)} of weights (matrices ${weights.format}, norms and router f32)`,
    `${count(kv.tokens)} tokens of KV cache (${formatBytes(kv.bytes)}): ${sequences(kv)}`,
    ...advice,
  ]
}

function sequences({ sequences, context }: NonNullable<DeviceReport['kv']>): string {
  if (sequences === 0) return `less than one full context; a sequence may have ${count(context)} tokens`
  return `${count(sequences)} ${sequences === 1 ? 'sequence' : 'sequences'} of ${count(context)} tokens, the full context`
}

function millions(n: number): string {
  return n >= 1e9 ? `${(n / 1e9).toFixed(1)} billion` : `${(n / 1e6).toFixed(1)} million`
}
