// Bundles from the real nginx, as it comes from Debian, with its defaults for ETag and ranges.
import { execFileSync, spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { ARCHIVE_LIMITS } from '../../../src/edge/bundles/archive.ts'
import { createBundles } from '../../../src/edge/bundles/bundles.ts'
import type { BundleSource } from '../../../src/edge/bundles/settings.ts'
import { dataBundle } from '../../support/bundles.ts'

const NGINX = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find((path) => existsSync(path))
if (!NGINX) console.warn('SKIPPED: bundles from nginx need nginx (Debian: nginx-light), and there is none')

const folder = mkdtempSync(join(tmpdir(), 'mcp-nginx-'))
const closers: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const close of closers.reverse()) await close()
  rmSync(folder, { recursive: true })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
const answers = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })

test.skipIf(!NGINX)(
  'nginx serves bundles: the first, nothing while they are the same, and the next',
  async () => {
    const port = await freePort()
    const www = join(folder, 'www')
    mkdirSync(www)
    const put = (name: string, bytes: Uint8Array) => {
      writeFileSync(join(folder, 'part'), bytes)
      renameSync(join(folder, 'part'), join(www, name))
    }
    copyFileSync('bundles/default.tar.gz', join(www, 'mcp.tar.gz'))
    put('data.tar.gz', await dataBundle(['config/banned'], { config: { banned: {} } }, { revision: '1' }))
    const log = join(folder, 'access.log')
    const config = join(folder, 'nginx.conf')
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      .map((name) => `${name}_temp_path ${join(folder, name)};`)
      .join(' ')
    writeFileSync(
      config,
      `daemon off; pid ${join(folder, 'pid')}; error_log stderr; worker_processes 1; events {}
http { ${temporary} log_format l '$request_uri $status $sent_http_etag'; access_log ${log} l; gzip on; gzip_types *;
server { listen 127.0.0.1:${port}; root ${www}; } }`,
    )
    // As whoever runs the tests; a worker of root's nginx would be nobody, who may not read the folder.
    const user = process.getuid?.() === 0 ? ['-g', 'user root;'] : []
    execFileSync(NGINX ?? '', ['-t', '-q', '-c', config, '-p', folder, ...user], { stdio: 'ignore' })
    const nginx = spawn(NGINX ?? '', ['-c', config, '-p', folder, ...user], { stdio: 'ignore' })
    const ended = new Promise((resolve) => nginx.once('exit', resolve))
    closers.push(() => {
      nginx.kill('SIGTERM')
      return ended
    })
    while (!(await answers(port))) await new Promise((resolve) => setTimeout(resolve, 20))

    const service = {
      name: 's',
      url: `http://127.0.0.1:${port}`,
      headers: {},
      headerTimeout: 5_000,
      caCert: undefined,
      systemCa: true,
      credentials: { kind: 'none' } as const,
    }
    const from = (resource: string): BundleSource => ({
      kind: 'service',
      service,
      resource,
      persist: false,
      polling: { minDelay: 20, maxDelay: 40, longPoll: undefined },
      limits: ARCHIVE_LIMITS,
    })
    const none = () => undefined
    const news = {
      requested: none,
      confirmed: none,
      downloaded: none,
      activated: none,
      failed: none,
      mended: none,
    }
    const failures: string[] = []
    const bundles = createBundles(
      { mcp: from('mcp.tar.gz'), data: from('data.tar.gz') },
      { path: 'mcp/main/decision', userAgent: 'test/1', persistence: undefined, maxAge: undefined },
      {
        take: async (_policy, swapped) => swapped(),
        news,
        failed: (_name, error) => void failures.push(error.message),
      },
    )
    closers.push(bundles.close)
    const revisions: (string | undefined)[] = []
    const told: (() => void)[] = []
    bundles.onActivated(({ to }) => {
      revisions.push(to.revisions.data?.revision)
      for (const listener of told.splice(0)) listener()
    })
    await bundles.start()
    const until = async (count: number) => {
      while (revisions.length < count) await new Promise<void>((resolve) => told.push(resolve))
    }
    await until(1)
    put(
      'data.tar.gz',
      await dataBundle(['config/banned'], { config: { banned: { s: ['x'] } } }, { revision: '2' }),
    )
    await until(2)
    expect(revisions).toEqual(['1', '2'])
    expect(failures).toEqual([])
    const asked = readFileSync(log, 'utf8').trimEnd().split('\n')
    expect(asked.filter((line) => line.startsWith('/mcp.tar.gz 200'))).toHaveLength(1)
    expect(asked.filter((line) => line.startsWith('/data.tar.gz 200'))).toHaveLength(2)
    expect(asked.filter((line) => line.includes(' 304 ')).length).toBeGreaterThan(0)
  },
)
