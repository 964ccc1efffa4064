import { readFileSync } from 'node:fs'
import { createSecureContext, type Server, type TlsOptions } from 'node:tls'
import type { Section } from '../settings.ts'

/** Files in PEM. With `clientCa`, only a client with a certificate that it signed is heard. */
export type TlsFiles = { cert: string; key: string; clientCa: string | undefined }

/** `plugins.mcp.tls`; undefined where it is not set. */
export function readTls(section: Section): TlsFiles | undefined {
  const [cert, key, clientCa] = [
    section.optional('cert_file'),
    section.optional('key_file'),
    section.optional('client_ca_file'),
  ]
  section.done()
  if (cert === undefined && key === undefined && clientCa === undefined) return undefined
  if (cert === undefined || key === undefined) {
    section.fault('cert_file', 'cert_file and key_file go together')
    return undefined
  }
  const files = { cert, key, clientCa }
  try {
    readOptions(files)
  } catch (error) {
    section.fault('cert_file', (error as Error).message)
  }
  return files
}

/**
 * What `node:tls` needs. TLS 1.2 at least; no session is resumed where a client must show a certificate, for a
 * resumed one is not asked for it again.
 * @throws Error if a file cannot be read, or key and certificate do not match
 */
export function readOptions(files: TlsFiles): TlsOptions {
  const [cert, key] = [readFileSync(files.cert), readFileSync(files.key)]
  const ca = files.clientCa === undefined ? undefined : readFileSync(files.clientCa)
  createSecureContext({ cert, key, ...(ca && { ca }) })
  if (ca && !/-----BEGIN CERTIFICATE-----/.test(ca.toString('latin1')))
    throw new Error(`${files.clientCa}: has no certificate`)
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    handshakeTimeout: 5_000,
    ...(ca && { ca, requestCert: true, rejectUnauthorized: true, secureOptions: NO_TICKET }),
  }
}
/** `SSL_OP_NO_TICKET`. */
const NO_TICKET = 1 << 14

/**
 * Reads the files again and again: a change is taken over for new connections, a half-written one when it is whole.
 * @param changed told of a change that is in force; connections from before should end with their next answer
 */
export function watchTls(
  server: Server,
  files: TlsFiles,
  every: number,
  changed: () => void,
  failed: (error: Error) => void,
): () => void {
  const read = () => [files.cert, files.key, files.clientCa].map(textOf).join('\0')
  let current = read()
  let said = ''
  const timer = setInterval(() => {
    const next = read()
    if (next === current) return
    try {
      const { requestCert: _, rejectUnauthorized: __, handshakeTimeout: ___, ...context } = readOptions(files)
      server.setSecureContext(context)
      current = next
      said = ''
      changed()
    } catch (error) {
      // The same fault is told once.
      if ((error as Error).message !== said) failed(error as Error)
      said = (error as Error).message
    }
  }, every)
  timer.unref()
  return () => clearInterval(timer)
}

function textOf(path: string | undefined): string {
  try {
    return path === undefined ? '' : readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
