import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { Agent, fetch as undiciFetch } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEMO_IMAGE, docker, IMAGE } from './pod.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const HOST = 'github-mcp.localhost.pomerium.io'
const app = { owner: 'acme', repo: 'app' }
const project = `mcp-test-${process.pid}`

const compose = async (...args: string[]) => {
  const files = ['-f', 'compose.yaml', '-f', 'test/containers/compose.stand-in.yaml']
  const env = { ...process.env, SIDECAR_IMAGE: IMAGE, DEMO_IMAGE }
  const { stdout } = await run('docker', ['compose', '-p', project, ...files, '--profile', 'demo', ...args], {
    cwd: root,
    env,
    maxBuffer: 64 << 20,
  })
  return stdout.trim()
}
const idOf = (service: string) => compose('ps', '--all', '--quiet', service)
const inspect = async (service: string) => JSON.parse(await docker('inspect', await idOf(service)))[0]

let agent: Agent
let url: string
beforeAll(async () => {
  await run('deploy/compose/prepare.sh', { cwd: root })
  await compose('up', '--detach', '--wait', 'sidecar', 'pomerium', 'demo')
  const port = (await compose('port', 'pomerium', '8443')).split(':').at(-1)
  url = `https://${HOST}:${port}/mcp`
  // The names of compose.yaml are in public DNS; here they are said, so that the test needs none.
  agent = new Agent({
    connect: {
      ca: readFileSync(new URL('../../deploy/compose/run/ca.pem', import.meta.url), 'utf8'),
      lookup: (_name, options, done) =>
        options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
    },
  })
})
afterAll(async () => {
  await agent?.close()
  await compose('down', '--volumes', '--timeout', '5')
})

const through = (person: string | undefined) =>
  ((input: string | URL, init?: RequestInit) => {
    const headers = new Headers(init?.headers)
    if (person) headers.set('x-test-person', person)
    return undiciFetch(input, { ...init, headers, dispatcher: agent } as unknown as Parameters<
      typeof undiciFetch
    >[1])
  }) as unknown as typeof fetch
const as = async (person: string) => {
  const client = new Client({ name: 'test', version: '1' })
  const transport = new StreamableHTTPClientTransport(new URL(url), { fetch: through(person) })
  await client.connect(transport as Parameters<Client['connect']>[0])
  return client
}
const textOf = (result: unknown) => JSON.stringify((result as { content: unknown }).content)
const merge = { name: 'merge_pull_request', arguments: { ...app, pullNumber: 7 } }

describe('docker compose --profile demo, with a stand-in that signs assertions as Pomerium does', () => {
  test('one person may not merge, another may, and somebody without a grant sees no tools', async () => {
    const alice = await as('alice')
    expect(textOf(await alice.callTool(merge))).toContain('merge_not_granted')
    expect((await alice.callTool({ name: 'list_issues', arguments: app })).isError).not.toBe(true)
    const mona = await as('mona')
    expect(textOf(await mona.callTool(merge))).not.toContain('Denied by policy')
    const nobody = await as('nobody')
    expect((await nobody.listTools()).tools).toEqual([])
    for (const client of [alice, mona, nobody]) await client.close()
  })

  test('the commands of docs/compose.md on the record', async () => {
    const alice = await as('alice')
    const told = textOf(await alice.callTool(merge))
    await alice.close()
    const id = /Decision ([0-9a-f-]{36})/.exec(told)?.[1] ?? ''
    const page = readFileSync(new URL('../../docs/compose.md', import.meta.url), 'utf8')
    const commands = page.match(/^docker compose (?:exec sidecar|logs) .*$/gm) ?? []
    expect(commands).toHaveLength(4)
    const says: Record<string, RegExp> = {
      tail: /merge_pull_request/,
      explain: /merge_pull_request/,
      // The stand-in asks nobody to sign in: the sidecar's answer says so, and the rest is in order.
      doctor: /fault {2}route: \S+ let somebody without an identity through[\s\S]*\n1 fault\(s\) found/,
      logs: /"msg":"listening"/,
    }
    for (const command of commands) {
      const [, , ...words] = command.replace('DECISION_ID', id).split(' ')
      const args = words[0] === 'exec' ? ['exec', '-T', ...words.slice(1)] : words
      const what = Object.keys(says).find((name) => words.includes(name)) ?? ''
      // doctor ends with 1 where it finds a fault.
      const said = await compose(...args).catch((error: { stdout: string }) => error.stdout)
      expect(said, command).toMatch(says[what] ?? /^no such command$/)
    }
  })

  test('a route that passes no identity is refused with words', async () => {
    const answer = await through(undefined)(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
    })
    expect(answer.status).toBe(403)
    expect(await answer.text()).toContain('assertion')
  })

  test('on the network of the others only MCP is reached', async () => {
    const script = `const net = require('net')
      const ask = (port) => new Promise((done) => { const s = net.connect(port, 'sidecar'); s.once('connect', () => { s.destroy(); done('connected') }); s.once('error', (e) => done(e.code)) })
      Promise.all([8081, 8082, 8282].map(ask)).then((all) => console.log(all.join(' ')))`
    const said = await compose('exec', '-T', 'pomerium', '/usr/local/bin/node', '-e', script)
    expect(said).toBe('connected ECONNREFUSED ECONNREFUSED')
  })

  test('every container is read-only, without capabilities, and restarts', async () => {
    for (const service of ['sidecar', 'pomerium', 'demo']) {
      const { HostConfig } = await inspect(service)
      expect(HostConfig.ReadonlyRootfs, service).toBe(true)
      expect(HostConfig.CapDrop, service).toEqual(['ALL'])
      expect(HostConfig.SecurityOpt, service).toContain('no-new-privileges:true')
      expect(HostConfig.RestartPolicy.Name, service).toBe('unless-stopped')
      for (const bound of Object.values(HostConfig.PortBindings ?? {}) as { HostIp: string }[][])
        expect(bound[0]?.HostIp, service).toBe('127.0.0.1')
    }
  })

  test('after a restart of the sidecar the server is with it again, and sessions and records are there', async () => {
    const alice = await as('alice')
    expect((await alice.callTool({ name: 'list_issues', arguments: app })).isError).not.toBe(true)
    await compose('up', '--detach', '--wait', '--force-recreate', 'sidecar', 'demo')
    const again = await as('alice')
    expect((await again.callTool({ name: 'list_issues', arguments: app })).isError).not.toBe(true)
    await again.close()
    const script = `const fs = require('fs'), at = '/var/lib/mcp-opa-sidecar'
      console.log(fs.readdirSync(at).filter((name) => name.endsWith('.jsonl')).map((name) => fs.readFileSync(at + '/' + name, 'utf8')).join(''))`
    const records = await compose('exec', '-T', 'sidecar', '/usr/local/bin/node', '-e', script)
    expect(records).toContain('"merge_not_granted"')
    expect(records).toContain('"stopped"')
  })
})
