/** `m2 download`: a model from a hub into Hugging Face's cache or into a folder, whose path goes to stdout. */
import type { Command } from 'commander'
import { download as downloadModel } from '../hub/download'
import { formatBytes } from '../model/byte-size'
import { ByteStatus } from './byte-status'
import { INTERRUPTED } from './exit-status'
import type { Shell } from './shell'

interface Flags {
  revision?: string
  to?: string
}

const HELP = `
Only what the engine needs is downloaded. What there is stays when a download ends early, and the next goes on with it.
HF_ENDPOINT names another hub; HF_TOKEN is a token for private and gated models (else that of "hf auth login").

Examples:
  m2 download MiniMaxAI/MiniMax-M2 && m2 generate --model MiniMaxAI/MiniMax-M2 "Hello"
  m2 download MiniMaxAI/MiniMax-M2 --to /models/m2`

/** Adds the command; `done` receives its exit status. */
export function addDownload(program: Command, shell: Shell, done: (status: number) => void): void {
  program
    .command('download')
    .description('download a model from Hugging Face or a hub like it')
    .argument('<repo>', 'owner/name')
    .option('--revision <revision>', 'branch, tag or commit (default: main)')
    .option('--to <dir>', "plain files into this folder (default: into Hugging Face's cache)")
    .addHelpText('after', HELP)
    .action(async (repo: string, flags: Flags) => done(await download(repo, flags, shell)))
}

async function download(repo: string, { revision, to }: Flags, shell: Shell): Promise<number> {
  const status = new ByteStatus(shell.stderr, 'downloading')
  const interrupt = new AbortController()
  shell.onInterrupt(() => interrupt.abort())
  try {
    const folder = await downloadModel({
      repo,
      revision,
      to,
      env: shell.env,
      signal: interrupt.signal,
      onStart: ({ commit, files, bytes, licence }) =>
        status.say(
          `${repo} at ${commit.slice(0, 12)}: ${files.length} files, ${formatBytes(bytes)}; licence: ${licence ?? 'not stated'}`,
        ),
      onProgress: status.report,
      onNotice: status.say,
    })
    status.end()
    shell.stdout.write(`${folder}\n`)
    return 0
  } catch (error) {
    if (!interrupt.signal.aborted) throw error
    status.say('stopped; the same command goes on from here')
    return INTERRUPTED
  } finally {
    status.end()
  }
}
