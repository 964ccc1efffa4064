import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'

/** Milliseconds without a word from the other end after which the kernel asks it whether it is there (TCP keep-alive). */
export const SILENCE = 15_000
/**
 * Times that the kernel has said the same again, and nothing came back: with waits from 0.2 s that double, 25 s and more.
 * By itself it goes on for a quarter of an hour.
 */
const REPEATS = 7
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6']
/** Timers of a connection (Linux, tcp_ipv4.c): what was sent is sent again; a full window is probed. */
const TIMERS = { again: '01', probe: '04' }

export type Peers = {
  /** @returns what ends the watching */
  watch: (socket: Socket) => () => void
}

/**
 * Ends connections whose other end has vanished without a word. On a stream that we only write to, keep-alive says
 * nothing: what was written waits to be acknowledged, and only the kernel knows since when (proc(5), `/proc/net/tcp`).
 * Where there is no such table, the kernel's own patience is the bound.
 * @param every milliseconds between looks, while anything is watched
 */
export function watchPeers(every: number, repeats = REPEATS): Peers {
  const watched = new Set<Socket>()
  let timer: NodeJS.Timeout | undefined

  const look = async () => {
    const tables = await Promise.all(TABLES.map((path) => readFile(path).catch(() => Buffer.alloc(0))))
    const silent = new Set(tables.flatMap((table) => silentIn(table, repeats)))
    if (silent.size === 0) return
    for (const socket of watched) if (silent.has(endsOf(socket) ?? '')) socket.destroy()
  }
  return {
    watch(socket) {
      watched.add(socket)
      timer ??= setInterval(() => void look(), every).unref()
      return () => {
        watched.delete(socket)
        if (watched.size > 0) return
        clearInterval(timer)
        timer = undefined
      }
    },
  }
}

/**
 * The connections of a table that have had no answer for too long, by both their ends. The table has a line for each
 * connection there is, of which nearly none waits: only those that do are read.
 */
export function silentIn(table: Buffer, repeats: number): string[] {
  return Object.values(TIMERS).flatMap((kind) => {
    const silent: string[] = []
    const next = (from: number) => table.indexOf(` ${kind}:`, from)
    for (let at = next(0); at >= 0; at = next(at + 1)) {
      const end = table.indexOf('\n', at)
      const line = table.toString('latin1', table.lastIndexOf('\n', at) + 1, end < 0 ? table.length : end)
      const [, local = '', remote = '', , , timer = '', again = '', , probes = ''] = line.trim().split(/\s+/)
      if (!timer.startsWith(`${kind}:`)) continue
      const times = kind === TIMERS.again ? Number.parseInt(again, 16) : Number(probes)
      if (times >= repeats) silent.push(`${local} ${remote}`)
    }
    return silent
  })
}

/** Both ends as the table writes them; undefined for what has no address. */
export function endsOf({
  localAddress,
  localPort,
  remoteAddress,
  remotePort,
}: Pick<Socket, 'localAddress' | 'localPort' | 'remoteAddress' | 'remotePort'>): string | undefined {
  if (localAddress === undefined || localPort === undefined) return undefined
  if (remoteAddress === undefined || remotePort === undefined) return undefined
  const port = (n: number) => n.toString(16).padStart(4, '0')
  return `${hexOf(localAddress)}:${port(localPort)} ${hexOf(remoteAddress)}:${port(remotePort)}`.toUpperCase()
}

/** Words of four bytes, each the last byte first, as the kernels of common machines have them in memory. */
function hexOf(address: string): string {
  const bytes = bytesOf(address)
  const words: string[] = []
  for (let at = 0; at < bytes.length; at += 4)
    words.push(
      bytes
        .slice(at, at + 4)
        .reverse()
        .map((byte) => byte.toString(16).padStart(2, '0'))
        .join(''),
    )
  return words.join('')
}

function bytesOf(address: string): number[] {
  if (!address.includes(':')) return address.split('.').map(Number)
  const plain = address
    .replace(/%.*$/, '')
    .replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${pair(a, b)}:${pair(c, d)}`)
  const [head = '', tail] = plain.split('::')
  const groups = (part: string) => (part === '' ? [] : part.split(':'))
  const [before, after] = [groups(head), groups(tail ?? '')]
  const zeros = Array<string>(tail === undefined ? 0 : 8 - before.length - after.length).fill('0')
  return [...before, ...zeros, ...after].flatMap((group) => {
    const word = Number.parseInt(group, 16)
    return [word >> 8, word & 0xff]
  })
}

const pair = (high: string, low: string): string => ((Number(high) << 8) | Number(low)).toString(16)
