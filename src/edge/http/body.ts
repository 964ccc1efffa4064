import type { IncomingMessage } from 'node:http'

export type BodyFault = 'too_large' | 'too_many_bytes' | 'bad_http' | 'body_timeout'
export type BodyResult = { ok: true; body: Buffer } | { ok: false; reason: BodyFault }

/**
 * The whole body, at most `limit` bytes. Nothing is done with a part of one.
 * @param hold takes room for what has come; false: there is none
 */
export function readBody(
  request: IncomingMessage,
  limit: number,
  hold: (bytes: number) => boolean,
): { result: Promise<BodyResult>; giveUp: (reason: BodyFault) => void } {
  const { promise, resolve } = Promise.withResolvers<BodyResult>()
  const giveUp = (reason: BodyFault) => resolve({ ok: false, reason })
  const parts: Buffer[] = []
  let size = 0
  request.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > limit) {
      request.pause()
      giveUp('too_large')
    } else if (!hold(chunk.length)) {
      request.pause()
      giveUp('too_many_bytes')
    } else parts.push(chunk)
  })
  request.once('end', () => {
    // Trailers are no headers: a request that has some is ambiguous.
    if (request.rawTrailers.length > 0) giveUp('bad_http')
    else resolve({ ok: true, body: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts) })
  })
  request.once('error', () => giveUp('bad_http'))
  request.once('close', () => giveUp('bad_http'))
  return { result: promise, giveUp }
}
