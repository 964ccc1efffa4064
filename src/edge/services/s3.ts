import { createHash, createHmac } from 'node:crypto'

/** Credentials of AWS, or of what speaks its S3. */
export type AwsKeys = { id: string; secret: string; token: string | undefined; region: string }

/**
 * Headers that sign a request (AWS docs, "Signature Version 4", `Authorization` header). The host and what is in `headers`
 * are signed too.
 * @param service `s3`; or another, for the path `/`: S3 alone signs a path as it is
 * @param url its path as it goes on the wire
 * @param time of the request
 */
export function signAws(
  service: 's3' | 'sts' | 'ecr',
  method: string,
  url: URL,
  headers: Record<string, string>,
  body: string | Uint8Array,
  keys: AwsKeys,
  time: Date,
): Record<string, string> {
  const at = `${time.toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`
  const day = at.slice(0, 8)
  const digest = sha256(body)
  const own = {
    'x-amz-content-sha256': digest,
    'x-amz-date': at,
    ...(keys.token !== undefined && { 'x-amz-security-token': keys.token }),
  }
  const signed = Object.entries({ ...headers, ...own, host: url.host })
    .map(([name, value]) => [name.toLowerCase(), value.trim().replace(/ +/g, ' ')] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
  const names = signed.map(([name]) => name).join(';')
  const query = [...url.searchParams]
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .sort()
    .join('&')
  const lines = signed.map(([name, value]) => `${name}:${value}\n`).join('')
  const request = [method, url.pathname, query, lines, names, digest].join('\n')
  const scope = `${day}/${keys.region}/${service}/aws4_request`
  const text = ['AWS4-HMAC-SHA256', at, scope, sha256(request)].join('\n')
  let key: Buffer = Buffer.from(`AWS4${keys.secret}`)
  for (const part of [day, keys.region, service, 'aws4_request']) key = hmac(key, part)
  const signature = hmac(key, text).toString('hex')
  const authorization = `AWS4-HMAC-SHA256 Credential=${keys.id}/${scope},SignedHeaders=${names},Signature=${signature}`
  return { ...own, authorization }
}

const sha256 = (of: string | Uint8Array): string => createHash('sha256').update(of).digest('hex')
const hmac = (key: Buffer, of: string): Buffer => createHmac('sha256', key).update(of).digest()
/** As RFC 3986 has it, which `encodeURIComponent` is not in five characters. */
const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
