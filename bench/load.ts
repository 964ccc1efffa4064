import { connect, type Socket } from 'node:net'

export type Target = {
  host: string
  port: number
  /** the bytes of the n-th request */
  request: (n: number) => string
  /** what is wrong with the answer to the n-th, if anything */
  fault: (n: number, body: string) => string | undefined
}
export type Measured = { calls: number; perSecond: number; p50: number; p99: number }

/** One answer in so many is parsed and compared; of the others, status and length. */
const CHECK_EVERY = 64
const HEAD_END = Buffer.from('\r\n\r\n')

/**
 * A closed loop: each connection sends its next request when it has its answer. Plain sockets, so that the generator
 * takes little of what is measured.
 * @throws Error at the first answer that is not the expected one
 */
export async function load(
  target: Target,
  concurrency: number,
  warmUp: number,
  seconds: number,
): Promise<Measured> {
  const began = performance.now()
  const counted = began + warmUp * 1000
  const until = counted + seconds * 1000
  const times: number[] = []
  const shared = { sent: 0, length: -1 }
  const clients = Array.from({ length: concurrency }, () => client(target, shared, counted, until, times))
  await Promise.all(clients)
  if (times.length === 0) throw new Error('no answer came in the time that was counted')
  times.sort((a, b) => a - b)
  return {
    calls: times.length,
    perSecond: times.length / seconds,
    p50: quantile(times, 0.5),
    p99: quantile(times, 0.99),
  }
}

const quantile = (sorted: number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] as number

/** One connection. Resolves when its time is over. */
function client(
  target: Target,
  shared: { sent: number; length: number },
  counted: number,
  until: number,
  times: number[],
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ host: target.host, port: target.port, noDelay: true })
    let n = 0
    let started = 0
    let parts: Buffer[] = []
    let have = 0
    let need = -1
    let over = false
    const fail = (why: string) => {
      if (over) return
      over = true
      socket.destroy()
      reject(new Error(why))
    }
    const send = () => {
      n = shared.sent++
      parts = []
      have = 0
      need = -1
      started = performance.now()
      socket.write(target.request(n), 'latin1')
    }
    const finish = () => {
      const now = performance.now()
      if (now >= counted && now < until) times.push(now - started)
      const all = Buffer.concat(parts)
      const head = all.indexOf(HEAD_END) + HEAD_END.length
      if (shared.length < 0) shared.length = all.length - head
      if (all.length - head !== shared.length)
        return fail(`another length of answer: ${all.subarray(0, 600)}`)
      const fault = n % CHECK_EVERY === 0 ? target.fault(n, all.toString('utf8', head)) : undefined
      if (fault !== undefined) return fail(fault)
      if (now < until) return send()
      over = true
      socket.end()
      resolve()
    }
    socket.on('data', (chunk) => {
      parts.push(chunk)
      have += chunk.length
      if (need < 0) {
        if (parts.length > 1) parts = [Buffer.concat(parts)]
        const first = parts[0] as Buffer
        const end = first.indexOf(HEAD_END)
        if (end < 0) return
        const head = first.toString('latin1', 0, end)
        const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1]
        if (!head.startsWith('HTTP/1.1 200 ') || length === undefined)
          return fail(`unexpected answer: ${first.toString('utf8', 0, 600)}`)
        need = end + HEAD_END.length + Number(length)
      }
      if (have === need) finish()
      else if (have > need) fail('more bytes than one answer has')
    })
    socket.once('connect', send)
    socket.once('error', (error) => fail(error.message))
    socket.once('close', () => fail('the connection was closed'))
  })
}
