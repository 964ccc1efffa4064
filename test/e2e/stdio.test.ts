// `mcp-opa-sidecar stdio` in the place of an MCP server: official clients before official servers, on real pipes.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client as V2Client } from '@modelcontextprotocol/client'
import { StdioClientTransport as V2Transport } from '@modelcontextprotocol/client/stdio'
import { Client as V1Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport as V1Transport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { buildBundle, mainPolicy, noOpa } from '../support/policy.ts'
import type { EventLine } from '../support/sidecar.ts'
import { startV1Server } from '../support/v1-server.ts'

const POLICY = `answer := {"allow": false, "reasons": [{"code": "no_deleting", "title": "Nothing is deleted here"}]} if {
	input.tool.name == "delete_all"
} else := {"allow": true}`
const MAIN = 'src/main.ts'
const SERVER = [process.execPath, 'test/support/stdio-server.ts']

let bundle: Awaited<ReturnType<typeof buildBundle>>
let folder: string

const argsOf = (more: string[]) => [
  MAIN,
  'stdio',
  '--bundle',
  bundle.path,
  '--server',
  'test',
  '--subject',
  'ann',
  '--group',
  'engineering',
  '--set',
  'plugins.mcp.evaluation.deadline=5s',
  '--spool',
  join(folder, 'spool'),
  ...more,
]
const records = (spool = join(folder, 'spool')): EventLine[] =>
  readdirSync(spool)
    .filter((name) => /^decisions-.*\.jsonl$/.test(name))
    .sort()
    .flatMap((name) => readFileSync(join(spool, name), 'utf8').trimEnd().split('\n'))
    .map((line) => JSON.parse(line))

/** The program with its standard streams in our hands. */
function start(args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH, HOME: folder, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (chunk) => out.push(chunk))
  child.stderr.on('data', (chunk) => err.push(chunk))
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve))
  const text = (parts: Buffer[]) => Buffer.concat(parts).toString()
  const lines = () =>
    text(out)
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line))
  return {
    child,
    exit,
    lines,
    stderr: () => text(err),
    send: (message: object) => child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`),
  }
}
const hello = {
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } },
}
const call = (id: number, name: string, args: object = {}) => ({
  id,
  method: 'tools/call',
  params: { name, arguments: args },
})

type Client = Pick<V1Client, 'listTools' | 'callTool' | 'close' | 'fallbackNotificationHandler'>
const info = { name: 'test-agent', version: '1' }
const options = (args: string[]) => ({
  command: process.execPath,
  args,
  env: { PATH: process.env.PATH ?? '', HOME: folder },
  stderr: 'ignore' as const,
})
const CLIENTS: [name: string, connect: (args: string[]) => Promise<Client>][] = [
  [
    'v1',
    async (args) => {
      const client = new V1Client(info)
      await client.connect(new V1Transport(options(args)))
      return client
    },
  ],
  ...(['legacy', 'auto'] as const).map((mode): [string, (args: string[]) => Promise<Client>] => [
    `v2 ${mode}`,
    async (args) => {
      const client = new V2Client(info, { versionNegotiation: { mode } })
      await client.connect(new V2Transport(options(args)))
      return client as unknown as Client
    },
  ]),
]

describe.skipIf(noOpa)('stdio', () => {
  beforeAll(async () => {
    bundle = await buildBundle({ 'main.rego': mainPolicy(POLICY) })
  })
  afterAll(() => bundle?.dispose())
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'mcp-stdio-'))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  describe.each(CLIENTS)('a %s client', (_name, connect) => {
    test.each(['v1', 'v2'])('before a %s server: allowed, denied, recorded', async (generation) => {
      const client = await connect(argsOf(['--', ...SERVER, generation]))
      expect((await client.listTools()).tools.map(({ name }) => name)).toContain('echo')
      expect(await client.callTool({ name: 'echo', arguments: { text: 'a\u2028b' } })).toMatchObject({
        content: [{ type: 'text', text: 'a\u2028b' }],
      })
      const denied = await client.callTool({ name: 'delete_all', arguments: {} })
      expect(denied).toMatchObject({ isError: true })
      expect(JSON.stringify(denied)).toContain('Nothing is deleted here [no_deleting]')
      await client.close()
      await expect
        .poll(() => records().at(-1)?.custom.cause, { timeout: 10_000 })
        .toEqual({ code: 'stopped' })
      const asked = records().filter(({ custom }) => custom.event === 'decision')
      expect(asked.map(({ input }) => input.method)).toEqual(
        expect.arrayContaining(['initialize', 'stream/open', 'tools/list', 'tools/call', 'session/end']),
      )
      for (const { input } of asked)
        expect(input.identity).toMatchObject({
          source: 'configured',
          subject: 'ann',
          groups: ['engineering'],
        })
    })

    test('before a server over HTTP: what it says of its own accord arrives', async () => {
      const upstream = await startV1Server()
      const client = await connect(argsOf(['--upstream', upstream.url]))
      const heard = Promise.withResolvers<unknown>()
      client.fallbackNotificationHandler = async (note) => heard.resolve(note)
      await expect
        .poll(() => records().some(({ input }) => input?.method === 'stream/open'), { timeout: 10_000 })
        .toBe(true)
      await client.callTool({ name: 'announce', arguments: {} })
      expect(await heard.promise).toMatchObject({ params: { data: 'hear, hear' } })
      expect(await client.callTool({ name: 'delete_all', arguments: {} })).toMatchObject({ isError: true })
      expect(upstream.stage.ran).toEqual(['announce'])
      await client.close()
      await upstream.close()
    })
  })

  test('the end of its input: what is in hand is answered, then it ends', async () => {
    const { child, exit, lines, send } = start(argsOf(['--', ...SERVER, 'v1']))
    send(hello)
    send({ method: 'notifications/initialized' })
    send(call(1, 'echo', { text: 'hi' }))
    send(call(2, 'delete_all'))
    send({ id: 3, method: 'no/such' })
    child.stdin.end()
    expect(await exit).toBe(0)
    const answers = new Map(lines().map((line) => [line.id, line]))
    expect([...answers.keys()].sort()).toEqual([0, 1, 2, 3])
    expect(answers.get(1).result.content).toEqual([{ type: 'text', text: 'hi' }])
    expect(answers.get(2).result.isError).toBe(true)
    expect(answers.get(3).error).toMatchObject({ code: -32601, data: { reason: 'unknown_method' } })
  })

  test('what is no message is refused on record, and not answered; the next line is', async () => {
    const { child, exit, lines, send, stderr } = start(argsOf(['--', ...SERVER, 'v1']))
    send(hello)
    child.stdin.write('{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/call"}\r\n\n[]\nnot json\n')
    child.stdin.write(Buffer.from([0xff, 0xfe, 0x0a]))
    send({ id: 8, method: 'ping' })
    child.stdin.end()
    expect(await exit).toBe(0)
    expect(
      lines()
        .map(({ id }) => id)
        .sort(),
    ).toEqual([0, 8])
    const refused = records().filter(({ custom }) => custom.event === 'reject')
    expect(refused.map(({ custom }) => custom.cause.code).sort()).toEqual([
      'batch',
      'duplicate_key',
      'invalid_utf8',
      'syntax',
    ])
    for (const { decision_id } of refused) expect(stderr()).toContain(decision_id)
  })

  test('a line that has no end stops it', async () => {
    const { child, exit, stderr } = start(
      argsOf(['--set', 'plugins.mcp.limits.body_bytes=1024', '--', ...SERVER, 'v1']),
    )
    child.stdin.on('error', () => undefined)
    child.stdin.write('x'.repeat(5000))
    expect(await exit).toBe(1)
    expect(stderr()).toContain('line_too_long')
  })

  test('the end of the server is its own end', async () => {
    const { exit, lines, send, stderr } = start(
      argsOf(['--', process.execPath, '-e', `${BRIEF} process.exit(3)})`]),
    )
    send(hello)
    send({ method: 'notifications/initialized' })
    expect(await exit).toBe(1)
    expect(lines()[0]).toMatchObject({ id: 0, result: { protocolVersion: '2025-11-25' } })
    expect(stderr()).toContain('server_ended')
  })

  test('a server that cannot be started is an error that says so', async () => {
    const { child, exit, lines, send } = start(argsOf(['--', join(folder, 'none')]))
    send(hello)
    child.stdin.end()
    expect(await exit).toBe(0)
    expect(lines()).toMatchObject([{ id: 0, error: { data: { reason: 'upstream_failed' } } }])
  })

  test('SIGTERM ends it with its server and a last record, whatever is in hand', async () => {
    const { child, exit, send, lines } = start(argsOf(['--', ...SERVER, 'v1']))
    send(hello)
    send(call(1, 'wait'))
    await expect.poll(() => lines().length, { timeout: 15_000 }).toBeGreaterThan(1)
    child.kill('SIGTERM')
    expect(await exit).toBe(0)
    expect(records().at(-1)?.custom.cause).toEqual({ code: 'stopped' })
    expect(records().map(({ custom }) => custom.seq)).toEqual(records().map((_line, i) => i + 1))
  })

  test('without --spool each process has a folder of its own, and a later one takes one that is free', async () => {
    const args = [MAIN, 'stdio', '-b', bundle.path, '--subject', 'ann', '--', ...SERVER, 'v1']
    const state = join(folder, 'state')
    const first = start(args, { XDG_STATE_HOME: state })
    first.send(hello)
    await expect.poll(() => first.lines().length, { timeout: 15_000 }).toBe(1)
    const second = start(args, { XDG_STATE_HOME: state })
    second.send(hello)
    second.child.stdin.end()
    expect(await second.exit).toBe(0)
    const base = join(state, 'mcp-opa-sidecar', 'node')
    expect([existsSync(join(base, '0')), existsSync(join(base, '1'))]).toEqual([true, true])
    first.child.stdin.end()
    expect(await first.exit).toBe(0)
    const third = start(args, { XDG_STATE_HOME: state })
    third.child.stdin.end()
    expect(await third.exit).toBe(0)
    expect(readdirSync(base).filter((name) => /^\d+$/.test(name))).toEqual(['0', '1'])
  })

  test('the server has the environment of this process', async () => {
    const script = `${BRIEF} console.log(JSON.stringify({jsonrpc:'2.0',method:'notifications/message',params:{level:'info',data:[process.env.TOKEN,process.env.NODE_COMPILE_CACHE]}}))})`
    const { child, exit, send, lines } = start(argsOf(['--', process.execPath, '-e', script]), {
      TOKEN: 't0k',
      NODE_COMPILE_CACHE: undefined,
    })
    send(hello)
    send({ method: 'notifications/initialized' })
    await expect.poll(() => lines().length, { timeout: 15_000 }).toBe(2)
    // No more than that: what this process keeps of itself is not the server's.
    expect(lines()[1].params.data).toEqual(['t0k', null])
    child.stdin.end()
    expect(await exit).toBe(0)
  })

  test.each([
    ['no server', [], 'plugins.mcp.upstream'],
    ['two servers', ['--upstream', 'http://127.0.0.1:1/mcp', '--', 'x'], 'exactly one of url and command'],
    [
      'an identity of Pomerium',
      ['--set', 'plugins.mcp.identity={issuer: i, audience: a, jwks_url: "https://x"}', '--', 'x'],
      'identity',
    ],
    [
      'records to stdout',
      ['--set', 'plugins.mcp_audit.output=[{type: stdout}]', '--', 'x'],
      'stdout is the protocol',
    ],
  ])('%s is wrong use', async (_name, more, text) => {
    const { child, exit, stderr, lines } = start(argsOf(more))
    child.stdin.end()
    expect(await exit).toBe(64)
    expect(stderr()).toContain(text)
    expect(lines()).toEqual([])
  })
})

/** A server that answers the handshake, and with the next line of its input does what follows. */
const BRIEF = `let n = 0; require('node:readline').createInterface({input: process.stdin}).on('line', (line) => {
  const { id, params } = JSON.parse(line)
  if (n++ === 0) return void process.stdout.write(JSON.stringify({jsonrpc: '2.0', id, result: {protocolVersion: params.protocolVersion, capabilities: {}, serverInfo: {name: 'b', version: '1'}}}) + '\\n');`
