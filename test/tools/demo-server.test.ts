import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { Client as V1Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as V1Transport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type DemoServer, startDemoServer } from '../../tools/demo/server.ts'

type Result = { isError?: boolean; content: { type: string; text?: string }[] }
type Connected = {
  names: () => Promise<string[]>
  prompts: () => Promise<string[]>
  resources: () => Promise<string[]>
  read: (uri: string) => Promise<string>
  call: (name: string, args: Record<string, unknown>) => Promise<Result>
  close: () => Promise<void>
}

const info = { name: 'test', version: '1' }
const acme = { owner: 'acme', repo: 'app' }

const facade = (client: Client | V1Client, close: () => Promise<void>): Connected => ({
  names: async () => (await client.listTools()).tools.map(({ name }) => name),
  prompts: async () => (await client.listPrompts()).prompts.map(({ name }) => name),
  resources: async () => (await client.listResources()).resources.map(({ uri }) => uri),
  read: async (uri) => JSON.stringify((await client.readResource({ uri })).contents),
  call: async (name, args) => (await client.callTool({ name, arguments: args })) as Result,
  close,
})

const v1 = async (url: string): Promise<Connected> => {
  const [client, transport] = [new V1Client(info), new V1Transport(new URL(url))]
  await client.connect(transport as Parameters<V1Client['connect']>[0])
  return facade(client, async () => {
    await transport.terminateSession()
    await client.close()
  })
}

const v2 =
  (mode: 'legacy' | 'auto' | { pin: string }, era: 'legacy' | 'modern') =>
  async (url: string): Promise<Connected> => {
    const client = new Client(info, { versionNegotiation: { mode } })
    const requestInit = { headers: { Authorization: 'Bearer secret' } }
    const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit })
    await client.connect(transport)
    expect(client.getProtocolEra()).toBe(era)
    return facade(client, async () => {
      await transport.terminateSession()
      await client.close()
    })
  }

let server: DemoServer
beforeEach(async () => {
  server = await startDemoServer()
})
afterEach(() => server.close())

describe.each([
  ['v1', v1],
  ['v2 legacy', v2('legacy', 'legacy')],
  ['v2 auto', v2('auto', 'modern')],
  ['v2 pinned to 2026-07-28', v2({ pin: '2026-07-28' }, 'modern')],
])('the %s client', (name, connect) => {
  let client: Connected
  beforeEach(async () => {
    client = await connect(server.url)
  })
  afterEach(() => client.close())

  it('lists tools, a prompt and a resource, and reads it', async () => {
    expect(await client.names()).toHaveLength(23)
    expect(await client.prompts()).toEqual(['issue_to_fix'])
    expect(await client.resources()).toEqual(['repo://acme/app/contents/README.md'])
    expect(await client.read('repo://acme/app/contents/README.md')).toContain('# app')
  })

  it('opens a pull request and merges it', async () => {
    const file = { branch: 'hello', path: 'docs/hello.md', content: 'Hello\n', message: 'Say hello' }
    await client.call('create_branch', { ...acme, branch: 'hello' })
    await client.call('create_or_update_file', { ...acme, ...file })
    const opened = await client.call('create_pull_request', {
      ...acme,
      title: 'Hello',
      head: 'hello',
      base: 'main',
    })
    expect(opened.isError).toBeFalsy()
    const { number } = JSON.parse(opened.content[1]!.text!) as { number: number }
    expect(server.repository.state().main.files).not.toHaveProperty(['docs/hello.md'])

    const merged = await client.call('merge_pull_request', { ...acme, pullNumber: number })
    expect(merged.content[0]!.text).toBe(`Merged pull request #${number}`)
    const { pullRequests, main } = server.repository.state()
    expect(pullRequests.find((pull) => pull.number === number)).toMatchObject({
      state: 'closed',
      merged: true,
    })
    expect(main.files['docs/hello.md']).toBe('Hello\n')
    expect(server.calls.at(-1)).toEqual({
      tool: 'merge_pull_request',
      arguments: { ...acme, pullNumber: number },
      authorization: name !== 'v1',
    })
  })

  it('answers what GitHub would refuse, and wrong arguments, with isError', async () => {
    const other = await client.call('get_issue', { owner: 'acme', repo: 'other', issue_number: 1 })
    expect(other).toMatchObject({ isError: true, content: [{ text: 'failed to get issue: 404 Not Found' }] })
    expect(await client.call('merge_pull_request', { ...acme, pullNumber: 'seven' })).toMatchObject({
      isError: true,
    })
    await expect(client.call('no_such_tool', {})).rejects.toThrow('no_such_tool')
  })
})

describe('the repository', () => {
  it('refuses a second merge, and a merge of what both sides changed', () => {
    const { repository } = server
    repository.mergePull(7)
    expect(() => repository.mergePull(7)).toThrow('not mergeable')
    repository.pushFiles('main', 'Deploy', [{ path: '.github/workflows/deploy.yml', content: 'on: push\n' }])
    expect(() => repository.mergePull(8)).toThrow('not mergeable')
  })

  it('squashes onto one parent, updates a branch from its base, and moves a base', () => {
    const { repository } = server
    repository.mergePull(7, 'squash')
    expect(repository.commits({})[0]).toMatchObject({
      message: 'Shorten the timeout',
      parents: [expect.any(String)],
    })
    repository.updatePullBranch(8)
    expect(repository.file('src/config.json', 'ci/faster-deploy').content).toContain('5000')
    repository.createBranch('release', 'main')
    expect(repository.updatePull(8, { base: 'release' }).base.ref).toBe('release')
  })

  it('takes owner and name in any case, as GitHub does', () => {
    expect(() => server.repository.require('ACME', 'App')).not.toThrow()
    expect(() => server.repository.require('acme', 'app2')).toThrow('Not Found')
  })
})

describe('the transport', () => {
  const post = (headers: Record<string, string>, body: unknown) =>
    fetch(server.url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        ...headers,
      },
      body: JSON.stringify(body),
    })
  const ping = { jsonrpc: '2.0', id: 1, method: 'ping' }

  it('knows its own sessions only, until they are deleted', async () => {
    expect((await post({}, ping)).status).toBe(400)
    expect((await post({ 'mcp-session-id': 'other' }, ping)).status).toBe(404)
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: info }
    const started = await post({}, { ...ping, method: 'initialize', params })
    const session = { 'mcp-session-id': started.headers.get('mcp-session-id')! }
    expect(await started.text()).toContain('"protocolVersion":"2025-06-18"')
    expect((await post(session, ping)).status).toBe(200)
    expect((await fetch(server.url, { method: 'DELETE', headers: session })).status).toBe(200)
    expect((await post(session, ping)).status).toBe(404)
  })

  it('refuses browsers from elsewhere, and other paths', async () => {
    expect((await post({ origin: 'https://evil.example' }, ping)).status).toBe(403)
    expect((await fetch(new URL('/', server.url))).status).toBe(404)
  })
})
