import { readFile, stat } from 'node:fs/promises'
import { getCACertificates } from 'node:tls'
import { Agent, type Dispatcher, request } from 'undici'
import { signS3 } from './s3.ts'
import type { Service } from './settings.ts'

export type ServiceRequest = {
  method: 'GET' | 'POST'
  headers?: Record<string, string>
  body?: string | Uint8Array
  /** milliseconds until the head of the answer, where it is not the service's own */
  headersTimeout?: number
  signal: AbortSignal
}

export type ServiceClient = {
  /**
   * @param path below the service's address
   * @throws Error where nobody answers, or a file of the credentials cannot be read
   */
  request: (path: string, options: ServiceRequest) => Promise<Dispatcher.ResponseData>
  close: () => Promise<void>
}

/** Milliseconds that the rest of an answer may be silent. */
const BODY_SILENCE = 30_000

/** Speaks to one service with its credentials. Redirects are not followed: the address is what the configuration says. */
export function createService(service: Service, userAgent: string): ServiceClient {
  let agent: { look: string; agent: Agent } | undefined

  const dispatcher = async (): Promise<Agent> => {
    const { credentials, caCert } = service
    const files = [caCert, ...(credentials.kind === 'client_tls' ? [credentials.cert, credentials.key] : [])]
    const look = JSON.stringify(await Promise.all(files.map((file) => file && lookAt(file))))
    if (agent?.look === look) return agent.agent
    const old = agent?.agent
    agent = { look, agent: new Agent({ connections: 4, connect: await connectOptions(service) }) }
    old?.close().catch(() => undefined)
    return agent.agent
  }

  return {
    async request(path, { method, headers, body, headersTimeout, signal }) {
      const url = new URL(`${service.url}/${path.replace(/^\/+/, '')}`)
      const proof = await proofOf(service, method, url, body ?? '')
      const answer = await request(url, {
        dispatcher: await dispatcher(),
        method,
        headers: {
          'user-agent': userAgent,
          ...service.headers,
          ...headers,
          ...proof,
        },
        ...(body !== undefined && { body }),
        headersTimeout: headersTimeout ?? service.headerTimeout,
        bodyTimeout: BODY_SILENCE,
        signal,
      })
      // A body that is given up tells an error, which must not end the process; who reads it hears of it all the same.
      answer.body.on('error', () => undefined)
      return answer
    },
    close: async () => agent?.agent.destroy(),
  }
}

/** Headers that say who asks. */
async function proofOf(
  { name, credentials }: Service,
  method: string,
  url: URL,
  body: string | Uint8Array,
): Promise<Record<string, string>> {
  if (credentials.kind === 's3') return signS3(method, url, {}, body, credentials.keys, new Date())
  if (credentials.kind === 'bearer') return { authorization: `${credentials.scheme} ${credentials.token}` }
  if (credentials.kind !== 'bearer_file') return {}
  const token = (await readFile(credentials.path, 'utf8')).trim()
  if (token === '' || /[\0\r\n]/.test(token))
    throw new Error(`service ${name}: ${credentials.path} has no token`)
  return { authorization: `${credentials.scheme} ${token}` }
}

async function connectOptions({ caCert, systemCa, credentials }: Service) {
  const ca = [
    ...(systemCa ? [...getCACertificates('default'), ...getCACertificates('system')] : []),
    ...(caCert === undefined ? [] : [await readFile(caCert, 'utf8')]),
  ]
  return {
    ca,
    timeout: 10_000,
    ...(credentials.kind === 'client_tls' && {
      cert: await readFile(credentials.cert),
      key: await readFile(credentials.key),
      ...(credentials.passphrase !== undefined && { passphrase: credentials.passphrase }),
    }),
  }
}

async function lookAt(path: string): Promise<string> {
  const { mtimeMs, size, ino } = await stat(path)
  return `${mtimeMs} ${size} ${ino}`
}
