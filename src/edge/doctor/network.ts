import { accessSync, constants } from 'node:fs'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { delimiter, join } from 'node:path'
import { Agent, request } from 'undici'
import { isLoopback } from '../http/address.ts'
import { readJwks } from '../judge/assertion.ts'
import type { KeySource } from '../judge/keys.ts'
import { createKeyStore } from '../judge/keys.ts'
import { type Finding, fault, fine, note } from './finding.ts'

const WAIT = 5_000

/** Whether there are keys, and whether the clock of their source and ours agree. @param tolerance seconds */
export async function examineKeys(source: KeySource, tolerance: number): Promise<Finding[]> {
  const store = await createKeyStore(source, () => undefined)
  const { loaded, error } = store.state()
  await store.close()
  const from = source.kind === 'url' ? source.url : source.kind === 'file' ? source.path : 'identity.jwks'
  if (!loaded) {
    const todo =
      source.kind === 'url'
        ? 'open the URL from this machine: it is https://<a host of Pomerium>/.well-known/pomerium/jwks.json, and needs identity.ca_file where its certificate is of a private CA'
        : 'take the document from https://<a host of Pomerium>/.well-known/pomerium/jwks.json'
    return [fault('keys', `${from}: ${error}`, todo)]
  }
  const found = [fine('keys', `${from} has keys that can verify assertions`)]
  if (source.kind === 'url') found.push(await examineClock(source, tolerance))
  return found
}

async function examineClock(source: { url: string; ca?: string }, tolerance: number): Promise<Finding> {
  const agent = new Agent({ connect: source.ca === undefined ? {} : { ca: source.ca } })
  try {
    const began = Date.now()
    const answer = await request(source.url, { dispatcher: agent, signal: AbortSignal.timeout(WAIT) })
    const text = await answer.body.text()
    const theirs = Date.parse(String(answer.headers.date))
    if (!readJwks(text) || Number.isNaN(theirs))
      return note('clock', 'the source of the keys says no time', 'compare the clock with Pomerium by hand')
    // The header has whole seconds, and the answer took its time.
    const off = Math.round((Date.now() - theirs) / 1000)
    const slack = 1 + (Date.now() - began) / 1000
    if (Math.abs(off) > tolerance + slack)
      return fault(
        'clock',
        `this clock is ${Math.abs(off)} s ${off > 0 ? 'ahead of' : 'behind'} that of the source of the keys, and ${tolerance} s are allowed`,
        'set the clock of both by NTP: assertions are valid for five minutes',
      )
    return fine('clock', 'agrees with that of the source of the keys')
  } catch (error) {
    return note('clock', (error as Error).message, 'compare the clock with Pomerium by hand')
  } finally {
    await agent.close()
  }
}

/** Whether the MCP server is there, and whether others than the sidecar reach it. */
export async function examineServer(url: URL): Promise<Finding[]> {
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const found: Finding[] = []
  if (await connects(host, port)) found.push(fine('upstream', `${url.host} listens`))
  else
    found.push(
      fault(
        'upstream',
        `nobody listens at ${url.host}`,
        'start the MCP server, or mend plugins.mcp.upstream.url; in a pod both containers share 127.0.0.1',
      ),
    )
  if (!isLoopback(url.hostname)) {
    found.push(
      note(
        'upstream',
        `${url.hostname} is another machine: whoever reaches it goes past the sidecar`,
        'let a network policy or a client certificate admit the sidecar alone, or put the server beside it on 127.0.0.1',
      ),
    )
    return found
  }
  for (const address of ownAddresses()) {
    if (await connects(address, port))
      found.push(
        fault(
          'upstream',
          `the MCP server is reached at ${address}:${port}, past the sidecar`,
          'let it listen on 127.0.0.1 only (for GitHub: --listen-host=127.0.0.1)',
        ),
      )
  }
  return found
}

/** Addresses of this machine that others can reach. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(
      ({ internal, family, address }) => !internal && !(family === 'IPv6' && address.startsWith('fe80')),
    )
    .map(({ address }) => address)
}

const connects = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2_000 })
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
    socket.once('timeout', () => end(false))
  })

export function examineCommand([program = '']: string[], path: string): Finding {
  const places = program.includes('/')
    ? [program]
    : path.split(delimiter).map((folder) => join(folder, program))
  for (const place of places) {
    try {
      accessSync(place, constants.X_OK)
      return fine('upstream', `${place} can be started`)
    } catch {
      // Not here.
    }
  }
  return fault(
    'upstream',
    `there is no program ${program}`,
    'install it, or mend plugins.mcp.upstream.command',
  )
}

/** What Pomerium answers at its route to somebody who is not signed in tells what kind of route it is. */
export async function examineRoute(route: string, ca: string | undefined): Promise<Finding> {
  const agent = new Agent({ connect: ca === undefined ? {} : { ca } })
  try {
    const body = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
    const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
    const options = {
      method: 'POST',
      headers,
      body,
      dispatcher: agent,
      signal: AbortSignal.timeout(WAIT),
    } as const
    const answer = await request(route, options)
    const text = await answer.body.text()
    const challenge = String(answer.headers['www-authenticate'] ?? '')
    if (answer.statusCode === 401 && challenge.includes('resource_metadata'))
      return fine('route', `${route} asks for a sign-in as a route of an MCP server does`)
    // Pomerium sends browsers to a page, and tells others that they are not signed in and not how they could.
    if (
      (answer.statusCode >= 300 && answer.statusCode < 400) ||
      (answer.statusCode === 401 && challenge === '')
    )
      return fault(
        'route',
        `${route} asks for a sign-in as a route for browsers does (${answer.statusCode})`,
        'give the route mcp: {server: {}} in Pomerium: without it agents cannot sign in, and streams are cut after 30 s',
      )
    if (answer.statusCode === 404)
      return fault(
        'route',
        `${route} is not there (404)`,
        'mend the host: Pomerium has no route with it in from; the path is that of plugins.mcp.endpoint',
      )
    if (answer.statusCode === 403 && text.includes('No identity'))
      return fault(
        'route',
        `${route} let somebody without an identity through to the sidecar, which refused`,
        'give the route a policy and pass_identity_headers: true in Pomerium',
      )
    if (answer.statusCode === 200)
      return fault('route', `${route} answers anybody`, 'let nobody but Pomerium reach the sidecar')
    return note(
      'route',
      `${route} answers ${answer.statusCode}`,
      'look into the log of Pomerium for this request',
    )
  } catch (error) {
    return fault(
      'route',
      `${route}: ${(error as Error).message}`,
      'mend the address, or the certificate (identity.ca_file)',
    )
  } finally {
    await agent.close()
  }
}

/** What a sidecar that runs says of itself. */
export async function examineRunning(addr: string): Promise<Finding> {
  try {
    const answer = await request(`http://${addr}/health?bundles&plugins`, {
      signal: AbortSignal.timeout(WAIT),
    })
    const text = await answer.body.text()
    if (answer.statusCode === 200) return fine('running', `the sidecar at ${addr} is ready`)
    return fault(
      'running',
      `the sidecar at ${addr} is not ready: ${text.slice(0, 500)}`,
      'mend what it names',
    )
  } catch {
    return note('running', `no sidecar answers at ${addr}`, 'start it: mcp-opa-sidecar run')
  }
}
