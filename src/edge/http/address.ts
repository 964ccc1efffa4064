import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { type AddressInfo, connect, type Server } from 'node:net'
import type { Section } from '../settings.ts'

/** Where a listener is: a port of this machine, or a socket file. */
export type Address = { host: string; port: number } | { path: string }

/** `host:port`, `[v6]:port` or `unix:///absolute/path`. */
export function readAddress(section: Section, key: string, fallback: string): Address {
  const text = section.string(key, fallback)
  const file = /^unix:\/\/(\/[^\0]{1,100})$/.exec(text)?.[1]
  if (file !== undefined) return { path: file }
  const match = /^(\[[0-9A-Fa-f:]+\]|[^:[\]/]+):(\d{1,5})$/.exec(text)
  if (!match || Number(match[2]) > 65_535) {
    section.fault(key, 'must be host:port or unix:///path')
    return { host: '127.0.0.1', port: 0 }
  }
  return { host: (match[1] as string).replace(/^\[|\]$/g, ''), port: Number(match[2]) }
}

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/
export const isLoopback = (host: string): boolean => LOOPBACK.test(host)
/** Whether only programs of this machine reach it. */
export const isLocal = (address: Address): boolean => 'path' in address || isLoopback(address.host)

/**
 * Listens. A socket file is for its owner and group; one that a process left behind is taken over, one that somebody
 * listens on is not, and what is no socket is never removed.
 * @returns the address as it is in logs
 * @throws Error
 */
export async function listenAt(server: Server, address: Address): Promise<string> {
  if ('path' in address) await removeStale(address.path)
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    if ('path' in address) {
      server.listen({ path: address.path }, () => {
        chmodSync(address.path, 0o660)
        resolve(`unix://${address.path}`)
      })
      return
    }
    server.listen(address.port, address.host, () => {
      const { address: ip, family, port } = server.address() as AddressInfo
      resolve(`${family === 'IPv6' ? `[${ip}]` : ip}:${port}`)
    })
  })
}

async function removeStale(path: string): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false })
  if (!there) return
  if (!there.isSocket()) throw new Error(`${path}: is there and no socket`)
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    // Anything but a refusal may mean that somebody is there.
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'))
  })
  if (answered) throw new Error(`${path}: somebody listens on it`)
  unlinkSync(path)
}
