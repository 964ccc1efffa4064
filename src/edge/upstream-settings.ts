import { isLoopback } from './http/address.ts'
import { readFileOf, type Section } from './settings.ts'

/** `plugins.mcp.upstream`: the MCP server, by its address or by the command that starts it. */
export type UpstreamConfig =
  | {
      kind: 'http'
      url: URL
      /** of the server, and of the listener before it */
      transport: 'streamable' | 'sse'
      authorization: 'none' | 'static' | 'forward'
      /** the header value, where it is static */
      credential: string | undefined
      ca: string | undefined
      timeout: number
    }
  | {
      kind: 'stdio'
      command: string[]
      env: Record<string, string>
      cwd: string | undefined
      timeout: number
      idle: number
      maxSessions: number
    }

export function readUpstream(section: Section): UpstreamConfig {
  const command = section.strings('command')
  const url = section.optional('url')
  if (command.length > 0 === (url !== undefined))
    section.fault('url', 'exactly one of url and command is required')
  const timeout = section.duration('timeout', '5m', '100ms', '24h')
  const transport = section.oneOf('transport', ['streamable', 'sse'] as const, 'streamable')
  if (command.length > 0 && transport === 'sse')
    section.fault('transport', 'sse is HTTP with SSE (2024-11-05): it goes with url, not with command')
  if (command.length > 0) {
    const config: UpstreamConfig = {
      kind: 'stdio',
      command,
      env: section.map('env'),
      cwd: section.optional('cwd'),
      timeout,
      idle: section.duration('session_idle', '30m', '1s', '24h'),
      maxSessions: section.integer('max_sessions', 32, 1, 10_000),
    }
    section.done()
    return config
  }
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined
  if (
    url !== undefined &&
    (!parsed ||
      !['http:', 'https:'].includes(parsed.protocol) ||
      parsed.username !== '' ||
      parsed.hash !== '')
  ) {
    section.fault('url', 'must be an http or https URL without user and fragment')
  }
  // Whoever else reaches a server that is not of this machine goes past the sidecar.
  if (!section.boolean('allow_remote', false) && parsed && !isLoopback(parsed.hostname))
    section.fault('url', 'is not of this machine; if only the sidecar can reach it, say allow_remote: true')
  const authorization = section.oneOf('authorization', ['none', 'static', 'forward'] as const, 'none')
  const credential = section.optional('credential')
  if ((authorization === 'static') !== (credential !== undefined)) {
    section.fault(
      'credential',
      'the Authorization header value; goes with authorization: static, and only with it',
    )
  }
  if (authorization !== 'none' && parsed?.protocol === 'http:' && !isLoopback(parsed.hostname)) {
    section.fault('url', 'must be https, or loopback, where a credential goes along')
  }
  const caFile = section.optional('ca_file')
  const ca = caFile === undefined ? undefined : readFileOf(section, 'ca_file', caFile)
  section.done()
  return {
    kind: 'http',
    url: parsed ?? new URL('http://127.0.0.1'),
    transport,
    authorization,
    credential,
    ca,
    timeout,
  }
}
