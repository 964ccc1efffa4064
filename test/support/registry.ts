// The real OCI registry of Debian (docker-registry), on a port of its own, and a client that pushes to it.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { debianProgram } from './programs.ts'

/** `undefined`: there is none, and that was said. */
export const registryProgram = await debianProgram('docker-registry', 'usr/bin/docker-registry')

export type RealRegistry = {
  url: string
  /** as it stands before a repository */
  host: string
  /** `METHOD path status` of each request */
  requests: () => string[]
  close: () => Promise<void>
}

/** @param more lines of the registry's own configuration */
export async function startRegistry(more = ''): Promise<RealRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-registry-'))
  const port = await freePort()
  writeFileSync(
    join(folder, 'config.yml'),
    `version: 0.1
log: {accesslog: {disabled: false}, level: error}
http: {addr: "127.0.0.1:${port}"}
storage:
  filesystem: {rootdirectory: ${JSON.stringify(join(folder, 'data'))}}
${more}
`,
  )
  // Into a file: who waits for a program by which we push does not read a pipe, and a full one stops the registry.
  const log = join(folder, 'log')
  const fd = openSync(log, 'a')
  const child = spawn(registryProgram ?? '', ['serve', join(folder, 'config.yml')], {
    stdio: ['ignore', fd, fd],
  })
  closeSync(fd)
  const said = () => readFileSync(log, 'utf8')
  let code: number | null | undefined
  const ended = new Promise<void>((resolve) =>
    child.once('close', (status) => {
      code = status
      resolve()
    }),
  )
  while (!(await answers(port))) {
    if (code !== undefined) throw new Error(`docker-registry ended with ${code}: ${said()}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return {
    url: `http://127.0.0.1:${port}`,
    host: `127.0.0.1:${port}`,
    requests: () =>
      [...said().matchAll(/"([A-Z]+) (\S+) HTTP\/1\.1" (\d{3})/g)].map(
        ([, method, path, status]) => `${method} ${path} ${status}`,
      ),
    async close() {
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true })
    },
  }
}

export const digestOf = (bytes: Uint8Array | string): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`

export const IMAGE = 'application/vnd.oci.image.manifest.v1+json'
export const INDEX = 'application/vnd.oci.image.index.v1+json'
export const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip'

/** A manifest with one layer, as `oras push` and the `policy` command write it. */
export const imageOf = (
  layer: Uint8Array,
  type = LAYER,
  config = 'application/vnd.oci.image.config.v1+json',
) =>
  JSON.stringify({
    schemaVersion: 2,
    mediaType: IMAGE,
    config: { mediaType: config, digest: digestOf('{}'), size: 2 },
    layers: [{ mediaType: type, digest: digestOf(layer), size: layer.length }],
  })

/** Puts blobs and a manifest there, as the distribution specification says. */
export async function push(
  { url }: { url: string },
  repository: string,
  reference: string,
  manifest: string,
  blobs: (Uint8Array | string)[],
  headers: Record<string, string> = {},
): Promise<void> {
  const send = async (method: string, to: string, body: Uint8Array | string, type: string) => {
    const answer = await fetch(to, {
      method,
      body: Buffer.from(body),
      headers: { ...headers, 'content-type': type },
    })
    if (!answer.ok) throw new Error(`${method} ${to}: ${answer.status} ${await answer.text()}`)
    await answer.arrayBuffer()
    return answer
  }
  for (const blob of blobs) {
    const begun = await send('POST', `${url}/v2/${repository}/blobs/uploads/`, '', 'application/octet-stream')
    const at = new URL(begun.headers.get('location') ?? '', url)
    at.searchParams.set('digest', digestOf(blob))
    await send('PUT', at.href, blob, 'application/octet-stream')
  }
  const type = (JSON.parse(manifest) as { mediaType: string }).mediaType
  await send('PUT', `${url}/v2/${repository}/manifests/${reference}`, manifest, type)
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

export const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
