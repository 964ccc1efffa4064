import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type DemoServer, startDemoServer } from '../../tools/demo/server.ts'
import { createIssuer, people } from '../support/assertions.ts'
import { CLIENTS, type Connected } from '../support/clients.ts'
import { defaultAnswer, startRecorder } from '../support/recorder.ts'
import { type Sidecar, startSidecar } from '../support/sidecar.ts'

const issuer = createIssuer()
const acme = { owner: 'acme', repo: 'app' }
let server: DemoServer
let sidecar: Sidecar
const open: Connected[] = []

const start = async () => {
  server = await startDemoServer()
  sidecar = await startSidecar({ upstream: server.url, jwks: issuer.jwks })
}
const stop = async () => {
  expect(await sidecar.stop()).toBe(0)
  await server.close()
}
afterEach(async () => {
  for (const client of open.splice(0)) await client.close().catch(() => undefined)
})

describe.each(CLIENTS)('a %s client', (name, connect) => {
  beforeAll(start)
  afterAll(stop)
  const as = async (person: keyof typeof people) => {
    const connected = await connect(sidecar.url, () => issuer.mint(people[person]))
    open.push(connected)
    return connected
  }

  test('sees only what it may use, and everything it does is on record', async () => {
    const before = sidecar.records().length
    const alice = await as('alice')
    const names = await alice.names()
    expect(names).toContain('create_pull_request')
    for (const hidden of [
      'merge_pull_request',
      'run_workflow',
      'update_pull_request_branch',
      'create_repository',
    ]) {
      expect(names).not.toContain(hidden)
    }
    const lists = sidecar
      .records()
      .slice(before)
      .filter((event) => event.input?.method === 'tools/list')
    expect(lists[0]?.input.identity).toMatchObject({ subject: people.alice.sub, source: 'pomerium' })
    const [, outcome] = await sidecar.recordsOf(lists[0]?.decision_id ?? '', 2)
    expect(outcome?.custom).toMatchObject({ event: 'outcome', listed: 23, hidden: 23 - names.length })
  })

  test('opens a pull request; its merge is denied in words that the model reads', async () => {
    const alice = await as('alice')
    await alice.call('create_branch', { ...acme, branch: 'feature/x', from_branch: 'main' })
    await alice.call('push_files', {
      ...acme,
      branch: 'feature/x',
      message: 'm',
      files: [{ path: 'a.txt', content: 'a' }],
    })
    const made = await alice.call('create_pull_request', {
      ...acme,
      title: 'A',
      head: 'feature/x',
      base: 'main',
    })
    expect(made.isError ?? false).toBe(false)
    const before = server.calls.length

    const denied = await alice.call('merge_pull_request', { ...acme, pullNumber: 7 })
    expect(denied.isError).toBe(true)
    const text = denied.content[0]?.text ?? ''
    expect(text).toMatch(/^Denied by policy\./)
    expect(text).toContain('[merge_not_granted]')
    expect(server.calls).toHaveLength(before)
    expect(server.repository.state().pullRequests.find((pull) => pull.number === 7)?.merged).toBe(false)

    const id = /Decision (\S+)/.exec(text)?.[1] ?? ''
    const [record] = await sidecar.recordsOf(id)
    expect(record).toMatchObject({
      path: 'mcp/main/decision',
      input: { tool: { name: 'merge_pull_request' }, arguments: { pullNumber: 7 }, server: 'github' },
      result: { allow: false, reasons: [{ code: 'merge_not_granted' }] },
      custom: { disposition: 'denied' },
    })
    expect(text).toContain(record?.bundles.mcp.revision)
  })

  test('gets the file that it asked for, which comes as an embedded resource', async () => {
    const alice = await as('alice')
    const { content } = await alice.call('get_file_contents', { ...acme, path: 'README.md' })
    expect(content).toMatchObject([
      { type: 'text' },
      { type: 'resource', resource: { uri: 'repo://acme/app/contents/README.md' } },
    ])
  })

  test('of a maintainer merges', async () => {
    const mona = await as('mona')
    expect(await mona.names()).toContain('merge_pull_request')
    const merged = await mona.call('merge_pull_request', { ...acme, pullNumber: 7 })
    expect(merged.isError ?? false).toBe(false)
    expect(server.repository.state().pullRequests.find((pull) => pull.number === 7)?.merged).toBe(true)
  })

  test('with an assertion of another key does not get in', async () => {
    const before = server.calls.length
    const stranger = createIssuer()
    await expect(connect(sidecar.url, () => stranger.mint(people.mona))).rejects.toThrow()
    expect(server.calls).toHaveLength(before)
  })

  test('reads prompts and resources only where they are granted', async () => {
    const alice = await as('alice')
    expect((await alice.client.listPrompts()).prompts).toEqual([])
    await expect(alice.client.getPrompt({ name: 'issue_to_fix' })).rejects.toThrow(/Denied by policy/)
    await expect(alice.client.readResource({ uri: 'repo://acme/app/contents/README.md' })).rejects.toThrow(
      /Denied by policy/,
    )
  })

  test.runIf(!name.includes('pinned') && !name.includes('auto'))(
    'cannot use a session of another person',
    async () => {
      const alice = await as('alice')
      const { sessionId } = (alice.client as { transport?: { sessionId?: string } }).transport ?? {}
      expect(sessionId).toBeDefined()
      for (const method of ['POST', 'GET', 'DELETE']) {
        const headers = {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'mcp-session-id': sessionId ?? '',
          'x-pomerium-jwt-assertion': issuer.mint(people.mona),
        }
        const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' })
        const answer = await fetch(sidecar.url, { method, headers, ...(method === 'POST' && { body }) })
        expect(answer.status).toBe(404)
        await answer.body?.cancel()
      }
      expect(await alice.names()).toContain('get_me')
    },
  )
})

test('a session outlives the sidecar: its key is enough', async () => {
  await start()
  onTestFinished(stop)
  const [, connect] = CLIENTS[0] ?? []
  const port = sidecar.port
  const alice = await connect?.(sidecar.url, () => issuer.mint(people.alice))
  expect(await sidecar.stop()).toBe(0)
  sidecar = await startSidecar({
    upstream: server.url,
    jwks: issuer.jwks,
    config: { plugins: { mcp: { addr: `127.0.0.1:${port}` } } },
  })
  expect(await alice?.names()).toContain('get_me')
  await alice?.close()
})

test('SIGTERM lets a call in hand finish, ends streams, and says goodbye on the record', async () => {
  let answer = () => {}
  const held = new Promise<void>((resolve) => {
    answer = resolve
  })
  let arrived = () => {}
  const inHand = new Promise<void>((resolve) => {
    arrived = resolve
  })
  const slow = await startRecorder(async (request) => {
    if (JSON.stringify(request).includes('tools/call')) {
      arrived()
      await held
    }
    return defaultAnswer(request)
  })
  const draining = await startSidecar({ upstream: slow.url, jwks: issuer.jwks })
  const [, connect] = CLIENTS[0] ?? []
  const alice = await connect?.(draining.url, () => issuer.mint(people.alice))
  const call = alice?.call('get_me', {})
  await inHand
  const stopped = draining.stop()
  await expect.poll(() => draining.logs().some((line) => line.msg === 'stopping')).toBe(true)
  answer()
  expect((await call)?.isError ?? false).toBe(false)
  expect(await stopped).toBe(0)
  await slow.close()
  expect(draining.records().at(-1)?.custom).toMatchObject({ event: 'lifecycle', cause: { code: 'stopped' } })
  const seqs = draining.records().map((event) => event.custom.seq)
  expect(seqs).toEqual(seqs.map((_seq, i) => i + 1))
})

test('health and metrics are served apart, and the MCP listener has neither', async () => {
  await start()
  onTestFinished(stop)
  for (const path of ['/health', '/health?bundles', '/health?plugins&exclude-plugin=x']) {
    const answer = await fetch(sidecar.admin + path)
    expect([answer.status, await answer.text()]).toEqual([200, '{}'])
  }
  const metrics = await (await fetch(`${sidecar.admin}/metrics`)).text()
  expect(metrics).toMatch(/plugin_status_gauge\{name="mcp",status="OK"\} 1/)
  expect(metrics).toMatch(/last_success_bundle_activation\{name="mcp",active_revision="sha256:/)
  for (const path of ['/health', '/metrics']) {
    expect((await fetch(new URL(path, sidecar.url))).status).toBe(404)
  }
})
