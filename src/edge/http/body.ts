import type { IncomingMessage } from 'node:http'

export type BodyResult = { ok: true; body: Buffer } | { ok: false; reason: 'too_large' | 'bad_http' }

/** The whole body, at most `limit` bytes. Nothing is done with a part of one. */
export function readBody(request: IncomingMessage, limit: number): Promise<BodyResult> {
  return new Promise((resolve) => {
    const parts: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > limit) {
        request.pause()
        resolve({ ok: false, reason: 'too_large' })
      } else parts.push(chunk)
    })
    request.once('end', () => {
      // Trailers are no headers: a request that has some is ambiguous.
      if (request.rawTrailers.length > 0) resolve({ ok: false, reason: 'bad_http' })
      else resolve({ ok: true, body: parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts) })
    })
    request.once('error', () => resolve({ ok: false, reason: 'bad_http' }))
    request.once('close', () => resolve({ ok: false, reason: 'bad_http' }))
  })
}
