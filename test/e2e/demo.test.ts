import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { afterEach, describe, expect, it } from 'vitest'

const demo = fileURLToPath(new URL('../../tools/demo/demo.ts', import.meta.url))
const start = fileURLToPath(new URL('../../tools/demo/start.ts', import.meta.url))
const free = ['--port', '0', '--admin-port', '0']

type Program = {
  child: ChildProcess
  out: () => string
  err: () => string
  /** resolves with what was captured */
  saw: (pattern: RegExp) => Promise<string>
  ended: Promise<number | null>
}

const programs: Program[] = []
afterEach(async () => {
  for (const { child, ended } of programs.splice(0)) {
    child.kill('SIGTERM')
    await ended
  }
})

const run = (file: string, args: string[] = [], env: NodeJS.ProcessEnv = {}): Program => {
  const child = spawn(process.execPath, [file, ...args], { env: { ...process.env, ...env } })
  const text = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (data: string) => {
    text.out += data
  })
  child.stderr.setEncoding('utf8').on('data', (data: string) => {
    text.err += data
  })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  const saw = async (pattern: RegExp) => {
    for (;;) {
      const found = pattern.exec(text.out)
      if (found) return found[1] ?? found[0]
      const over = await Promise.race([ended, new Promise((resolve) => setTimeout(() => resolve('on'), 50))])
      if (over !== 'on' && !pattern.test(text.out))
        throw new Error(`ended without ${pattern}: ${text.out}${text.err}`)
    }
  }
  const program = { child, out: () => text.out, err: () => text.err, saw, ended }
  programs.push(program)
  return program
}

const merge = { name: 'merge_pull_request', arguments: { owner: 'acme', repo: 'app', pullNumber: 7 } }
const merging = async (url: string) => {
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(new StreamableHTTPClientTransport(new URL(url)) as Parameters<Client['connect']>[0])
  return { client, result: await client.callTool(merge) }
}

describe('npm run demo', () => {
  it('goes as told', async () => {
    const told = run(demo)
    expect([await told.ended, told.err()]).toEqual([0, ''])
    for (const line of [
      /^BEFORE/m,
      /sees 23 tools/,
      /! done {4}merges pull request #9/,
      /#9 and #8 are merged, deploy\.yml/,
      /^AFTER/m,
      /sees 17 of 23 tools/,
      /✓ done {4}opens a pull request/,
      /✗ denied {2}merges pull request #9 .* merge_not_granted/,
      /│ Denied by policy\./,
      /│ Decision [0-9a-f-]{36} · policy \S+/,
      /✗ denied {2}pushes straight to main .* protected_branch/,
      /✗ denied {2}adds a workflow file .* workflow_file/,
      /of 13 calls 4 reached the server, 9 did not/,
      /✗ refused asks without an assertion: HTTP 403/,
      /^THE RECORD/m,
      /14 decisions \(5 allowed, 9 denied\) for 14 calls, 2 refusals/,
    ])
      expect(told.out()).toMatch(line)
    expect(told.out()).not.toContain('\u001b')
    expect(
      Math.max(
        ...told
          .out()
          .split('\n')
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(100)
  })

  it('has no colours in a pipe unless they are asked for', async () => {
    const told = run(demo, [], { FORCE_COLOR: '1', NO_COLOR: undefined })
    expect(await told.ended).toBe(0)
    expect(told.out()).toContain('\u001b[')
  })
})

describe('npm start', () => {
  it('denies alice the merge, shows the decision, and ends with 0 while a client is connected', async () => {
    const started = run(start, free)
    const url = await started.saw(/sidecar is at (\S+)/)
    expect(started.out()).toContain(`claude mcp add --transport http github-demo ${url}`)
    const { client, result } = await merging(url)
    expect(result.isError).toBe(true)
    expect(JSON.stringify(result.content)).toContain('Merging needs the maintainers group')
    await started.saw(/denied {4}alice {2}merge_pull_request {2}merge_not_granted/)

    started.child.kill('SIGTERM')
    expect([await started.ended, started.err()]).toEqual([0, ''])
    await client.close()
    const record = readFileSync(await started.saw(/The records stay in (\S+)/), 'utf8')
    expect(record).toContain('"code":"merge_not_granted"')
    expect(record.trimEnd().split('\n').at(-1)).toContain('"code":"stopped"')
  })

  it('lets mona merge', async () => {
    const started = run(start, [...free, '--as', 'mona'])
    const { client, result } = await merging(await started.saw(/sidecar is at (\S+)/))
    expect(result.isError).toBeFalsy()
    await client.close()
  })

  it('prints a curl command that is denied as it says', async () => {
    const started = run(start, free, { NO_COLOR: '1' })
    const url = await started.saw(/sidecar is at (\S+)/)
    const body = await started.saw(/-d '(\{.*\})'/)
    const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
    const response = await fetch(url, { method: 'POST', headers, body })
    expect(await response.text()).toContain('Denied by policy.')
  })

  it('ends with 0 on two signals of Ctrl-C, as npm sends them', async () => {
    const started = run(start, free)
    await started.saw(/Ctrl-C ends it/)
    started.child.kill('SIGINT')
    started.child.kill('SIGINT')
    expect(await started.ended).toBe(0)
    expect(started.out()).toContain('Stopped.')
  })

  it('says so and fails when the sidecar dies', async () => {
    const started = run(start, free)
    process.kill(Number(await started.saw(/\(process (\d+)\)/)), 'SIGKILL')
    expect(await started.ended).toBe(1)
    expect(started.err()).toContain('the sidecar ended by itself (SIGKILL)')
  })

  it('says what to do when a port is taken', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await once(holder, 'listening')
    const { port } = holder.address() as AddressInfo
    const started = run(start, ['--admin-port', '0'], { PORT: String(port) })
    expect(await started.ended).toBe(1)
    expect(started.err()).toContain(`address already in use 127.0.0.1:${port}`)
    expect(started.err()).toContain('npm start -- --as alice --port 0 --admin-port 0')
    holder.close()
  })

  it.each([
    ['a person nobody knows', ['--as', 'bob'], 64, 'nobody here is called bob'],
    ['a port that is none', ['--port', 'x'], 64, 'x is not a port'],
    ['an option that is none', ['--nonsense'], 64, 'nonsense'],
  ])('refuses %s', async (_what, args, code, text) => {
    const started = run(start, args)
    expect(await started.ended).toBe(code)
    expect(started.err()).toContain(text)
  })
})
