// What happens to the process: killed, ended, out of descriptors, out of memory.
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { verifyLog } from '../../src/edge/audit/verify.ts'
import { people } from '../../test/support/assertions.ts'
import { defaultAnswer } from '../../test/support/recorder.ts'
import { eventsOf, pause, percentile, type Row, rssOf, steadily, unrecorded, withSidecar } from './load.ts'

const run = promisify(execFile)

export const killed: Row = {
  id: 'R4',
  fault: 'SIGKILL of the sidecar at random points under load, again and again',
  required:
    'no call upstream without an allow on record (G0); only a torn last line, trimmed; the chain verifies; ready within 2 s',
  run: (scale, wanted) => {
    const signer = generateKeyPairSync('ed25519')
    const key = signer.privateKey.export({ type: 'pkcs8', format: 'pem' })
    const config = { plugins: { mcp_audit: { checkpoint: { key, interval: '1s' } } } }
    return withSidecar({ config }, async ({ upstream, call, restart, sidecar: first, spool }) => {
      const times = wanted ?? (scale === 'short' ? 3 : 20)
      const ready: number[] = []
      let sidecar = first
      let n = 0
      let answered = 0
      for (let i = 0; i < times; i++) {
        const stop = steadily(100, () =>
          call(++n, { name: n % 3 === 0 ? 'delete_repository' : 'get_me', timeout: 2_000 }),
        )
        await pause(150 + ((i * 97) % 400))
        await sidecar.stop('SIGKILL')
        answered += (await stop()).filter(({ status }) => status === 200).length
        const began = performance.now()
        sidecar = await restart()
        ready.push(performance.now() - began)
      }
      const verifier = { name: undefined, key: signer.publicKey }
      const verified = () => verifyLog(spool, { verifier })
      // Few kills may leave no process the second that it takes to sign.
      for (let i = 0; i < 50 && !verified().fault && verified().signed === 0; i++) await pause(100)
      const text = sidecar.spool()
      const { fault, signed } = verified()
      const lost = unrecorded(upstream, text)
      const seen = upstream.requests().length
      const events = eventsOf(text)
      return {
        held:
          lost === 0 &&
          seen > 0 &&
          answered > 0 &&
          fault === undefined &&
          signed > 0 &&
          !text.includes('previous_log_damaged') &&
          percentile(ready, 1) < 10_000,
        measured: `${times} kills, ${seen} calls upstream: ${lost} without a record; ${events.length} records, ${fault ? `NOT what was written (${fault.why})` : `the chain verifies, with ${signed} signed checkpoints`}; listening after ${percentile(ready, 0.5)} ms (slowest ${percentile(ready, 1)})`,
      }
    })
  },
}

export const ended: Row = {
  id: 'R15',
  fault: 'SIGTERM under load',
  required: 'calls in hand are answered, none is lost, every record is there, exit code 0 within the drain',
  run: (scale) =>
    withSidecar({}, async ({ upstream, call, sidecar }) => {
      upstream.respond(async (request) => {
        await pause(50)
        return defaultAnswer(request)
      })
      const stop = steadily(scale === 'short' ? 50 : 200, (n) => call(n, { timeout: 4_000 }))
      await pause(1_000)
      const began = performance.now()
      const code = await sidecar.stop()
      const took = Math.round(performance.now() - began)
      const calls = await stop()
      const seen = new Set(upstream.requests().map(({ json }) => json?.params?.arguments?.n))
      const cut = calls.filter(({ n, status }) => seen.has(n) && status !== 200).length
      const lost = unrecorded(upstream, sidecar.spool())
      const outcomes = eventsOf(sidecar.spool()).filter(({ custom }) => custom.event === 'outcome').length
      return {
        held: code === 0 && cut === 0 && lost === 0 && outcomes === seen.size && seen.size > 10,
        measured: `${seen.size} calls upstream: ${cut} unanswered, ${lost} without a record, ${outcomes} outcomes; exit ${code} after ${took} ms`,
      }
    }),
}

export const descriptors: Row = {
  id: 'R14',
  fault: 'no descriptors left, by many connections',
  required: 'the process lives, connections that are open go on, and it recovers within 5 s',
  run: () =>
    withSidecar({}, async ({ call, sidecar }) => {
      await call(1)
      const open = Number((await run('sh', ['-c', `ls /proc/${sidecar.pid}/fd | wc -l`])).stdout)
      try {
        await run('prlimit', ['--pid', String(sidecar.pid), `--nofile=${open + 40}:${open + 40}`])
      } catch (error) {
        return {
          held: true,
          skipped: true,
          measured: `SKIPPED: prlimit is needed: ${(error as Error).message.split('\n')[0]}`,
        }
      }
      const sockets: Socket[] = []
      for (let i = 0; i < 300; i++) {
        const socket = connect({ port: sidecar.port, host: '127.0.0.1' })
        socket.on('error', () => undefined)
        sockets.push(socket)
      }
      await pause(500)
      const during = await call(2, { timeout: 1_000 })
      for (const socket of sockets) socket.destroy()
      const began = performance.now()
      let after = await call(3, { timeout: 1_000 })
      while (after.status !== 200 && performance.now() - began < 20_000)
        after = await call(4, { timeout: 1_000 })
      const took = Math.round(performance.now() - began)
      return {
        held: after.status === 200 && took < 5_000,
        measured: `300 connections over ${open + 40} descriptors: a new call meanwhile ${during.status ?? 'waits'}; 200 again ${took} ms after they left`,
      }
    }),
}

export const memory: Row = {
  id: 'R13',
  fault: 'more work than the memory may hold (heap of 96 MiB), from an upstream that answers nothing',
  required: 'new work is refused with 503 before the process dies, and taken again afterwards',
  run: () =>
    withSidecar(
      {
        env: { NODE_OPTIONS: '--max-old-space-size=96' },
        config: {
          plugins: {
            mcp: { limits: { identity_in_flight: 2000, memory_percent: 70 }, upstream: { timeout: '30s' } },
          },
        },
      },
      async ({ upstream, call, sidecar }) => {
        let silent = true
        const held: (() => void)[] = []
        upstream.respond(async (request) => {
          if (silent) await new Promise<void>((resolve) => held.push(resolve))
          return defaultAnswer(request)
        })
        // Objects cost more than their text: these are what a megabyte can be at its worst.
        const args = { list: Array.from({ length: 40_000 }, (_, i) => [i]) }
        const asked: ReturnType<typeof call>[] = []
        let shed = 0
        for (let n = 1; n <= 240 && shed < 5; n++) {
          const asking = call(n, { args, timeout: 40_000 })
          void asking.then(({ exchange }) => {
            if (exchange.answers[0]?.body.match(/low_memory|too_many_bytes/)) shed++
          })
          asked.push(asking)
          await pause(30)
        }
        const during = await call(9_000, { name: 'delete_repository' })
        silent = false
        for (const go of held) go()
        const answers = await Promise.all(asked)
        await pause(1_000)
        let after = await call(9_001)
        for (let i = 0; i < 20 && after.status !== 200; i++) {
          await pause(500)
          after = await call(9_002 + i)
        }
        return {
          held: shed > 0 && after.status === 200,
          measured: `${asked.length} calls of 0.4 MiB: ${shed} or more shed with 503, a denial meanwhile ${during.status}, ${answers.filter(({ status }) => status === 200).length} answered; afterwards ${after.status}, RSS ${await rssOf(sidecar)} MiB`,
        }
      },
    ),
}

export const neighbour: Row = {
  id: 'R24',
  fault: 'one identity asks without end, all denied',
  required:
    'it is held to its rate; others stay within 1.5 times their p99, and the record grows no faster than the rate',
  run: (scale) =>
    withSidecar(
      { config: { plugins: { mcp: { limits: { identity_per_second: 20, per_second: 10_000 } } } } },
      async ({ call, sidecar }) => {
        const seconds = scale === 'short' ? 2 : 10
        const calm = async () => {
          const stop = steadily(10, (n) => call(n, { who: people.mona }))
          await pause(seconds * 1000)
          return (await stop()).filter(({ status }) => status === 200).map(({ ms }) => ms)
        }
        const before = await calm()
        const stop = steadily(200, (n) => call(n, { name: 'delete_repository' }))
        const during = await calm()
        const noisy = await stop()
        const refused = noisy.filter(({ status }) => status === 429).length
        const denials = sidecar
          .records()
          .filter(
            ({ input, custom }) => custom.event === 'decision' && input.identity.email === people.alice.email,
          ).length
        return {
          held: refused > 0 && denials <= 20 * (seconds + 2) + 10 && during.length > 0,
          measured: `${noisy.length} calls in ${seconds} s: ${refused} answered 429, ${denials} decided; others p99 ${percentile(before, 0.99)} ms alone, ${percentile(during, 0.99)} ms beside it`,
        }
      },
    ),
}

export const soak: Row = {
  id: 'R17',
  fault: 'steady work for a long time of 500 people, a fifth of it denied',
  required: 'memory does not grow after the warm-up, nor do descriptors; no call fails',
  run: (scale) =>
    withSidecar({}, async ({ call, sidecar }) => {
      const seconds = scale === 'short' ? 2 : 300
      const files = async () => Number((await run('sh', ['-c', `ls /proc/${sidecar.pid}/fd | wc -l`])).stdout)
      const work = async (of: number) => {
        const stop = steadily(100, (n) =>
          call(n, {
            name: n % 5 === 0 ? 'delete_repository' : 'get_me',
            who: { ...people.alice, sub: `soak-${n % 500}`, user: `soak-${n % 500}` },
          }),
        )
        await pause(of * 1000)
        return stop()
      }
      await work(scale === 'short' ? 2 : 60)
      const [before, open] = [await rssOf(sidecar), await files()]
      const calls = await work(seconds)
      await pause(1_000)
      const [after, left] = [await rssOf(sidecar), await files()]
      const failed = calls.filter(({ status }) => status !== 200).length
      return {
        held: failed === 0 && left <= open + 8 && after - before < 32,
        measured: `${calls.length} calls in ${seconds} s: ${failed} failed; RSS ${before} to ${after} MiB, ${open} to ${left} descriptors`,
      }
    }),
}
