/** Ways to break a checkpoint. Each gives one line with a code that says where, what was expected and what was found, so that a person can act on it. */
import { readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { Engine, type EngineOptions } from '../../lib/index'
import { type RandomModel, withHeader } from '../reference/checkpoint-writer'
import { failure, modelFolder, rewrite, spoil, writeJson } from './folder'

const WEIGHTS = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
const O = 'model.layers.1.self_attn.o_proj'
const GATE = 'model.layers.0.block_sparse_moe.gate'
const W2 = 'model.layers.1.block_sparse_moe.experts.3.w2'

const INT4 = { group: 32, symmetric: false, scaleDtype: 'F16' } as const
const AWQ: Partial<RandomModel> = { int4: { form: 'awq', ...INT4 } }
const GPTQ: Partial<RandomModel> = { int4: { form: 'gptq', ...INT4 } }
const PACKED: Partial<RandomModel> = { int4: { form: 'compressed-tensors', ...INT4 } }

const without = (name: string) => (dir: string) => rewrite(dir, (tensors) => tensors.delete(name))

/** A tensor as another, of zeros unless it keeps its bytes. */
function as(name: string, dtype: string, shape: number[], elementBytes: number) {
  return (dir: string) =>
    rewrite(dir, (tensors) => {
      const bytes = shape.reduce((product, size) => product * size, elementBytes)
      tensors.set(name, { name, dtype, shape, data: new Uint8Array(bytes) })
    })
}

const words = (name: string, word: number) => (dir: string) =>
  rewrite(dir, (tensors) => new Uint32Array(tensors.get(name)!.data.buffer).fill(word))

const bytes = (name: string, byte: number) => (dir: string) =>
  rewrite(dir, (tensors) => tensors.get(name)!.data.fill(byte))

function config(change: Record<string, unknown>) {
  return (dir: string) => {
    const fields = JSON.parse(readFileSync(path.join(dir, 'config.json'), 'utf8'))
    writeJson(dir, 'config.json', { ...fields, ...change })
  }
}

function header(change: (header: Record<string, { [key: string]: unknown }>) => unknown) {
  return (dir: string) => {
    const bytes = readFileSync(path.join(dir, WEIGHTS))
    const start = 8 + Number(bytes.readBigUInt64LE(0))
    const fields = JSON.parse(bytes.toString('utf8', 8, start))
    writeFileSync(path.join(dir, WEIGHTS), withHeader(change(fields) ?? fields, bytes.subarray(start)))
  }
}

function index(change: (map: Record<string, string>) => void) {
  return (dir: string) => {
    const fields = JSON.parse(readFileSync(path.join(dir, INDEX), 'utf8'))
    change(fields.weight_map)
    writeJson(dir, INDEX, fields)
  }
}

const shardOf = (dir: string, i: number) =>
  readdirSync(dir)
    .filter((name) => /^model-.*safetensors$/.test(name))
    .sort()[i]!

interface Row {
  what: string
  model?: Partial<RandomModel>
  break: (dir: string) => void
  /** Code and message; DIR stands for the folder. */
  line: RegExp
  options?: EngineOptions
}

const FILES: Row[] = [
  {
    what: 'no config.json',
    break: (dir) => rmSync(path.join(dir, 'config.json')),
    line: /^MODEL_NOT_FOUND DIR: expected a model folder, found no config\.json in it$/,
  },
  {
    what: 'a config.json that is cut off',
    break: (dir) => truncateSync(path.join(dir, 'config.json'), 100),
    line: /^BAD_CHECKPOINT DIR\/config\.json: expected JSON, found what does not parse: .+$/,
  },
  {
    what: 'another architecture',
    break: config({ model_type: 'mixtral', architectures: ['MixtralForCausalLM'] }),
    line: /^UNSUPPORTED_MODEL DIR\/config\.json: .*expected .*minimax_m2.*, found .*mixtral/i,
  },
  {
    what: 'a size that is no number',
    break: config({ hidden_size: '32' }),
    line: /^BAD_CHECKPOINT DIR\/config\.json: hidden_size: expected an integer of at least 1, found "32"$/,
  },
  {
    what: 'KV heads that do not divide the heads',
    break: config({ num_key_value_heads: 4 }),
    line: /^BAD_CHECKPOINT DIR\/config\.json: num_key_value_heads: expected a divisor of .*\(6\), found 4$/,
  },
  {
    what: 'more layers than there are tensors for',
    break: config({ num_hidden_layers: 3, attn_type_list: [1, 1, 1] }),
    line: /^BAD_CHECKPOINT model\.layers\.2\.input_layernorm\.weight: expected by config\.json, found 22 of 69 tensors missing from the 47/,
  },
  {
    what: 'no weights',
    break: (dir) => rmSync(path.join(dir, WEIGHTS)),
    line: /^MODEL_NOT_FOUND DIR: expected model\.safetensors or model\.safetensors\.index\.json, found no weights$/,
  },
  {
    what: 'weights of another format',
    break: (dir) => renameSync(path.join(dir, WEIGHTS), path.join(dir, 'pytorch_model.bin')),
    line: /^MODEL_NOT_FOUND DIR: expected model\.safetensors or .*, found pytorch_model\.bin$/,
  },
  {
    what: 'weights that are cut short',
    break: (dir) => truncateSync(path.join(dir, WEIGHTS), 50_000),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+: expected bytes up to \d+, found a file of 50000$/,
  },
  {
    what: 'weights with bytes at the end',
    break: (dir) => writeFileSync(path.join(dir, WEIGHTS), Buffer.alloc(7), { flag: 'a' }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: data: expected \d+ bytes of tensors, found \d+$/,
  },
  {
    what: 'a page of a web site in place of the weights',
    break: (dir) => writeFileSync(path.join(dir, WEIGHTS), '<!doctype html><html></html>'),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: header: expected a length of at most 20 bytes in a file of 28, found \d+$/,
  },
  {
    what: 'a header that does not parse',
    break: header(() => '{"a":'),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: expected JSON, found what does not parse: .+$/,
  },
  {
    what: 'tensors that overlap',
    break: header((fields) => {
      fields[`${O}.weight`]!.data_offsets = fields[`${GATE}.weight`]!.data_offsets
      fields[`${O}.weight`]!.shape = fields[`${GATE}.weight`]!.shape
    }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: model\.layers\.1\.self_attn\.o_proj\.weight: overlaps .*expected a start of at least \d+, found \d+$/,
  },
  {
    what: 'a shape that its bytes do not have',
    break: header((fields) => {
      fields[`${O}.weight`]!.shape = [32, 191]
    }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.weight: data_offsets: expected 12224 bytes \(BF16 \[32,191\]\), found 12288$/,
  },
  {
    what: 'a matrix that is transposed',
    break: header((fields) => {
      fields[`${O}.weight`]!.shape = [192, 32]
    }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.weight: expected shape \[32,192\] by config\.json, found \[192,32\]$/,
  },
  {
    what: 'a tensor that is not there',
    break: without(`${GATE}.weight`),
    line: /^BAD_CHECKPOINT model\.layers\.0\.block_sparse_moe\.gate\.weight: expected by config\.json, found 1 of 47 tensors missing/,
  },
  {
    what: 'integers as weights',
    break: as(`${O}.weight`, 'I8', [32, 192], 1),
    line: /^UNSUPPORTED_MODEL DIR\/model\.safetensors: \S+o_proj\.weight: expected F32, BF16, F16, F8_E4M3, found I8$/,
  },
  {
    what: 'a shard that was not downloaded',
    model: { shards: 3 },
    break: (dir) => rmSync(path.join(dir, shardOf(dir, 1))),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors\.index\.json: expected the shard model-00001-of-00003\.safetensors beside it, found no such file$/,
  },
  {
    what: 'an index that looks for a tensor in the wrong shard',
    model: { shards: 2 },
    break: index((map) => {
      const other = Object.values(map).find((shard) => shard !== map[`${O}.weight`])!
      map[`${O}.weight`] = other
    }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors\.index\.json: \S+o_proj\.weight: expected in model-0000\d-of-00002\.safetensors, found it in model-0000\d-of-/,
  },
  {
    what: 'an index that leads out of the folder',
    model: { shards: 2 },
    break: index((map) => {
      map[`${O}.weight`] = '../secrets.safetensors'
    }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors\.index\.json: weight_map\.\S+o_proj\.weight: expected the name of a file in the same folder, found "\.\.\/secrets/,
  },
  {
    what: 'a tensor in two shards',
    model: { shards: 2 },
    break: (dir) => writeFileSync(path.join(dir, shardOf(dir, 1)), readFileSync(path.join(dir, shardOf(dir, 0)))),
    line: /^BAD_CHECKPOINT \S+: expected in one file, found in DIR\/model-00000-of-00002\.safetensors and DIR\/model-00001-/,
  },
  {
    what: 'FP8 without its scales',
    model: { fp8: true },
    break: without(`${O}.weight_scale_inv`),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.weight: expected F32 \[1,2\] in \S+o_proj\.weight_scale_inv, .*found no such tensor$/,
  },
  {
    what: 'a number that is none in FP8',
    model: { fp8: true },
    break: bytes(`${O}.weight`, 0x7f),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.weight: expected numbers, found a NaN$/,
  },
  {
    what: 'a tokenizer of another model',
    break: (dir) => writeJson(dir, 'tokenizer.json', { model: { type: 'WordPiece', vocab: {} } }),
    line: /^UNSUPPORTED_MODEL DIR\/tokenizer\.json: model\.type is "WordPiece", expected "BPE"$/,
  },
  {
    what: 'a number that is none, where it would be quantised',
    break: (dir) => spoil(dir, `${W2}.weight`, 40, 1),
    options: { weightDtype: 'int4' },
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+experts\.3\.w2\.weight: expected finite numbers/,
  },
]

const CODES: Row[] = [
  {
    what: 'packed matrices and no word of it in config.json',
    model: AWQ,
    break: config({ quantization_config: null }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: model\.layers\.0\.self_attn\.q_proj\.qweight: expected a quantization_config in config\.json for it, found none$/,
  },
  {
    what: 'matrices that are packed in another way than config.json says',
    model: PACKED,
    break: config({ quantization_config: { quant_method: 'gptq', bits: 4, group_size: 32 } }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+q_proj\.weight_packed: expected a quantization_config in config\.json for it, found one of GPTQ$/,
  },
  {
    what: 'a matrix both packed and plain',
    model: AWQ,
    break: as(`${O}.weight`, 'BF16', [32, 192], 2),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.qweight: expected no packed form of \S+o_proj\.weight, found both$/,
  },
  {
    what: 'a packed router',
    model: AWQ,
    break: (dir) => {
      without(`${GATE}.weight`)(dir)
      as(`${GATE}.qweight`, 'I32', [32, 1], 4)(dir)
    },
    line: /^UNSUPPORTED_MODEL DIR\/model\.safetensors: \S+gate\.qweight: expected \S+gate\.weight, found it packed$/,
  },
  {
    what: 'codes that lie the other way',
    model: AWQ,
    break: as(`${O}.qweight`, 'I32', [24, 32], 4),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.qweight: expected I32 \[192,4\] for groups of 32, found I32 \[24,32\]$/,
  },
  {
    what: 'codes of another type',
    model: PACKED,
    break: as(`${O}.weight_packed`, 'I64', [32, 12], 8),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.weight_packed: expected I32 \[32,24\] for groups of 32, found I64 \[32,12\]$/,
  },
  {
    what: 'codes of 8 bits',
    model: GPTQ,
    break: as(`${O}.qweight`, 'I32', [48, 32], 4),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.qweight: expected I32 \[24,32\] for groups of 32, found I32 \[48,32\]$/,
  },
  {
    what: 'codes whose bytes do not fit their shape',
    model: GPTQ,
    break: header((fields) => {
      fields[`${O}.qweight`]!.shape = [24, 31]
    }),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.qweight: data_offsets: expected 2976 bytes \(I32 \[24,31\]\), found 3072$/,
  },
  {
    what: 'no scales',
    model: AWQ,
    break: without(`${O}.scales`),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.qweight: expected F32, BF16, F16 \[6,32\] for groups of 32 in \S+o_proj\.scales, found no such tensor$/,
  },
  {
    what: 'scales of other groups than config.json says',
    model: AWQ,
    break: as(`${O}.scales`, 'F16', [2, 32], 2),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.scales: expected F32, BF16, F16 \[6,32\] for groups of 32, found F16 \[2,32\]$/,
  },
  {
    what: 'scales of another type',
    model: PACKED,
    break: as(`${W2}.weight_scale`, 'F8_E4M3', [32, 1], 1),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+w2\.weight_scale: expected F32, BF16, F16 \[32,1\] for groups of 32, found F8_E4M3 \[32,1\]$/,
  },
  {
    what: 'scales that are infinite',
    model: AWQ,
    break: bytes(`${W2}.scales`, 0x7c),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+w2\.weight: expected scales of magnitudes below 128, found nan$/,
  },
  {
    what: 'no zeros',
    model: GPTQ,
    break: without(`${W2}.qzeros`),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+w2\.qweight: expected I32 \[1,4\] for groups of 32 in \S+w2\.qzeros, found no such tensor$/,
  },
  {
    what: 'no zeros where config.json says that there are some',
    model: PACKED,
    break: without(`${W2}.weight_zero_point`),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+w2\.weight_packed: expected I32 \[4,1\] for groups of 32 in \S+w2\.weight_zero_point, found no such tensor$/,
  },
  {
    what: 'zeros where config.json says that there are none',
    model: { int4: { ...PACKED.int4!, symmetric: true } },
    break: as(`${W2}.weight_zero_point`, 'I32', [4, 1], 4),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+w2\.weight_zero_point: expected none, as config\.json says symmetric, found zeros$/,
  },
  {
    what: 'zeros that are not symmetric, as config.json says they are',
    model: { int4: { ...GPTQ.int4!, symmetric: true } },
    break: words(`${W2}.qzeros`, 0x77747777),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+w2\.weight: zeros: expected 8 everywhere, as config\.json says symmetric, found 5 in row 4$/,
  },
  {
    what: 'columns in another order',
    model: GPTQ,
    break: words(`${O}.g_idx`, 1),
    line: /^UNSUPPORTED_MODEL DIR\/model\.safetensors: \S+o_proj\.weight: g_idx: expected groups in the order of the columns \(no desc_act\), found column 0 in group 1 instead of 0$/,
  },
  {
    what: 'an order of too few columns',
    model: GPTQ,
    break: as(`${O}.g_idx`, 'I32', [32], 4),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.g_idx: expected I32 \[192\] for groups of 32, found I32 \[32\]$/,
  },
  {
    what: "compressed-tensors' columns in another order",
    model: PACKED,
    break: as(`${O}.weight_g_idx`, 'I32', [192], 4),
    line: /^UNSUPPORTED_MODEL DIR\/model\.safetensors: \S+o_proj\.weight_g_idx: expected groups in the order of the columns \(no actorder\), found an index$/,
  },
  {
    what: 'a packed shape of three sizes',
    model: PACKED,
    break: as(`${O}.weight_shape`, 'I64', [3], 8),
    line: /^BAD_CHECKPOINT DIR\/model\.safetensors: \S+o_proj\.weight_shape: expected I64 \[2\].*, found I64 \[3\]$/,
  },
]

describe('a broken checkpoint', () => {
  it.each([...FILES, ...CODES])('$what', async ({ model, break: spoilt, line, options }) => {
    const dir = modelFolder(model)
    spoilt(dir)
    const found = await failure(async () => (await Engine.load(dir, { device: 'cpu', ...options })).close())
    expect(found).not.toContain('\n')
    expect(found.replaceAll(dir, 'DIR')).toMatch(line)
  })
})
