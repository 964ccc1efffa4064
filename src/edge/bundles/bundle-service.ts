import type { Dispatcher } from 'undici'
import type { ServiceClient } from '../services/client.ts'
import { BundleError } from './failure.ts'
import type { BundleSource } from './settings.ts'

/** What was asked for already, and how long the server may wait for what is new: seconds. */
export type Asked = { etag: string | undefined; wait: number | undefined; signal: AbortSignal }
/** Without bytes, what is there is still the newest. `waits`: the server can wait until there is something new. */
export type Answer = { bytes: Uint8Array | undefined; etag: string | undefined; waits: boolean }

/** What a server answers with that can wait (OPA docs, "HTTP Long Polling"). */
const CAN_WAIT = 'application/vnd.openpolicyagent.bundles'

/** One request of OPA's bundle service API. @throws BundleError, and what the network says */
export async function askService(
  name: string,
  { service, resource, limits }: Extract<BundleSource, { kind: 'service' }>,
  client: ServiceClient,
  { etag, wait, signal }: Asked,
): Promise<Answer> {
  const { statusCode, headers, body } = await client.request(resource, {
    method: 'GET',
    headers: {
      prefer: `modes=snapshot${wait === undefined ? '' : `;wait=${wait}`}`,
      'accept-encoding': 'identity',
      ...(etag !== undefined && { 'if-none-match': etag }),
    },
    ...(wait !== undefined && { headersTimeout: wait * 1000 + service.headerTimeout }),
    signal,
  })
  const waits = one(headers['content-type'])?.split(';')[0]?.trim().toLowerCase() === CAN_WAIT
  if (statusCode === 304 && etag !== undefined) {
    await body.dump({ limit: 64 << 10 })
    return { bytes: undefined, etag, waits: wait !== undefined }
  }
  if (statusCode !== 200) {
    body.destroy()
    throw httpFault(name, statusCode)
  }
  const bytes = await readWhole(name, headers, body, limits.bytes, 'size_limit_bytes')
  if (bytes.length === 0)
    throw new BundleError('malformed', `bundle ${name}: the service answered with nothing`)
  return { bytes, etag: one(headers.etag), waits }
}

/** @throws BundleError where it is longer than it may be */
export async function readWhole(
  name: string,
  headers: Dispatcher.ResponseData['headers'],
  body: Dispatcher.ResponseData['body'],
  most: number,
  bound: string,
): Promise<Buffer> {
  const tooLarge = () =>
    new BundleError('too_large', `bundle ${name}: the service sends more than ${most} bytes (${bound})`)
  if (Number(one(headers['content-length']) ?? 0) > most) {
    body.destroy()
    throw tooLarge()
  }
  const parts: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += (chunk as Buffer).length
    if (size > most) throw tooLarge()
    parts.push(chunk as Buffer)
  }
  return Buffer.concat(parts)
}

/** @param hint what to do about it, where that is known */
export function httpFault(name: string, status: number, hint = ''): BundleError {
  const redirect = status >= 300 && status < 400 && status !== 304
  const error = new BundleError(
    'http_status',
    `bundle ${name}: the service answered ${status}${redirect ? '; redirects are not followed, name the final address' : hint}`,
  )
  error.status = status
  return error
}

export const one = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined
