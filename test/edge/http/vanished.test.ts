// Other ends that vanish without a word: a link that is gone says no FIN. In a network namespace, with real packets.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { endsOf, silentIn } from '../../../src/edge/http/peers.ts'
import { createHttpUpstream } from '../../../src/edge/http/upstream.ts'
import { permitDecided } from '../../../src/pdp/decision.ts'
import type { Ports } from '../../../src/pep/ports.ts'
import { allowsAlice, listen, OPENS_STREAM } from './in-process.ts'

const SPACE = `mcp-${process.pid}`
/** Of this process: another may run the same test. */
const NET = `10.${200 + (Math.floor(process.pid / 250) % 50)}.${process.pid % 250}`
const [HERE, THERE] = [`${NET}.1`, `${NET}.2`]
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] })
const inside = (...args: string[]) => ip('netns', 'exec', SPACE, ...args)

/** Undefined: there is a link into another network namespace; else why there is none. */
function linkUp(): string | undefined {
  try {
    ip('netns', 'add', SPACE)
    ip('link', 'add', `a${process.pid}`, 'type', 'veth', 'peer', 'name', 'far0', 'netns', SPACE)
    ip('addr', 'add', `${HERE}/30`, 'dev', `a${process.pid}`)
    ip('link', 'set', `a${process.pid}`, 'up')
    inside('ip', 'addr', 'add', `${THERE}/30`, 'dev', 'far0')
    inside('ip', 'link', 'set', 'far0', 'up')
    inside('ip', 'link', 'set', 'lo', 'up')
    return undefined
  } catch (error) {
    return (error as Error).message.split('\n')[0]
  }
}
const linkDown = () => {
  for (const args of [
    ['link', 'del', `a${process.pid}`],
    ['netns', 'del', SPACE],
  ])
    try {
      ip(...args)
    } catch {}
}
const noLink = linkUp()
if (noLink !== undefined)
  console.warn(`SKIPPED: no network namespaces here, so no peer can vanish: ${noLink}`)
afterAll(linkDown)

/** A program in the other namespace; resolves with its first words. */
async function there(code: string) {
  const child = spawn('ip', ['netns', 'exec', SPACE, process.execPath, '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data) => resolve(String(data))),
  )
  return { said: said.trim(), kill: () => child.kill('SIGKILL') }
}

describe.skipIf(noLink !== undefined)('the link is gone', () => {
  const kills: (() => void)[] = []
  beforeAll(() => inside('ip', 'link', 'set', 'far0', 'up'))
  afterEach(() => {
    for (const kill of kills.splice(0)) kill()
  })
  const cut = () => inside('ip', 'link', 'set', 'far0', 'down')
  const mend = () => inside('ip', 'link', 'set', 'far0', 'up')

  test('a client on a stream: its place is free, long before the kernel would give up', {
    timeout: 120_000,
  }, async () => {
    mend()
    let ended = false
    const forward: Ports['forward'] = async (_permit, call) => ({
      kind: 'stream',
      frames: (async function* () {
        await new Promise((resolve) => call.signal.addEventListener('abort', resolve, { once: true }))
        ended = true
        yield* []
      })(),
    })
    const settings = { heartbeat: 200, repeats: 3, host: '0.0.0.0', streamMaxAge: 3_600_000 }
    const { port, lines } = await listen({ judge: allowsAlice, forward }, settings)
    const { said, kill } = await there(`
      const socket = require('node:net').connect(${port}, '${HERE}', () => socket.write(${JSON.stringify(OPENS_STREAM)}))
      let text = ''
      socket.on('data', (data) => { text += data; if (text.includes(': keep-alive')) console.log('streaming') })
      setInterval(() => {}, 1000)`)
    kills.push(kill)
    expect(said).toContain('streaming')
    expect(ended).toBe(false)
    cut()
    await expect.poll(() => ended, { timeout: 100_000 }).toBe(true)
    await expect.poll(() => JSON.stringify(lines.at(-1)), { timeout: 10_000 }).toContain('client_gone')
  })

  test.each(['a stream', 'a call'])(
    'an upstream with %s: what waits for it is told',
    { timeout: 120_000 },
    async (what) => {
      mend()
      const { said, kill } = await there(`
      const server = require('node:http').createServer((request, response) => {
        if (request.method === 'GET') response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
      }).listen(0, '${THERE}', () => console.log(server.address().port))`)
      kills.push(kill)
      const upstream = createHttpUpstream({
        url: new URL(`http://${THERE}:${said}/mcp`),
        connections: 2,
        timeout: 3_600_000,
        messageLimit: 1000,
        silence: 1_000,
      })
      const permit = permitDecided({ allow: true, reasons: [] }, 'd')
      if (!permit) throw new Error('no permit')
      const forward = () =>
        upstream.forward(permit, {
          kind: what === 'a call' ? 'request' : 'open',
          id: 1,
          method: what === 'a call' ? 'tools/call' : 'stream/open',
          era: 'legacy',
          version: '2025-11-25',
          text: '{}',
          headers: {},
          signal: new AbortController().signal,
        })
      try {
        if (what === 'a call') {
          const reply = forward()
          // What was sent is acknowledged, so nothing is repeated, and there is nothing to wait for but the answer.
          await expect.poll(() => established(said), { timeout: 10_000 }).toBe(true)
          cut()
          expect(await reply).toEqual({ kind: 'failed', fault: 'upstream_failed' })
        } else {
          const reply = await forward()
          if (reply.kind !== 'stream') throw new Error(reply.kind)
          const first = reply.frames[Symbol.asyncIterator]().next()
          cut()
          await expect(first).rejects.toThrow()
        }
      } finally {
        await upstream.close()
      }
    },
  )
})

/** Whether a connection to the port of the other namespace is open, and all that was sent on it is acknowledged. */
const established = (port: string): boolean =>
  readFileSync('/proc/self/net/tcp', 'latin1')
    .split('\n')
    .some((row) => {
      const [, , remote = '', state, queues = ''] = row.trim().split(/\s+/)
      const hex = Number(port).toString(16).toUpperCase().padStart(4, '0')
      return remote.endsWith(`:${hex}`) && state === '01' && queues.startsWith('00000000:')
    })

describe.skipIf(!existsSync('/proc/self/net/tcp'))('the table of connections', () => {
  const open: (Socket | Server)[] = []
  afterEach(() => {
    for (const one of open.splice(0)) 'destroy' in one ? one.destroy() : one.close()
  })

  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::', '127.0.0.1'],
    ['::1', '::1'],
  ])('has a connection at %s from %s under the same words', async (host, from) => {
    const accepted = Promise.withResolvers<Socket>()
    const server = createServer(accepted.resolve)
    open.push(server)
    const failed = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
      server.once('error', resolve).listen(0, host, () => resolve(undefined))
    })
    // A machine without IPv6 has no such address.
    if (failed?.code === 'EADDRNOTAVAIL' || failed?.code === 'EAFNOSUPPORT') return
    const { port } = server.address() as AddressInfo
    open.push(connect(port, from))
    const socket = await accepted.promise
    open.push(socket)
    const tables = ['tcp', 'tcp6'].map((name) => {
      const path = `/proc/self/net/${name}`
      return existsSync(path) ? readFileSync(path, 'latin1') : ''
    })
    const rows = tables.flatMap((table) =>
      table.split('\n').map((row) => row.trim().split(/\s+/).slice(1, 3).join(' ')),
    )
    expect(rows).toContain(endsOf(socket))
    // Both ends of it are here and answer.
    expect(tables.flatMap((table) => silentIn(Buffer.from(table), 7))).not.toContain(endsOf(socket))
  })

  test('tells which had no answer: what is repeated, or a full window that is probed', () => {
    const row = (timer: string, again: string, probes: string) =>
      `   0: 0100007F:AB9B 0100007F:8DA1 01 00000010:00000000 ${timer}:00000014 ${again}     0        ${probes} 1032717 1 0 20 4 30 10 -1`
    const of = (...rows: string[]) =>
      silentIn(Buffer.from(['  sl  local_address …', ...rows, ''].join('\n')), 7).length
    expect(of(row('01', '00000007', '0'))).toBe(1)
    expect(of(row('04', '00000000', '7'))).toBe(1)
    expect(of(row('01', '00000006', '9'), row('04', '00000009', '6'), row('02', '00000009', '9'))).toBe(0)
    expect(silentIn(Buffer.alloc(0), 7)).toEqual([])
  })
})
