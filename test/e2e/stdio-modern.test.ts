// 2026-07-28 over stdio, on either side: the official client and server, and what needs the one channel that they share.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createIssuer, people } from '../support/assertions.ts'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'
import { startTalkingServer } from '../support/talking.ts'

const POLICY = `answer := {"allow": false, "reasons": [{"code": "no_deleting", "title": "Nothing is deleted here"}]} if {
	input.tool.name == "delete_all"
} else := {"allow": false, "reasons": [{"code": "no_answer", "title": "Nothing is told"}]} if {
	input.kind == "response"
	input.response.result.content.name == "secret"
} else := {"allow": true}`
const SERVER = [process.execPath, 'test/support/stdio-server.ts', 'dual']
const LONG = { timeout: 60_000 }

describe.skipIf(noOpa)('2026-07-28 over stdio', () => {
  const issuer = createIssuer()
  let bundle: Awaited<ReturnType<typeof buildBundle>>
  let upstream: Awaited<ReturnType<typeof startTalkingServer>>
  let sidecar: Sidecar
  let folder: string
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'mcp-modern-'))
    bundle = await buildBundle({ 'main.rego': mainPolicy(POLICY) })
    upstream = await startTalkingServer()
    sidecar = await startSidecar({
      upstream: undefined,
      jwks: issuer.jwks,
      config: {
        bundles: { mcp: { resource: bundle.path } },
        plugins: { mcp: { upstream: { command: SERVER, timeout: '60s' } } },
      },
    })
  })
  afterAll(async () => {
    await sidecar?.stop()
    await upstream?.close()
    await bundle?.dispose()
    rmSync(folder, { recursive: true, force: true })
  })

  const ours = (more: string[]) => {
    const spool = join(folder, String(Math.random()))
    const slow = ['--set', 'plugins.mcp.evaluation.deadline=5s', '--spool', spool]
    const args = ['src/main.ts', 'stdio', '-b', bundle.path, '--server', 'test', '--subject', 'ann', ...slow]
    const env = { PATH: process.env.PATH ?? '' }
    return new StdioClientTransport({
      command: process.execPath,
      args: [...args, ...more],
      env,
      stderr: 'ignore',
    })
  }
  const transports = {
    'HTTP to stdio': () => {
      const headers = { 'x-pomerium-jwt-assertion': issuer.mint(people.alice) }
      return new StreamableHTTPClientTransport(new URL(sidecar.url), { requestInit: { headers } })
    },
    'stdio to stdio': () => ours(['--', ...SERVER]),
    'stdio to HTTP': () => ours(['--upstream', upstream.url]),
  }
  const connect = async (way: keyof typeof transports, name = 'ann') => {
    const client = new Client(
      { name: 'modern', version: '1' },
      { capabilities: { elicitation: {} }, versionNegotiation: { mode: { pin: '2026-07-28' } } },
    )
    client.setRequestHandler('elicitation/create', async () => ({
      action: 'accept' as const,
      content: { name },
    }))
    await client.connect(transports[way](), LONG)
    return client
  }
  const say = async (client: Client, name: string) => {
    const { content, isError } = await client.callTool({ name, arguments: {} }, LONG)
    return `${isError ? 'error: ' : ''}${(content as { text: string }[])[0]?.text}`
  }

  describe.each(Object.keys(transports) as (keyof typeof transports)[])('%s', (way) => {
    // Over stdio each connection is two starts of the program: one is asked what it speaks.
    let client: Client
    beforeAll(async () => {
      client = await connect(way)
    }, 120_000)
    afterAll(() => client?.close())

    test('lists, calls, denials, and questions with their answers', { timeout: 120_000 }, async () => {
      const names = (await client.listTools(undefined, LONG)).tools.map(({ name }) => name)
      expect(names).toEqual(expect.arrayContaining(['echo', 'hang', 'steps']))
      expect(await say(client, 'ask')).toContain('"name":"ann"')
      expect(await say(client, 'delete_all')).toContain('Nothing is deleted here [no_deleting]')
      const secret = await connect(way, 'secret')
      expect(await say(secret, 'ask')).toContain('Nothing is told [no_answer]')
      await secret.close()
    })

    test('progress reaches the call that asked for it', { timeout: 120_000 }, async () => {
      const seen: number[][] = [[], []]
      const walks = seen.map((steps) => {
        const onprogress = ({ progress }: { progress: number }) => void steps.push(progress)
        return client.callTool({ name: 'steps', arguments: {} }, { ...LONG, onprogress })
      })
      const all = [1, 2, 3]
      await expect.poll(() => seen, { timeout: 60_000 }).toEqual([all, all])
      await say(client, 'arrive')
      expect(await Promise.all(walks)).toMatchObject(Array(2).fill({ content: [{ text: 'walked' }] }))
    })

    test('a call that is cancelled is cancelled at the server', { timeout: 120_000 }, async () => {
      const before = Number(await say(client, 'cancelled'))
      const leave = new AbortController()
      const call = client.callTool({ name: 'hang', arguments: {} }, { ...LONG, signal: leave.signal })
      // What is asked after it is answered, so it is under way.
      await say(client, 'pid')
      leave.abort()
      await expect(call).rejects.toThrow()
      await expect
        .poll(async () => Number(await say(client, 'cancelled')), { timeout: 60_000 })
        .toBe(before + 1)
    })

    test('news reach who listens for them, until they do not', { timeout: 120_000 }, async () => {
      let heard = 0
      let told = () => {}
      client.setNotificationHandler('notifications/tools/list_changed', () => {
        heard++
        told()
      })
      const next = () =>
        new Promise<void>((resolve) => {
          told = resolve
        })
      const subscription = await client.listen({ toolsListChanged: true }, LONG)
      expect(subscription.honoredFilter).toEqual({ toolsListChanged: true })
      const first = next()
      await say(client, 'change')
      await first
      await subscription.close()
      expect(await subscription.closed).toBe('local')
      await say(client, 'change')
      await say(client, 'pid')
      expect(heard).toBe(1)
    })
  })

  test('two people have two processes, and one person one', { timeout: 120_000 }, async () => {
    const as = async (who: 'alice' | 'bot') => {
      const headers = { 'x-pomerium-jwt-assertion': issuer.mint(people[who]) }
      const client = new Client(
        { name: 'modern', version: '1' },
        { versionNegotiation: { mode: { pin: '2026-07-28' } } },
      )
      await client.connect(
        new StreamableHTTPClientTransport(new URL(sidecar.url), { requestInit: { headers } }),
        LONG,
      )
      const pid = await say(client, 'pid')
      await client.close()
      return pid
    }
    const alice = await as('alice')
    expect(await as('alice')).toBe(alice)
    expect(await as('bot')).not.toBe(alice)
  })
})
