import { readFile, stat } from 'node:fs/promises'
import { getCACertificates } from 'node:tls'
import { Agent, type Dispatcher, request } from 'undici'
import { createAwsKeys } from './aws.ts'
import { createEcrToken } from './ecr.ts'
import { signAws } from './s3.ts'
import type { Service } from './settings.ts'

export type ServiceRequest = {
  method: 'GET' | 'HEAD' | 'POST'
  /** an `authorization` here is sent in place of the service's credentials */
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
  /**
   * At an address that the service named: without its headers and its client certificate, and without its credentials
   * unless `proof` says that they go along.
   */
  elsewhere: (url: URL, options: ServiceRequest & { proof: boolean }) => Promise<Dispatcher.ResponseData>
  close: () => Promise<void>
}

/** Milliseconds that the rest of an answer may be silent. */
const BODY_SILENCE = 30_000

/** Speaks to one service with its credentials. Redirects are not followed: the address is what the configuration says. */
export function createService(service: Service, userAgent: string): ServiceClient {
  const own = connections(service)
  const proofOf = createProof(service)
  const others = connections({ ...service, credentials: { kind: 'none' } })

  const send = async (
    url: URL,
    dispatcher: Dispatcher,
    fixed: Record<string, string>,
    { method, headers, body, headersTimeout, signal }: ServiceRequest,
    proof: boolean,
  ): Promise<Dispatcher.ResponseData> => {
    const answer = await request(url, {
      dispatcher,
      method,
      headers: {
        'user-agent': userAgent,
        ...fixed,
        ...headers,
        ...(proof && !headers?.authorization && (await proofOf(method, url, body ?? ''))),
      },
      ...(body !== undefined && { body }),
      headersTimeout: headersTimeout ?? service.headerTimeout,
      bodyTimeout: BODY_SILENCE,
      signal,
    })
    // A body that is given up tells an error, which must not end the process; who reads it hears of it all the same.
    answer.body.on('error', () => undefined)
    return answer
  }

  return {
    async request(path, options) {
      const url = new URL(`${service.url}/${path.replace(/^\/+/, '')}`)
      return send(url, await own.agent(), service.headers, options, true)
    },
    elsewhere: async (url, options) => send(url, await others.agent(), {}, options, options.proof),
    async close() {
      await Promise.all([own.destroy(), others.destroy()])
    },
  }
}

/** Connections with the service's authorities and certificate; new ones when a file of theirs is another. */
function connections(service: Service): { agent: () => Promise<Agent>; destroy: () => Promise<void> } {
  let current: { look: string; agent: Agent } | undefined
  return {
    async agent() {
      const { credentials, caCert } = service
      const files = [
        caCert,
        ...(credentials.kind === 'client_tls' ? [credentials.cert, credentials.key] : []),
      ]
      const look = JSON.stringify(await Promise.all(files.map((file) => file && lookAt(file))))
      if (current?.look === look) return current.agent
      const old = current?.agent
      current = { look, agent: new Agent({ connections: 4, connect: await connectOptions(service) }) }
      old?.close().catch(() => undefined)
      return current.agent
    },
    destroy: async () => current?.agent.destroy(),
  }
}

/** Headers that say who asks. */
function createProof(
  service: Service,
): (method: string, url: URL, body: string | Uint8Array) => Promise<Record<string, string>> {
  const { name, type, credentials } = service
  if (credentials.kind === 'aws') {
    const keys = createAwsKeys(credentials.sources)
    const ecr = createEcrToken(keys, credentials.ecr)
    if (credentials.service === 'ecr') return async () => ({ authorization: `Basic ${await ecr()}` })
    return async (method, url, body) => signAws('s3', method, url, {}, body, await keys(), new Date())
  }
  if (credentials.kind !== 'bearer' && credentials.kind !== 'bearer_file') return async () => ({})
  const { scheme } = credentials
  return async () => {
    const token =
      credentials.kind === 'bearer' ? credentials.token : (await readFile(credentials.path, 'utf8')).trim()
    if (token === '' || /[\0\r\n]/.test(token))
      throw new Error(
        `service ${name}: ${credentials.kind === 'bearer' ? 'token' : credentials.path} has no token`,
      )
    // As OPA: for a registry, `user:password` is configured as it is.
    return { authorization: `${scheme} ${type === 'oci' ? Buffer.from(token).toString('base64') : token}` }
  }
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
