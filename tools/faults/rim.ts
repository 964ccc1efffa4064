// Those around it: who takes the records, who asks slowly, who is cut off within a request.
import { connect } from 'node:net'
import { postBytes, requestBytes, sendRaw } from '../../test/support/raw.ts'
import { type Answers, answer, startReceiver } from '../../test/support/receiver.ts'
import { sseFrame, sseHead } from '../../test/support/recorder.ts'
import { eventsOf, pause, percentile, type Row, rssOf, steadily, unrecorded, withSidecar } from './load.ts'

export const away: Row = {
  id: 'R3',
  fault:
    'the SIEM is down, cuts batches, answers errors or nothing, then comes back (waits scaled to milliseconds)',
  required:
    'decisions as ever; nothing is lost, all in order, what comes twice has the same id; memory does not grow',
  async run(scale) {
    const faults: Answers[] = [
      (_request, response) => answer(response, 503),
      (_request, _response, socket) => socket.destroy(),
      (_request, response, socket) => {
        response.writeHead(200, { 'content-length': '1000' })
        response.write('{"it', () => socket.destroy())
      },
      () => undefined,
    ]
    let fault: Answers | undefined
    let failed = 0
    const taken: { id: string; seq: number }[] = []
    const receiver = await startReceiver((request, response, socket) => {
      if (fault) {
        failed++
        return fault(request, response, socket)
      }
      for (const { custom } of JSON.parse(request.text)) taken.push({ id: custom.event_id, seq: custom.seq })
      return answer(response, 200)
    })
    const output = {
      type: 'http',
      url: `${receiver.url}/logs`,
      retry: { period: '1ms', max_backoff: '20ms' },
      timeout: '200ms',
      batching: { at_period: '5ms', at_count: 20 },
    }
    try {
      return await withSidecar(
        { config: { plugins: { mcp_audit: { output: [output] } } } },
        async ({ call, upstream, sidecar }) => {
          const seconds = scale === 'short' ? 0.5 : 5
          let bad = 0
          let n = 0
          const phase = async () => {
            const stop = steadily(50, () => call(++n, { name: n % 5 ? 'get_me' : 'delete_repository' }))
            await pause(seconds * 1000)
            const calls = await stop()
            bad += calls.filter(({ n: id, exchange }) => {
              const passed = exchange.answers[0]?.body.includes('called get_me') === true
              return passed !== (id % 5 !== 0)
            }).length
            return calls.map(({ ms }) => ms)
          }
          const before = await phase()
          const rss = await rssOf(sidecar)
          const during: number[] = []
          for (fault of faults) during.push(...(await phase()))
          const after = await rssOf(sidecar)
          fault = undefined
          const written = eventsOf(sidecar.spool())
          const last = written.at(-1)?.custom.seq as number
          for (let i = 0; i < 200 && (taken.at(-1)?.seq ?? 0) < last; i++) await pause(50)
          const first = new Map<number, string>()
          let disorder = 0
          let doubles = 0
          for (const { id, seq } of taken) {
            const known = first.get(seq)
            if (known === undefined && seq < Math.max(0, ...first.keys())) disorder++
            if (known !== undefined && known !== id) disorder++
            if (known !== undefined) doubles++
            first.set(seq, id)
          }
          const lost = written.filter(({ custom }) => first.get(custom.seq) !== custom.event_id).length
          return {
            held:
              bad === 0 &&
              lost === 0 &&
              disorder === 0 &&
              unrecorded(upstream, sidecar.spool()) === 0 &&
              failed > faults.length,
            measured: `${failed} failed deliveries of ${faults.length} kinds: ${written.length} records, ${lost} lost, ${disorder} out of order, ${doubles} twice; ${n} calls: ${bad} decided wrongly, p99 ${percentile(before, 0.99)} ms before and ${percentile(during, 0.99)} ms meanwhile; RSS ${rss} to ${after} MiB`,
          }
        },
      )
    } finally {
      await receiver.close()
    }
  },
}

export const sluggish: Row = {
  id: 'R11',
  fault: 'clients that send a byte a second, and clients that do not read their stream',
  required:
    '408 and nothing sent, after 30 s at most; a stream that is not read takes no more than its buffers, and is closed after 30 s',
  run: (scale) =>
    withSidecar({}, async ({ issuer, call, upstream, sidecar }) => {
      const short = scale === 'short'
      // What is never whole: the head, then the body.
      const bytes = postBytes(issuer.mint(), {
        jsonrpc: '2.0',
        id: 1,
        method: 'tools/call',
        params: { name: 'get_me' },
      })
      const head = bytes.subarray(0, 60)
      const body = bytes.subarray(0, bytes.indexOf('\r\n\r\n') + 20)
      const slowly = async (start: Buffer) => {
        const began = performance.now()
        const drops = Array.from({ length: 60 }, () => ' ')
        const { answers } = await sendRaw(sidecar.port, [start, ...drops], { pause: 1000, timeout: 60_000 })
        return { status: answers[0]?.status, ms: performance.now() - began }
      }
      const slow = await Promise.all(short ? [] : [slowly(head), slowly(body)])
      const sent = upstream.requests().length

      const frame = sseFrame({
        jsonrpc: '2.0',
        method: 'notifications/message',
        params: { level: 'info', data: 'x'.repeat(60_000) },
      })
      let produced = 0
      let cut = 0
      upstream.respond(({ json }, socket) => {
        if (json?.params?.name !== 'get_me' || json.params.arguments?.flood !== true) return undefined
        socket.on('close', () => cut++)
        const more = () => {
          while (!socket.destroyed && socket.write(frame)) produced += frame.length
        }
        socket.on('drain', more)
        socket.write(sseHead(), more)
        return null
      })
      const before = await rssOf(sidecar)
      const readers = short ? 2 : 20
      const sockets = Array.from({ length: readers }, (_, i) => {
        const socket = connect({ port: sidecar.port, host: '127.0.0.1' })
        socket.on('error', () => undefined)
        socket.pause()
        socket.write(
          postBytes(issuer.mint(), {
            jsonrpc: '2.0',
            id: 100 + i,
            method: 'tools/call',
            params: { name: 'get_me', arguments: { flood: true, n: 100 + i } },
          }),
        )
        return socket
      })
      const began = performance.now()
      let most = before
      while (cut < readers && performance.now() - began < (short ? 3_000 : 45_000)) {
        await pause(250)
        most = Math.max(most, await rssOf(sidecar))
      }
      const closed = Math.round(performance.now() - began)
      const alive = (await call(1)).status
      for (const socket of sockets) socket.destroy()
      return {
        held:
          slow.every(({ status, ms }) => status === 408 && ms < 40_000) &&
          sent === 0 &&
          alive === 200 &&
          (short || cut === readers) &&
          // The kernel's buffers of four sockets; without a bound it would be hundreds in this time.
          produced / readers < 16 * (1 << 20) &&
          most - before < 256,
        measured: `slow requests: ${slow.map(({ status, ms }) => `${status} after ${Math.round(ms / 1000)} s`).join(', ')}, ${sent} sent; ${readers} readers that read nothing of streams without end: ${cut} closed${short ? '' : ` after ${Math.round(closed / 1000)} s`}, ${Math.round(produced / readers / (1 << 20))} MiB of each taken from upstream, RSS ${before} to ${most} MiB; another call meanwhile ${alive}`,
      }
    }),
}

export const parted: Row = {
  id: 'R23',
  fault: 'the connection to the proxy is cut, or falls silent, at every byte of a request',
  required: 'what is not whole is not sent: 0 bytes upstream',
  run: (scale) =>
    withSidecar({}, async ({ issuer, call, upstream, sidecar }) => {
      const bytes = postBytes(issuer.mint(), {
        jsonrpc: '2.0',
        id: 1,
        method: 'tools/call',
        params: { name: 'get_me', arguments: { n: 1 } },
      })
      const chunked = Buffer.concat([
        requestBytes({
          headers: [
            ['host', 'x'],
            ['content-type', 'application/json'],
            ['accept', 'application/json, text/event-stream'],
            ['x-pomerium-jwt-assertion', issuer.mint()],
            ['transfer-encoding', 'chunked'],
          ],
        }),
        Buffer.from('34\r\n{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}\r\n0\r\n\r\n'),
      ])
      const step = scale === 'short' ? 97 : 1
      let cuts = 0
      const silent: ReturnType<typeof connect>[] = []
      const sendPart = (part: Buffer, how: 'fin' | 'rst' | 'silent') =>
        new Promise<void>((resolve) => {
          cuts++
          const socket = connect({ port: sidecar.port, host: '127.0.0.1' })
          socket.on('error', () => resolve())
          socket.write(part, () => {
            if (how === 'silent') silent.push(socket)
            else if (how === 'fin') socket.end()
            else setTimeout(() => socket.resetAndDestroy(), 2)
            setTimeout(resolve, 3)
          })
        })
      for (const whole of [bytes, chunked])
        for (let at = 1; at < whole.length; at += step)
          await Promise.all((['fin', 'rst'] as const).map((how) => sendPart(whole.subarray(0, at), how)))
      for (const whole of [bytes, chunked])
        for (let at = whole.length - 1; at > 0; at -= step * 5)
          await sendPart(whole.subarray(0, at), 'silent')
      await pause(200)
      const sent = upstream.bytes()
      const alive = (await call(2)).status
      for (const socket of silent) socket.destroy()
      return {
        held: sent === 0 && alive === 200 && unrecorded(upstream, sidecar.spool()) === 0,
        measured: `${cuts} cuts (FIN, RST, silence; with a length and chunked): ${sent} bytes sent; then ${alive}`,
      }
    }),
}
