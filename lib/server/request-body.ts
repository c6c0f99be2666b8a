import type { IncomingMessage, ServerResponse } from 'node:http'
import { isObject, type JsonObject, reasonOf } from '../text/input'
import { HttpError } from './failure'

/**
 * The JSON object that a request brings.
 * @throws {HttpError} 413, 415, or 400 for what is no UTF-8, no JSON, no object.
 */
export async function readJson(req: IncomingMessage, res: ServerResponse, mostBytes: number): Promise<JsonObject> {
  const encoding = req.headers['content-encoding'] ?? 'identity'
  if (encoding.toLowerCase() !== 'identity') {
    throw new HttpError(415, `content-encoding: expected identity, found ${JSON.stringify(encoding)}`)
  }
  if (Number(req.headers['content-length'] ?? 0) > mostBytes) throw tooLarge(mostBytes)
  if (req.headers.expect !== undefined) res.writeContinue()
  const body = parse(await readBytes(req, mostBytes))
  if (!isObject(body)) throw new HttpError(400, 'body: expected a JSON object')
  return body
}

/** Not by iterating: leaving that loop would close the connection, and the client would not hear why. */
function readBytes(req: IncomingMessage, mostBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let pieces: Buffer[] = []
    let size = 0
    req.on('data', (piece: Buffer) => {
      size += piece.length
      if (size <= mostBytes) pieces.push(piece)
      else {
        pieces = []
        reject(tooLarge(mostBytes))
      }
    })
    req.on('end', () => resolve(Buffer.concat(pieces)))
    const cutOff = () => reject(new HttpError(400, 'body: expected all of it, found a connection that ended before'))
    req.on('error', cutOff)
    req.on('close', cutOff)
  })
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const found = cause instanceof SyntaxError ? reasonOf(cause) : 'bytes that are not UTF-8'
    throw new HttpError(400, `body: expected JSON, found ${bytes.length === 0 ? 'nothing' : found}`)
  }
}

function tooLarge(mostBytes: number): HttpError {
  return new HttpError(413, `body: expected at most ${mostBytes} bytes, found more`)
}
