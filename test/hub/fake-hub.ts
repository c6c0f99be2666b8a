/**
 * A hub on this machine: the model list and the files as Hugging Face serves them, and all the ways in which a hub can fail. Weights are redirected
 * to a second server, as to a storage host.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const REPO = 'owner/model'
export const COMMIT = 'c'.repeat(40)
const WEIGHTS = Buffer.alloc(300_000, 'weights ')

/** A small repository: what the engine needs, and what it does not. */
export const FILES: Record<string, Buffer> = {
  'config.json': Buffer.from('{"model_type": "minimax_m2"}'),
  'model.safetensors.index.json': Buffer.from(
    JSON.stringify({ weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' } }),
  ),
  'model-1.safetensors': WEIGHTS,
  'model-2.safetensors': Buffer.alloc(200_000, 'more weights '),
  'tokenizer.json': Buffer.from('{}'),
  'chat_template.jinja': Buffer.from('{{ messages }}'),
  LICENSE: Buffer.alloc(0),
  'README.md': Buffer.from('# A model'),
  'pytorch_model.bin': Buffer.from('a copy'),
  'onnx/model.safetensors': Buffer.from('another'),
  'modeling.py': Buffer.from('code'),
}
export const NEEDED = Object.keys(FILES).filter((name) => !/bin$|onnx|py$/.test(name))

export interface Seen {
  /** "GET /path"; "storage GET /path" for the second server. */
  path: string
  range?: string
  token?: string
}

/** Answers a request in place of the hub; false leaves it to the hub. */
export type Fault = (request: IncomingMessage, response: ServerResponse) => boolean

export const isWeights = (name: string): boolean => name.endsWith('.safetensors')
export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
export const blobId = (bytes: Buffer): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')
export const etagOf = (name: string): string => (isWeights(name) ? sha256 : blobId)(FILES[name]!)

export class FakeHub {
  endpoint = ''
  readonly seen: Seen[] = []
  /** Asked one after the other, for each request to either server. */
  faults: Fault[] = []
  /** What the list says; a test may change it. */
  list: Record<string, unknown> = {
    sha: COMMIT,
    cardData: { license: 'other', license_name: 'modified-mit' },
    siblings: Object.entries(FILES).map(([rfilename, bytes]) => ({
      rfilename,
      size: bytes.length,
      blobId: blobId(bytes),
      ...(isWeights(rfilename) ? { lfs: { sha256: sha256(bytes), size: bytes.length } } : {}),
    })),
  }
  private readonly hub: Server
  private readonly storage: Server

  private constructor() {
    this.hub = createServer((request, response) => this.answer('', request, response))
    this.storage = createServer((request, response) => this.answer('storage ', request, response))
  }

  static async start(): Promise<FakeHub> {
    const hub = new FakeHub()
    for (const server of [hub.hub, hub.storage]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    }
    hub.endpoint = `http://127.0.0.1:${(hub.hub.address() as AddressInfo).port}`
    return hub
  }

  stop(): void {
    for (const server of [this.hub, this.storage]) {
      server.close()
      server.closeAllConnections()
    }
  }

  requests(part: string): Seen[] {
    return this.seen.filter(({ path }) => path.includes(part))
  }

  private answer(where: string, request: IncomingMessage, response: ServerResponse): void {
    const { range, authorization: token } = request.headers
    this.seen.push({ path: `${where}${request.method} ${request.url}`, range, token })
    if (this.faults.some((fault) => fault(request, response))) return
    const url = decodeURIComponent(request.url ?? '')
    if (url === `/api/models/${REPO}/revision/main?blobs=true`) {
      response.end(JSON.stringify(this.list))
      return
    }
    const name = url.replace(`/${REPO}/resolve/${COMMIT}/`, '')
    if (!(name in FILES)) response.writeHead(404).end()
    else if (!where && isWeights(name)) {
      const { port } = this.storage.address() as AddressInfo
      response.writeHead(302, { location: `http://127.0.0.1:${port}${request.url}` }).end()
    } else sendFile(FILES[name]!, request, response)
  }
}

/** The bytes that were asked for. */
export function sendFile(bytes: Buffer, request: IncomingMessage, response: ServerResponse): void {
  const begin = beginOf(request)
  const headers = { 'content-length': bytes.length - begin }
  if (begin > 0) {
    response.writeHead(206, { ...headers, 'content-range': `bytes ${begin}-${bytes.length - 1}/${bytes.length}` })
  } else response.writeHead(200, headers)
  response.end(bytes.subarray(begin))
}

export const beginOf = ({ headers }: IncomingMessage): number => Number(/\d+/.exec(headers.range ?? '')?.[0] ?? 0)

/** A fault for the first `times` requests for a file, counted where its bytes come from: not at the redirect. */
export function onFile(name: string, answer: (...args: Parameters<Fault>) => void, times = Infinity): Fault {
  let left = times
  return (request, response) => {
    if (!request.url?.endsWith(`/${name}`) || left <= 0) return false
    left--
    answer(request, response)
    return true
  }
}

/** Sends so many bytes of a file and drops the connection. */
export const drop =
  (bytes: Buffer, after: number): ((...args: Parameters<Fault>) => void) =>
  (request, response) => {
    const begin = beginOf(request)
    response.writeHead(begin > 0 ? 206 : 200, {
      'content-length': bytes.length - begin,
      ...(begin > 0 ? { 'content-range': `bytes ${begin}-${bytes.length - 1}/${bytes.length}` } : {}),
    })
    response.write(bytes.subarray(begin, begin + after), () => setTimeout(() => response.destroy(), 5))
  }
