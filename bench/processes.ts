import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isAbsolute } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** Each part is a process of its own, so that its memory and its share of the processors are its own. */
export type Part = { pid: number; host: string; port: number; path: string; stop: () => Promise<void> }

const START_WITHIN_MS = 60_000

/** Tells the parent where this process listens, in the sidecar's own words. */
export function announce(server: Server): void {
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as AddressInfo
    process.stderr.write(`${JSON.stringify({ msg: 'listening', addr: `127.0.0.1:${port}` })}\n`)
  })
}

export const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** Starts a program of ours and waits for it to listen. */
export async function startNode(script: string, args: string[], nodeArgs: string[] = []): Promise<Part> {
  const child = spawn(process.execPath, [...nodeArgs, isAbsolute(script) ? script : file(script), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const addr = await listening(child, script)
  const [host, port] = addr.split(':') as [string, string]
  return { pid: child.pid as number, host, port: Number(port), path: '/mcp', stop: () => stop(child) }
}

function listening(child: ChildProcess, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const last: string[] = []
    const late = setTimeout(() => reject(new Error(`${name} did not listen`)), START_WITHIN_MS)
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', (line) => {
      last.push(line)
      if (last.length > 20) last.shift()
      if (!line.includes('"listening"')) return
      clearTimeout(late)
      resolve((JSON.parse(line) as { addr: string }).addr)
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`${name} ended with ${code}:\n${last.join('\n')}`)))
  })
}

/** A program that is not ours and has to be told its port; `ready` is asked until it answers 200. */
export async function startOther(
  command: string,
  args: (port: number) => string[],
  ready: string,
): Promise<Part> {
  const port = await freePort()
  const child = spawn(command, args(port), { stdio: 'ignore', cwd: file('..') })
  let ended: string | undefined
  child.once('error', (error) => {
    ended = error.message
  })
  child.once('exit', (code) => {
    ended = `exit code ${code}`
  })
  for (const until = performance.now() + START_WITHIN_MS; performance.now() < until; ) {
    if (ended !== undefined) throw new Error(`${command}: ${ended}`)
    const answer = await fetch(`http://127.0.0.1:${port}${ready}`).catch(() => undefined)
    await answer?.arrayBuffer()
    if (answer?.ok)
      return { pid: child.pid as number, host: '127.0.0.1', port, path: '/', stop: () => stop(child) }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await stop(child)
  throw new Error(`${command} did not become ready`)
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 15_000)
  await gone
  clearTimeout(late)
}

/** Resident megabytes (10^6), where the system tells them. */
export function residentMb(pid: number): number | undefined {
  const kb = /^VmRSS:\s+(\d+) kB$/m.exec(proc(pid, 'status'))?.[1]
  return kb === undefined ? undefined : (Number(kb) * 1024) / 1e6
}

/** Seconds of processor time that a process has used, in steps of 10 ms. */
export function processorSeconds(pid: number): number | undefined {
  const fields = proc(pid, 'stat').split(') ').at(-1)?.split(' ')
  const [user, system] = [Number(fields?.[11]), Number(fields?.[12])]
  return Number.isFinite(user + system) ? (user + system) / 100 : undefined
}

function proc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8')
  } catch {
    return ''
  }
}
