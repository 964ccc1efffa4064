// What the sidecar draws on: the policy, the keys, the disk; and many who only listen.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { people } from '../../test/support/assertions.ts'
import { buildBundle, ENDLESS, mainPolicy, noOpa, STUCK } from '../../test/support/policy.ts'
import { postBytes, postHeaders, requestBytes, sendRaw } from '../../test/support/raw.ts'
import { defaultAnswer, sseHead } from '../../test/support/recorder.ts'
import { startApart } from './apart.ts'
import { callBody, pause, percentile, type Row, rssOf, steadily, unrecorded, withSidecar } from './load.ts'

const run = promisify(execFile)

/** What a policy can do to its evaluator, by `arguments.how`. */
const POISON = `answer := {"allow": input.tool.name != "evil"} if not input.arguments.how
answer := {"allow": true} if {input.arguments.how == "loop"; count(${ENDLESS}) > 0}
answer := {"allow": true} if {input.arguments.how == "memory"; count([x | long := concat("", ["a line of the text that is put together" | some n in numbers.range(1, 1000)]); some a in numbers.range(1, 100000); x := concat("", [long, "x"])]) > 0}
answer := {"allow": true} if {input.arguments.how == "sort"; count(sort(numbers.range(40000, 1))) > 0}
answer := {"allow": true} if {input.arguments.how == "regex"; count(${STUCK}) == 0}
answer := {"allow": true} if input.arguments.how == "conflict"
answer := {"allow": false} if input.arguments.how == "conflict"
answer := "yes" if input.arguments.how == "string"
answer := {"allow": "true"} if input.arguments.how == "text"
answer := {"allow": true, "extra": 1} if input.arguments.how == "key"`

export const policy: Row = {
  id: 'R8',
  fault:
    'policies that loop, allocate without end, are in one builtin for long, conflict or answer junk, under load',
  required:
    'denied within the deadline and 30 ms; others wait one deadline at most; no wrong verdict; the offender is suspended',
  async run(scale) {
    if (noOpa) return { held: true, skipped: true, measured: 'SKIPPED: policies are built with opa' }
    const built = await buildBundle({ 'main.rego': mainPolicy(POISON) })
    const apart = await startApart()
    const deadline = 200
    try {
      return await withSidecar(
        {
          config: {
            bundles: { mcp: { resource: built.path } },
            plugins: { mcp: { evaluation: { deadline: `${deadline}ms` } } },
          },
        },
        async ({ call, callKept, issuer, upstream, sidecar }) => {
          const apartly = (n: number, who: object, name: string, args: object) => {
            const headers = postHeaders(issuer.mint({ ...who }))
            return apart.ask({ port: sidecar.port, headers, body: callBody(n, name, args) })
          }
          // Code that runs for the first time takes many times as long, there and here.
          const warmUp = scale === 'short' ? 2 : 300
          for (let i = 1; i <= warmUp; i++) {
            const name = i % 2 ? 'good' : 'evil'
            await (i % 3 ? callKept(i, { name, who: people.mona }) : apartly(i, people.mona, name, {}))
          }
          const endless = ['loop', 'memory', 'sort', 'regex']
          const how = [...endless, 'conflict', 'string', 'text', 'key']
          const rounds = scale === 'short' ? 1 : 10
          let wrong = 0
          let suspended = 0
          let n = 100_000
          const poison = async (kind: string) => {
            // Each time somebody else, for the third time in a minute they would wait.
            const sub = `a-${++n}`
            const who = { ...people.alice, sub, user: sub }
            const { status, ms, body: told } = await apartly(n, who, 'get_me', { how: kind })
            if (!told.includes('policy_error') || status !== 200) wrong++
            return ms
          }
          // By themselves: under load they wait for their turn, too.
          const alone: number[] = []
          for (let round = 0; round < rounds / 2; round++) {
            for (const kind of how) {
              alone.push(await poison(kind))
              await pause(scale === 'short' ? 0 : 300)
            }
          }
          const perSecond = scale === 'short' ? 50 : 200
          const others = (from: number) =>
            steadily(perSecond, (i) =>
              callKept(from + i, { name: i % 2 ? 'good' : 'evil', who: people.mona }),
            )
          const calm = others(0)
          await pause(scale === 'short' ? 500 : 3_000)
          const before = await calm()
          const stop = others(20_000)
          const slow: number[] = []
          const ended: number[] = []
          for (let round = 0; round < rounds; round++) {
            for (const kind of how) {
              const ms = await poison(kind)
              slow.push(ms)
              if (endless.includes(kind)) ended.push(ms)
            }
          }
          for (let i = 0; i < 5; i++) {
            const { exchange } = await call(++n, { args: { how: 'conflict' } })
            if (exchange.answers[0]?.body.includes('suspended')) suspended++
          }
          const beside = await stop()
          for (const { n: id, status, body } of [...before, ...beside]) {
            const passed = body.includes('called good')
            // One that had no answer was not denied.
            if (status !== 200 || passed !== (id % 2 === 1)) wrong++
          }
          const reached = upstream
            .requests()
            .filter(({ json }) => json.params?.arguments?.how !== undefined).length
          const [usual, longest] = [before, beside].map((calls) =>
            percentile(
              calls.map(({ ms }) => ms),
              1,
            ),
          ) as [number, number]
          const [denied, busy] = [percentile(alone, 1), percentile(slow, 1)]
          const late = [...alone, ...slow].filter((ms) => ms > deadline + 30).length
          const timely = Math.max(denied, busy) <= deadline + 30 && longest <= deadline + usual
          return {
            held:
              wrong === 0 &&
              reached === 0 &&
              suspended > 0 &&
              // A test knows no machine's speed.
              (scale === 'short' ? longest < deadline * 5 : timely) &&
              unrecorded(upstream, sidecar.spool()) === 0,
            measured: `${alone.length} poisoned calls one by one: denied within ${denied} ms (deadline ${deadline}); ${slow.length} one after the other beside ${perSecond} calls a second: within ${busy} ms, half of those that had to be ended within ${percentile(ended, 0.5)} ms, their turn included; ${late} of all later than ${deadline + 30} ms; ${reached} sent; ${beside.length} others beside them: longest ${longest} ms (${usual} before), ${wrong} wrong verdicts; suspended: ${suspended} of 5${timely ? '' : '. The deadline and 30 ms, or one deadline beside what is usual for others, is NOT met'}`,
          }
        },
      )
    } finally {
      await apart.close()
      await built.dispose()
    }
  },
}

export const keys: Row = {
  id: 'R9',
  fault: 'the key source is down, slow, truncated, endless, garbage, or redirects',
  required: 'the last good keys serve on: 0 false refusals, and no memory is lost to it',
  async run(scale) {
    let answer: RequestListener = () => undefined
    let asked = 0
    const source = createServer((request, response) => {
      asked++
      answer(request, response)
    })
    await new Promise<void>((resolve) => source.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(source.address() as AddressInfo).port}/jwks.json`
    const { createIssuer } = await import('../../test/support/assertions.ts')
    const issuer = createIssuer()
    const stranger = createIssuer()
    const good: RequestListener = (_request, response) => void response.end(issuer.jwks)
    answer = good
    const bad: [string, RequestListener][] = [
      ['500', (_request, response) => void response.writeHead(500).end()],
      [
        'endless',
        (_request, response) => {
          const more = setInterval(() => response.write('x'.repeat(1 << 20)), 1)
          response.on('close', () => clearInterval(more))
        },
      ],
      ['garbage', (_request, response) => void response.end('<html>')],
      ['truncated', (_request, response) => void response.end(issuer.jwks.slice(0, -20))],
      [
        'redirect',
        (_request, response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
      ],
      ['cut', (request) => void request.socket.destroy()],
      ['hang', () => undefined],
    ]
    try {
      return await withSidecar(
        { jwks: undefined, config: { plugins: { mcp: { identity: { jwks_url: url } } } } },
        async ({ sidecar, upstream }) => {
          const ask = async (minted: string) =>
            (
              await sendRaw(
                sidecar.port,
                postBytes(minted, {
                  jsonrpc: '2.0',
                  id: 1,
                  method: 'tools/call',
                  params: { name: 'get_me', arguments: {} },
                }),
                { timeout: 10_000 },
              )
            ).answers[0]?.status
          const before = await rssOf(sidecar)
          let refused = 0
          let believed = 0
          let asks = 0
          for (const [, listener] of scale === 'short' ? bad.slice(0, 2) : bad) {
            answer = listener
            // The cool-down of refreshes that unknown keys ask for.
            await pause(5_100)
            const unknown = ask(stranger.mint())
            for (let i = 0; i < 20; i++) {
              asks++
              if ((await ask(issuer.mint())) !== 200) refused++
            }
            if ((await unknown) === 200) believed++
          }
          const after = await rssOf(sidecar)
          return {
            held:
              refused === 0 && believed === 0 && after - before < 50 && upstream.requests().length === asks,
            measured: `${asked} fetches of ${scale === 'short' ? 2 : bad.length} kinds of fault: ${refused} of ${asks} calls refused, ${believed} strangers believed; RSS ${before} to ${after} MiB`,
          }
        },
      )
    } finally {
      source.closeAllConnections()
      source.close()
    }
  },
}

export const disk: Row = {
  id: 'R5',
  fault: 'the disk of the record is full',
  required:
    'an allow is refused with 503, a denial is still answered and recorded, and it recovers by itself',
  async run() {
    const folder = mkdtempSync(join(tmpdir(), 'mcp-full-'))
    try {
      await run('mount', ['-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', folder])
    } catch (error) {
      rmSync(folder, { recursive: true })
      return {
        held: true,
        skipped: true,
        measured: `SKIPPED: a small tmpfs cannot be mounted: ${(error as Error).message.split('\n')[0]}`,
      }
    }
    try {
      return await withSidecar(
        { config: { plugins: { mcp_audit: { buffer: { path: folder, reserve_bytes: 131_072 } } } } },
        async ({ call, upstream, sidecar }) => {
          let n = 0
          let last = await call(++n, { args: { pad: 'x'.repeat(3000) } })
          while (last.status === 200 && n < 500) last = await call(++n, { args: { pad: 'x'.repeat(3000) } })
          const seen = upstream.requests().length
          const full = await call(++n, { args: { pad: 'x'.repeat(3000) } })
          const denied = await call(++n, { name: 'delete_repository', args: { pad: 'x'.repeat(3000) } })
          const onRecord = sidecar
            .records()
            .some(({ result, input }) => !result?.allow && input?.arguments?.n === n)
          const health = (await fetch(`${sidecar.admin}/health?plugins`)).status
          const sent = upstream.requests().length - seen
          const lost = unrecorded(upstream, sidecar.spool())
          await run('mount', ['-o', 'remount,size=4m', folder])
          const began = performance.now()
          let after = await call(++n)
          while (after.status !== 200 && performance.now() - began < 10_000) after = await call(++n)
          return {
            held:
              full.status === 503 &&
              denied.status === 200 &&
              onRecord &&
              sent === 0 &&
              lost === 0 &&
              after.status === 200,
            measured: `full after ${seen} calls: an allow ${full.status}, a denial ${denied.status} (${onRecord ? 'recorded' : 'not recorded'}), health ${health}, ${sent} sent, ${lost} without a record; 200 again ${Math.round(performance.now() - began)} ms after there was room`,
          }
        },
      )
    } finally {
      await run('umount', ['-l', folder])
      rmSync(folder, { recursive: true, force: true })
    }
  },
}

export const streams: Row = {
  id: 'R12',
  fault: '10,000 idle streams, and traffic beside them',
  required:
    'all stay open, calls go on beside them (goal: p99 at most doubled); 512 MiB at most, or whoever comes beyond `limits.streams` is refused with 503',
  async run(scale) {
    // Each is two descriptors, here and in the sidecar.
    const { stdout } = await run('sh', ['-c', 'ulimit -n'])
    const most = Math.floor((Number(stdout) - 600) / 2)
    const wanted = scale === 'short' ? 300 : Math.min(10_000, most)
    const high = 50_000
    const limits = {
      connections: high,
      in_flight: high,
      streams: wanted,
      identity_streams: high,
      identity_in_flight: high,
    }
    return withSidecar(
      { config: { plugins: { mcp: { limits } } } },
      async ({ issuer, call, upstream, sidecar }) => {
        let opened = 0
        upstream.respond((request) => {
          if (request.method !== 'GET') return defaultAnswer(request)
          opened++
          return sseHead()
        })
        const hello = {
          jsonrpc: '2.0',
          id: 0,
          method: 'initialize',
          params: {
            protocolVersion: '2025-11-25',
            capabilities: {},
            clientInfo: { name: 't', version: '1' },
          },
        }
        const session =
          (await sendRaw(sidecar.port, postBytes(issuer.mint(), hello))).answers[0]?.header(
            'mcp-session-id',
          ) ?? ''
        const calm = async () => {
          const stop = steadily(50, (n) => call(n))
          await pause(scale === 'short' ? 1_000 : 5_000)
          return (await stop()).map(({ ms }) => ms)
        }
        const before = await calm()
        const empty = await rssOf(sidecar)
        const stream = () =>
          requestBytes({
            method: 'GET',
            headers: [
              ['host', 'x'],
              ['accept', 'text/event-stream'],
              ['x-pomerium-jwt-assertion', issuer.mint()],
              ['mcp-session-id', session],
            ],
          })
        let closed = 0
        const sockets: Socket[] = []
        for (let i = 0; i < wanted; i++) {
          const socket = connect({ port: sidecar.port, host: '127.0.0.1' })
          socket.on('error', () => undefined)
          socket.on('close', () => closed++)
          socket.resume()
          socket.write(stream())
          sockets.push(socket)
          // A few at a time are on their way.
          while (opened < i - 100) await pause(5)
        }
        for (let i = 0; i < 200 && opened < wanted; i++) await pause(100)
        const beyond = (await sendRaw(sidecar.port, stream())).answers[0]
        // They are idle once what opening them left to do is done, here and there.
        if (scale === 'full') await pause(5_000)
        setFlagsFromString('--expose-gc')
        runInNewContext('gc')()
        const during = await calm()
        // Past a heartbeat.
        if (scale === 'full') await pause(16_000)
        const full = await rssOf(sidecar)
        const lost = closed
        for (const socket of sockets) socket.destroy()
        const [a, b] = [percentile(before, 0.99), percentile(during, 0.99)]
        return {
          held: opened === wanted && lost === 0 && beyond?.status === 503,
          measured: `${opened} streams (${most} descriptors allow), ${lost} lost, one more ${beyond?.status}; RSS ${empty} to ${full} MiB; calls p50 ${percentile(before, 0.5)} and ${percentile(during, 0.5)} ms, p99 ${a} and ${b} ms`,
        }
      },
    )
  },
}
