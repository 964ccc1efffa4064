// The server behind: it dies within a stream, is not there, says nothing, floods.
import type { Socket } from 'node:net'
import { sseFrame, sseHead } from '../../test/support/recorder.ts'
import { percentile, type Row, rssOf, withSidecar } from './load.ts'

const note = {
  jsonrpc: '2.0',
  method: 'notifications/message',
  params: { level: 'info', data: 'ü'.repeat(10) },
}

export const killed: Row = {
  id: 'R1',
  fault: 'upstream killed at every point of a stream (FIN and RST)',
  required:
    'no partial frame; one error for the open id, or the whole result; detected within 1 s; other calls untouched',
  run: (scale) =>
    withSidecar({}, async ({ upstream, call }) => {
      const result = (n: number) => ({
        jsonrpc: '2.0',
        id: n,
        result: { content: [{ type: 'text', text: `canary-${n}` }] },
      })
      const whole = (n: number) => Buffer.from(sseHead() + sseFrame(note) + sseFrame(result(n)))
      const cuts = new Map<number, { at: number; how: 'fin' | 'rst' }>()
      upstream.respond(({ json }, socket: Socket) => {
        const n = json?.params?.arguments?.n as number
        const cut = cuts.get(n)
        if (!cut) return undefined
        const bytes = whole(n).subarray(0, cut.at)
        if (cut.how === 'fin') socket.end(bytes)
        else socket.write(bytes, () => socket.resetAndDestroy())
        return null
      })
      const step = scale === 'short' ? 29 : 1
      const length = whole(1000).length
      let n = 1000
      for (let at = 1; at <= length; at += step)
        for (const how of ['fin', 'rst'] as const) cuts.set(n++, { at, how })
      let partial = 0
      let crossed = 0
      let others = 0
      const times: number[] = []
      const ids = [...cuts.keys()]
      for (let i = 0; i < ids.length; i += 16) {
        const group = ids.slice(i, i + 16)
        const [cut, intact] = await Promise.all([Promise.all(group.map((id) => call(id))), call(1)])
        if (!intact.exchange.answers[0]?.body.includes('called get_me')) others++
        for (const { n: id, ms, exchange } of cut) {
          times.push(ms)
          const text = exchange.answers[0]?.body ?? ''
          const messages = text.startsWith('{')
            ? [text]
            : text.split('\n').flatMap((line) => (line.startsWith('data: ') ? [line.slice(6)] : []))
          const parsed = messages.map((message) => {
            try {
              return JSON.parse(message)
            } catch {
              return undefined
            }
          })
          const finals = parsed.filter((message) => message?.id === id && (message.result || message.error))
          if (finals.length !== 1 || parsed.includes(undefined)) partial++
          if (/canary-(\d+)/.exec(text)?.[1] !== undefined && !text.includes(`canary-${id}"`)) crossed++
        }
      }
      return {
        held: partial === 0 && crossed === 0 && others === 0 && percentile(times, 1) < 3000,
        measured: `${ids.length} cuts: ${partial} partial or unanswered, ${crossed} answers crossed, ${others} other calls hurt; answered within ${percentile(times, 1)} ms`,
      }
    }),
}

export const absent: Row = {
  id: 'R2',
  fault: 'upstream refuses connections, or hangs before its head',
  required: '502 at once, 504 at the configured time; asked once, never again',
  run: () =>
    withSidecar(
      { config: { plugins: { mcp: { upstream: { timeout: '1s' } } } } },
      async ({ upstream, call }) => {
        upstream.respond(() => null)
        const hung = await call(1)
        const asked = upstream.requests().length
        await upstream.close()
        await call(2)
        const down = await Promise.all(Array.from({ length: 20 }, (_, i) => call(3 + i)))
        const slowest = percentile(
          down.map(({ ms }) => ms),
          1,
        )
        return {
          held:
            hung.status === 504 &&
            asked === 1 &&
            down.every(({ status }) => status === 502) &&
            slowest < 1000,
          measured: `hang: ${hung.status} after ${Math.round(hung.ms)} ms (configured 1000), asked ${asked} time; down: 502 within ${slowest} ms`,
        }
      },
    ),
}

export const hostile: Row = {
  id: 'R20',
  fault: 'hostile upstream: frames that are no messages, answers to others, requests without end',
  required: 'nothing unparsed is delivered: 0 canaries; the process lives',
  run: (scale) =>
    withSidecar({}, async ({ upstream, call, sidecar }) => {
      const bad = [
        'canary',
        '{"canary":1}',
        '[{"jsonrpc":"2.0","id":1,"result":{"canary":1}}]',
        '{"jsonrpc":"2.0","id":1,"result":{"canary":1},"error":{}}',
        '{"jsonrpc":"2.0","id":1,"result":{"a":1,"A":"canary"}}',
        '{"jsonrpc":"2.0","method":"notifications/unknown","params":{"canary":1}}',
        '{"jsonrpc":"2.0","id":1,"result":{"x":"\\ud800canary"}}',
        '{"jsonrpc":"2.0","id":999999999,"result":{"canary":1}}',
      ]
      const total = scale === 'short' ? 2_000 : 100_000
      const each = 100
      let sent = 0
      upstream.respond(({ json }, socket) => {
        const n = json?.params?.arguments?.n as number
        // The last kind ends a stream, so it is the last.
        const frames = Array.from({ length: each }, (_, i) =>
          sseFrame(bad[(n + i) % (bad.length - 1)] as string),
        )
        sent += each
        socket.end(sseHead() + frames.join('') + sseFrame(bad.at(-1) as string))
        return null
      })
      let leaked = 0
      let unanswered = 0
      for (let n = 1; sent < total; n += 8) {
        const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => call(n + i)))
        for (const { exchange } of answers) {
          if (exchange.raw.includes('canary')) leaked++
          if (exchange.answers.length === 0) unanswered++
        }
      }
      upstream.respond()
      const after = await call(1)
      return {
        held: leaked === 0 && unanswered === 0 && after.status === 200,
        measured: `${sent} frames: ${leaked} canaries delivered, ${unanswered} calls unanswered; then ${after.status}; RSS ${await rssOf(sidecar)} MiB`,
      }
    }),
}
