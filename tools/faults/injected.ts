// What happens around the process: its clock jumps, its own code throws where nobody thought of it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventsOf, pause, percentile, type Row, steadily, unrecorded, withSidecar } from './load.ts'

/** Code that the sidecar is started with, in each of its threads. @returns the environment and how to take it away */
function preload(code: string): { env: Record<string, string>; folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-preload-'))
  const file = join(folder, 'preload.cjs')
  writeFileSync(file, code)
  return {
    env: { NODE_OPTIONS: `--require=${file}` },
    folder,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Milliseconds after which every thread has seen another offset. */
const SEEN = 100

export const clock: Row = {
  id: 'R10',
  fault: 'the clock is off by 25 s, then by 10 minutes, in both directions, and jumps back under load',
  required:
    'within the tolerance nothing is noticed; beyond it every call is refused and told that a clock is off; no expired assertion is believed; right again at once',
  async run(scale) {
    const offset = join(mkdtempSync(join(tmpdir(), 'mcp-clock-')), 'offset')
    writeFileSync(offset, '0')
    const { env, remove } = preload(`
      const { readFileSync } = require('node:fs')
      const now = Date.now
      let read = -1, off = 0
      Date.now = () => {
        const at = performance.now()
        if (at - read > ${SEEN / 4}) { read = at; off = Number(readFileSync(${JSON.stringify(offset)}, 'utf8')) }
        return now() + off
      }`)
    try {
      return await withSidecar({ env }, async ({ sidecar, upstream, call }) => {
        const calls = scale === 'short' ? 5 : 50
        const counts = { within: 0, beyond: 0, told: 0, believed: 0, back: 0 }
        let n = 0
        const at = async (seconds: number) => {
          writeFileSync(offset, String(seconds * 1000))
          await pause(SEEN)
          const answers = []
          for (let i = 0; i < calls; i++) answers.push(await call(++n))
          return answers
        }
        for (const seconds of [25, -25]) {
          for (const { status } of await at(seconds)) if (status === 200) counts.within++
        }
        for (const seconds of [600, -600]) {
          for (const { status, exchange } of await at(seconds)) {
            if (status === 403) counts.beyond++
            if (exchange.answers[0]?.body.includes('clock is off')) counts.told++
          }
          for (const { status } of await at(0)) if (status === 200) counts.back++
        }
        // Expired ten minutes ago by every clock that is right.
        const old = Math.floor(Date.now() / 1000) - 900
        const expired = await call(++n, { who: { iat: old, nbf: old, exp: old + 300 } })
        if (expired.status === 200) counts.believed++
        const lost = unrecorded(upstream, sidecar.spool())
        const negative = eventsOf(sidecar.spool()).filter(({ custom }) => custom.duration_ms < 0).length
        return {
          held:
            counts.within === 2 * calls &&
            counts.beyond === 2 * calls &&
            counts.told === 2 * calls &&
            counts.back === 2 * calls &&
            counts.believed + lost + negative === 0,
          measured: `25 s off: ${counts.within} of ${2 * calls} calls answered; 10 minutes off: ${counts.beyond} of ${2 * calls} refused, ${counts.told} told of the clock; back: ${counts.back} of ${2 * calls} answered; ${counts.believed} expired believed, ${lost} without a record`,
        }
      })
    } finally {
      remove()
    }
  },
}

export const thrown: Row = {
  id: 'R18',
  fault: 'an exception, or a rejection, that nothing in the program catches, under load',
  required:
    'it is logged, the process ends with 1, nothing passes without a record, and the next one is ready at once',
  async run() {
    const { env, remove } = preload(`
      if (require('node:worker_threads').isMainThread) {
        process.on('SIGUSR2', () => { throw new Error('planted') })
        process.on('SIGHUP', () => { void Promise.reject(new Error('planted')) })
      }`)
    try {
      return await withSidecar({ env }, async ({ sidecar: first, upstream, call, restart }) => {
        let sidecar = first
        let n = 0
        let logged = 0
        const codes: (number | string)[] = []
        for (const signal of ['SIGUSR2', 'SIGHUP'] as const) {
          for (let i = 0; i < 10; i++) await call(++n, { port: sidecar.port })
          const asking = Array.from({ length: 10 }, () => call(++n, { port: sidecar.port, timeout: 3_000 }))
          codes.push(await sidecar.stop(signal))
          await Promise.all(asking)
          if (sidecar.logs().some(({ level, error }) => level === 60 && String(error).includes('planted')))
            logged++
          sidecar = await restart()
        }
        const after = await call(++n, { port: sidecar.port })
        const lost = unrecorded(upstream, sidecar.spool())
        return {
          held: codes.every((code) => code === 1) && logged === 2 && lost === 0 && after.status === 200,
          measured: `ended with ${codes.join(' and ')}, ${logged} of 2 logged; ${upstream.requests().length} calls upstream: ${lost} without a record; the next process answers ${after.status}`,
        }
      })
    } finally {
      remove()
    }
  },
}

export const thread: Row = {
  id: 'R19',
  fault: 'the judging thread ends by itself, again and again, under load',
  required: 'what was asked of it is asked of the spare, or denied; no wrong verdict; it goes on within 1 s',
  async run(scale) {
    const trigger = join(mkdtempSync(join(tmpdir(), 'mcp-thread-')), 'end')
    writeFileSync(trigger, '0')
    const { env, remove } = preload(`
      const { isMainThread } = require('node:worker_threads')
      if (!isMainThread) {
        const { readFileSync } = require('node:fs')
        const was = readFileSync(${JSON.stringify(trigger)}, 'utf8')
        setInterval(() => {
          if (readFileSync(${JSON.stringify(trigger)}, 'utf8') !== was) process.exit(3)
        }, 5).unref()
      }`)
    try {
      return await withSidecar({ env }, async ({ sidecar, upstream, call }) => {
        const times = scale === 'short' ? 2 : 20
        const gaps: number[] = []
        const stop = steadily(50, (n) => call(n, { name: n % 2 ? 'get_me' : 'delete_repository' }))
        for (let i = 1; i <= times; i++) {
          await pause(500)
          // The spares see it too: all end, and all are made anew.
          writeFileSync(trigger, String(i))
          const began = performance.now()
          let answered = await call(100_000 + i)
          while (answered.status !== 200 && performance.now() - began < 20_000)
            answered = await call(200_000 + i)
          gaps.push(performance.now() - began)
        }
        const calls = await stop()
        let wrong = 0
        for (const { n, exchange } of calls) {
          const body = exchange.answers[0]?.body ?? ''
          if (n % 2 === 0 && !/not_granted|policy_error|queue_full/.test(body)) wrong++
        }
        const passed = calls.filter(({ n, status }) => n % 2 === 1 && status === 200).length
        const lost = unrecorded(upstream, sidecar.spool())
        return {
          held: wrong === 0 && lost === 0 && passed > 0 && gaps.every((gap) => gap < 20_000),
          measured: `${times} times all threads at once: ${calls.length} calls, ${wrong} wrong verdicts, ${lost} without a record; answered again within ${percentile(gaps, 0.5)} ms (longest ${percentile(gaps, 1)})`,
        }
      })
    } finally {
      remove()
    }
  },
}
